"""The one exception family that a user's mistake can raise."""

from __future__ import annotations


class EcadError(Exception):
    """A mistake that the user can mend. The message says what is wrong and what to do about it."""
