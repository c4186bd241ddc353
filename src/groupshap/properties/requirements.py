"""What properties need that can be known before anything is computed: numbers of images, prompts, columns, labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["count_problems", "table_problems"]


def count_problems(properties: Sequence[Any], n_images: int, *, has_prompts: bool = False) -> list[str]:
    """Which properties need more generated images, or prompts; empty if all is well."""
    needed = {built.name: getattr(built, "n_images_needed", 1) for built in properties}
    problems = [
        f"property '{name}' needs at least {n_needed} generated images, got {n_images}"
        for name, n_needed in needed.items()
        if n_images < n_needed
    ]
    if not has_prompts:
        problems += [
            f"property '{built.name}' needs prompts, which only text-to-image models have; leave it out"
            for built in properties
            if getattr(built, "needs_prompts", False)
        ]
    return problems


def table_problems(properties: Sequence[Any], image_table: pd.DataFrame, n_in_folder: int | None = None) -> list[str]:
    """What properties will miss in the reference: columns, labels, images; empty if all is well.

    Args:
        properties: From :func:`groupshap.properties.base.resolve_properties`.
        image_table: One row per image of the contributors.
        n_in_folder: Images of ``reference_folder``; None: it is not set, the contributors' images are the reference.
    """
    problems = [
        text for built in properties if hasattr(built, "table_problems") for text in built.table_problems(image_table)
    ]
    n_reference = len(image_table) if n_in_folder is None else n_in_folder
    needed = {built.name: getattr(built, "n_reference_images_needed", 0) for built in properties}
    problems += [
        f"property '{name}' needs at least {n_needed} reference images, got {n_reference}"
        for name, n_needed in needed.items()
        if n_reference < n_needed
    ]
    return list(dict.fromkeys(problems))
