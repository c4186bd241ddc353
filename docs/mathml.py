"""MkDocs hook: formulas become MathML while the site is built, so that pages need neither scripts nor a network.

Write a formula as a code block of the language ``math``, in LaTeX.
"""

from __future__ import annotations

import re

from latex2mathml.converter import convert

FORMULA = re.compile(r"^```math\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace every ``math`` block by its MathML."""
    return FORMULA.sub(lambda found: f'<div class="formula">\n{mathml(found[1])}\n</div>', markdown)


def mathml(latex: str) -> str:
    """One displayed formula; the text that a reader of the source sees stays as its description."""
    return convert(" ".join(latex.split()), display="block")
