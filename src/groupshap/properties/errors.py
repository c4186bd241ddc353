"""The one error of this package."""

__all__ = ["PropertyError"]


class PropertyError(ValueError):
    """A property cannot be built, fitted or measured; the message says which, why, and what to do."""
