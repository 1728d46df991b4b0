"""Says what goes on while a command of unknown length works, so that nobody takes it for dead."""

import sys
import threading
import time

__all__ = ["Busy"]

_FIRST, _NEXT = 2.0, 10.0  # seconds


class Busy:
    """A context manager: a line on standard error after two seconds, and then every ten."""

    def __init__(self, note: str) -> None:
        self._note = note
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._speak, daemon=True)

    def __enter__(self) -> "Busy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def say(self, note: str) -> None:
        """What is going on from now on."""
        self._note = note

    def _speak(self) -> None:
        started, pause = time.monotonic(), _FIRST
        while not self._ended.wait(pause):
            print(f"{self._note} ({time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True)
            pause = _NEXT
