"""Errors whose message is all a user needs; the command line shows them without a traceback."""

from __future__ import annotations

__all__ = ["UserError"]


class UserError:
    """Mix-in of exceptions that say what was expected, what came and what to do."""
