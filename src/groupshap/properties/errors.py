"""The one error of this package, and the one check that many properties share."""

from __future__ import annotations

from collections.abc import Sized

from groupshap.errors import UserError

__all__ = ["PropertyError", "require_images"]


class PropertyError(UserError, ValueError):
    """A property cannot be built, fitted or measured; the message says which, why, and what to do."""


def require_images(name: str, n_needed: int, images: Sized, what: str = "images") -> None:
    """Refuse too few images.

    Raises:
        PropertyError: fewer than ``n_needed``.
    """
    if len(images) < n_needed:
        raise PropertyError(f"property '{name}' needs at least {n_needed} {what}, got {len(images)}.")
