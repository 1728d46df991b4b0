"""Errors that the command line shows to users in one line each, which says how to mend them."""

import errno
import shlex

__all__ = ["Interrupted", "RunError", "UserError", "command", "reason"]


def reason(error: OSError) -> str:
    """The message of the operating system, with a remedy if the disk is full, else with the file."""
    said = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{said} (make room first)"
    return f"{said}: {error.filename}" if error.filename else said


def command(verb: str, path: object) -> str:
    """A command that a message recommends, as it can be typed into a shell."""
    return f"python -m experiments {verb} {shlex.quote(str(path))}"


class UserError(Exception):
    """A mistake of the user: the message says what is wrong and what to write instead. Exit code 2."""


class RunError(Exception):
    """A run that stopped before its end: the message says what was kept, and where. Exit code 1."""


class Interrupted(RunError):
    """A run that was stopped by Ctrl-C or a signal to terminate. Exit code 130."""
