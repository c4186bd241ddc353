"""Extension of griffe for the reference.

Docstrings, which are plain text with a few Sphinx roles, become Markdown that means the same; settings show what their
pydantic field says of them: description, range, default.
"""

from __future__ import annotations

import re
from importlib import import_module

import griffe
from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROLE = re.compile(r":(?:func|class|meth|data|mod|attr):`(~?)([\w.*]+)`")
POWER = re.compile(r"(?<=\w)\*\*(?=\w)")
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
CODE = re.compile(r"(``[^`]+``|`[^`]+`)")


class PlainDocstrings(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Called by griffe for each module, class, function and attribute."""
        field = pydantic_field(obj)
        if field is not None:
            obj.value = default_of(field)
        if field is not None and obj.docstring is None:
            text = as_markdown(explanation_of(field)).replace("][", "]\\[")  # else a reference
            obj.docstring = griffe.Docstring(text, parent=obj)
        elif obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Roles as code (``~`` shows the last name only), powers that are not bold, ``::`` as a colon before a block."""
    text = ROLE.sub(lambda role: f"`{role[2].rpartition('.')[2] if role[1] else role[2]}`", text)
    parts = CODE.split(text)
    parts[::2] = [POWER.sub(r"\\*\\*", part) for part in parts[::2]]
    return re.sub(r"::$", ":", "".join(parts), flags=re.MULTILINE)


def pydantic_field(obj: griffe.Object) -> FieldInfo | None:
    """The field that an attribute of a settings class stands for."""
    if not obj.is_attribute or obj.parent is None or not obj.parent.is_class:
        return None
    model = getattr(import_module(obj.parent.module.path), obj.parent.name, None)
    return getattr(model, "model_fields", {}).get(obj.name)


def explanation_of(field: FieldInfo) -> str:
    """Description and range in one line."""
    bounds = [(SIGNS[name], getattr(one, name)) for one in field.metadata for name in SIGNS if hasattr(one, name)]
    limits = " and ".join(
        f"{sign} {bound:,}" if isinstance(bound, int) else f"{sign} {bound}" for sign, bound in bounds
    )
    found = [field.description or "", f"Range: {limits}." if limits else ""]
    return " ".join(part for part in found if part) or "Any value of its type."


def default_of(field: FieldInfo) -> str | None:
    """The default as Python source, short where it is itself a settings class."""
    if field.is_required():
        return None
    default = field.get_default(call_default_factory=True)
    return f"{type(default).__name__}(...)" if isinstance(default, BaseModel) else repr(default)
