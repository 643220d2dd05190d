"""The one exception family that a user's mistake can raise, and the one warning."""

from __future__ import annotations


class EcadError(Exception):
    """A mistake that the user can mend. The message says what is wrong and what to do about it."""


class EcadWarning(UserWarning):
    """Something that works and is probably not meant; the command line prints it like an error and goes on."""
