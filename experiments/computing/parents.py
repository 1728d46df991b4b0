"""Worker processes that do not outlive their parent, however it ends."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading

__all__ = ["dask_setup", "end_with_parent"]


def end_with_parent() -> None:
    """Lets this worker process end when its parent does, and leaves Ctrl-C and signals to terminate to the parent.

    A whole group of processes gets them; the parent lets its workers finish what they have in hand.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_for_end, args=(parent.sentinel,), daemon=True).start()


def dask_setup(_: object) -> None:
    """Called by dask in a new worker process of this machine, which ends with its parent anyway."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _wait_for_end(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
