"""Ends worker processes when their parent ends, in whatever way it ends."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading

__all__ = ["dask_setup", "end_with_parent"]


def end_with_parent() -> None:
    """Makes this worker process end when its parent ends, and ignore Ctrl-C and signals to terminate.

    The operating system sends these signals to a whole group of processes. The parent handles them, and lets its
    workers finish their tasks.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_for_end, args=(parent.sentinel,), daemon=True).start()


def dask_setup(_: object) -> None:
    """Called by dask in a new worker process on this machine; dask itself ends the process with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _wait_for_end(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
