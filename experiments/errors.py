"""Errors that the command line shows to users: one line each, with the fix, and exit code 2."""

import errno
import shlex

__all__ = ["Interrupted", "RunError", "UserError", "command", "reason"]


def reason(error: OSError) -> str:
    """What the system says, with what can be done about it, or the file that it is about."""
    said = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{said} (make room first)"
    return f"{said}: {error.filename}" if error.filename else said


def command(verb: str, path: object) -> str:
    """A command that messages advise, as it can be typed into a shell."""
    return f"python -m experiments {verb} {shlex.quote(str(path))}"


class UserError(Exception):
    """A mistake that the user can mend: the message says what is wrong and what to write instead."""


class RunError(Exception):
    """A run that stopped in the middle: the message says what was kept, and where."""


class Interrupted(RunError):
    """Ctrl-C during a run."""
