"""A risk at balls of raveled parameters, which keeps what it has found at the last point."""

import itertools
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from flint import arb

__all__ = ["AtPoints"]

P = TypeVar("P")


class AtPoints(Generic[P]):
    """Base of risks in ball arithmetic.

    Args:
        sizes: number of entries of every array of parameters.
        evaluate: makes the object that computes the derivatives at a point, each at most once.
    """

    def __init__(self, sizes: Sequence[int], evaluate: Callable[[list[arb]], P]) -> None:
        self.sizes = list(sizes)
        self.ends = list(itertools.accumulate(sizes))
        self._evaluate = evaluate
        self._last: tuple[list[arb], P] | None = None

    def layers(self, vector: list[arb]) -> list[list[arb]]:
        """The raveled parameters, one list per array."""
        return [vector[end - size : end] for size, end in zip(self.sizes, self.ends, strict=True)]

    def at(self, vector: list[arb]) -> P:
        """The risk at a point; the same object if it is called again with the same list, which must not be changed."""
        if self._last is None or self._last[0] is not vector:
            self._last = vector, self._evaluate(vector)
        return self._last[1]
