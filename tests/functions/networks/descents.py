"""Optimisers in numpy, from their formulas, many descents at once.

sgd: w <- w - a g. momentum: t <- g + m t, w <- w - a t (Polyak). adam (Kingma and Ba 2015): averages of g and g^2 with
weights 0.9 and 0.999, both divided by 1 - weight^k, w <- w - a mean / (sqrt(square) + 1e-8).
"""

from typing import Any, NamedTuple

import numpy as np

from .families import Family, objective_of

__all__ = ["MOMENTUM", "RATES", "STEPS", "DescentEnds", "Optimiser", "own_descents"]

STEPS = 3000
MOMENTUM = 0.9
RATES: dict[str, tuple[float, ...]] = {
    "sgd": (0.02, 0.2, 1.0),
    "momentum": (0.002, 0.05, 0.3),
    "adam": (1e-3, 3e-2, 0.5),
}
"""Learning rates that every descent is taken with: the last one is above the stable one of most problems."""
_BLUR = 1e-11


class DescentEnds(NamedTuple):
    """Ends of descents, one a row."""

    vectors: np.ndarray
    later: np.ndarray
    """After as many steps again."""
    determined: np.ndarray
    """Whether a start 1e-11 beside ends at the same place to 1e-4: otherwise rounding decides."""


def own_descents(family: Family, data: dict[str, np.ndarray], starts: np.ndarray, rates: np.ndarray) -> DescentEnds:
    """Full-batch descents with `data` (B, ...) from `starts` (B, n) with `rates` (B,)."""
    signs = np.where(np.arange(starts.shape[1]) % 2, 1.0, -1.0)
    both = np.concatenate([starts, starts + _BLUR * signs * np.linalg.norm(starts, axis=1, keepdims=True)])
    rows = {k: np.concatenate([v, v]) for k, v in data.items()}
    twice = np.concatenate([rates, rates])
    with np.errstate(all="ignore"):
        state = Optimiser(family.optimiser, both)
        ends = state.run(family, rows, twice, STEPS)
        later = state.run(family, rows, twice, STEPS)
        one, two = np.split(ends, 2)
        size = np.maximum(np.linalg.norm(one, axis=1), np.linalg.norm(starts, axis=1))
        same = np.linalg.norm(one - two, axis=1) <= 1e-4 * size
        return DescentEnds(one, np.split(later, 2)[0], same)


class Optimiser:
    """State of one optimiser for many descents."""

    def __init__(self, name: str, starts: np.ndarray) -> None:
        self.name, self.w = name, starts.copy()
        self.first, self.second, self.count = np.zeros_like(starts), np.zeros_like(starts), 0

    def run(self, family: Family, data: dict[str, np.ndarray], rates: np.ndarray, steps: int) -> np.ndarray:
        """Takes so many steps."""
        objective: Any = objective_of(family)
        for _ in range(steps):
            gradient = objective.value_and_gradient(self.w, data)[1]
            self.count += 1
            self.w = self.w - rates[:, None] * self._direction(gradient)
        return self.w

    def _direction(self, g: np.ndarray) -> np.ndarray:
        if self.name == "sgd":
            return g
        if self.name == "momentum":
            self.first = g + MOMENTUM * self.first
            return self.first
        self.first = 0.9 * self.first + 0.1 * g
        self.second = 0.999 * self.second + 0.001 * g * g
        mean, square = self.first / (1 - 0.9**self.count), self.second / (1 - 0.999**self.count)
        return mean / (np.sqrt(square) + 1e-8)
