"""Entry point of `python -m experiments`."""

import os
import sys
import threading

from experiments.running.work import prepare_environment

if __name__ == "__main__":
    prepare_environment()  # before anything imports JAX
    from experiments.cli import INTERRUPTED, main

    code = main()
    if code == INTERRUPTED and threading.active_count() > 1:  # a thread still computes, and nobody waits for it
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
