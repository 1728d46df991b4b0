"""Entry point of `python -m experiments`."""

import os
import sys
import threading

from experiments.running.work import prepare_environment

_INTERRUPTED = 130


def _run() -> int:
    """Exit code of the command; Ctrl-C may come as early as it likes."""
    try:
        prepare_environment()  # before anything imports JAX
        from experiments.cli import main

        return main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED


if __name__ == "__main__":
    code = _run()
    if code == _INTERRUPTED and threading.active_count() > 1:  # a thread still computes, and nobody waits for it
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
