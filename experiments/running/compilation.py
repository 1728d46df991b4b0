"""Seconds that this process spends on compilation (tracing, lowering and XLA), as JAX reports them."""

import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

import jax.monitoring

__all__ = ["Compilation"]

_PREFIX = "/jax/core/compile/"
_LARGE = 1.0
"""Seconds of XLA above which a program counts as large: programs of a few operations take less."""
_listening: "ContextVar[Compilation | None]" = ContextVar("_listening", default=None)


class Compilation:
    """A context manager that measures the compilation in its context: in this thread and those that work for it.

    Batches that are computed at the same time by other threads have contexts of their own.

    Args:
        compiled: called with the seconds so far whenever a large program has been compiled.
    """

    def __init__(self, compiled: Callable[[float], None]) -> None:
        self._compiled = compiled
        self._spans: list[tuple[float, float]] = []
        self._before: Token[Compilation | None] | None = None

    def __enter__(self) -> "Compilation":
        self._before = _listening.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            _listening.reset(self._before)

    @property
    def seconds(self) -> float:
        """Time so far in which something was being compiled; compilations at the same time count once."""
        total, last = 0.0, float("-inf")
        for start, end in sorted(self._spans):
            total += max(0.0, end - max(start, last))
            last = max(last, end)
        return total

    def hear(self, event: str, seconds: float) -> None:
        """Records an event of JAX that has taken `seconds` and ends now."""
        now = time.monotonic()
        self._spans.append((now - seconds, now))
        if event.endswith("backend_compile_duration") and seconds >= _LARGE:
            self._compiled(self.seconds)


def _hear(event: str, duration_secs: float, **_: Any) -> None:
    listener = _listening.get()
    if listener is not None and event.startswith(_PREFIX):
        listener.hear(event, duration_secs)


jax.monitoring.register_event_duration_secs_listener(_hear)
