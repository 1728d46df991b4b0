"""Shows that a command is still working, if it takes longer than two seconds."""

import sys
import threading
import time

__all__ = ["Busy"]

_FIRST, _NEXT = 2.0, 10.0  # seconds


class Busy:
    """A context manager that prints a note to standard error after two seconds, and then every ten seconds."""

    def __init__(self, note: str) -> None:
        self._note = note
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._print, daemon=True)

    def __enter__(self) -> "Busy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def say(self, note: str) -> None:
        """Replaces the note."""
        self._note = note

    def _print(self) -> None:
        started, pause = time.monotonic(), _FIRST
        while not self._ended.wait(pause):
            print(f"{self._note} ({time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True)
            pause = _NEXT
