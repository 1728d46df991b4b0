"""Entry point of `python -m experiments` and of the console script `lcnn-flow`."""

import os
import sys
import threading
from typing import NoReturn

from experiments.running.worker_environment import prepare_environment

_INTERRUPTED = 130


def _run() -> int:
    """Runs the command and returns its exit code; Ctrl-C is handled also while modules are imported."""
    try:
        prepare_environment()  # before anything imports JAX
        from experiments.cli import main

        return main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED


def console() -> NoReturn:
    """Runs the command of the command line and ends the process with its exit code; `lcnn-flow` calls this too."""
    code = _run()
    if code == _INTERRUPTED and threading.active_count() > 1:  # ends the process although a thread still computes
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    console()
