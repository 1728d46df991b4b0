"""Errors that the command line shows to users: one line each, with the fix, and exit code 2."""

__all__ = ["Interrupted", "RunError", "UserError"]


class UserError(Exception):
    """A mistake that the user can mend: the message says what is wrong and what to write instead."""


class RunError(Exception):
    """A run that stopped in the middle: the message says what was kept, and where."""


class Interrupted(RunError):
    """Ctrl-C during a run."""
