"""The generator: hard data, losses and starts, drawn by numpy from (seed, family, condition)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..reference_flow import flow_ends
from ..structure import Start
from .families import Family, net_of, objective_of, structure_of

__all__ = ["DATA_KINDS", "LABEL_KINDS", "START_KINDS", "Condition", "draw_conditions"]

_GRID, _ROUNDS, _STEPS = 6, 3, 200
"""Of the search for the border of two basins: points per round, rounds, steps of a flow."""

Data = dict[str, np.ndarray]


class Condition(NamedTuple):
    """One data set with the numbers of the loss, and the starts of its flows."""

    number: int
    kind: str
    data: Data
    starts: tuple[Start, ...]


class _Draw(NamedTuple):
    rng: np.random.Generator
    family: Family

    def white(self) -> np.ndarray:
        """Inputs (m, d_0)."""
        return self.rng.normal(size=(self.family.samples, self.family.input_size))

    def outputs(self, inputs: np.ndarray, w: np.ndarray) -> np.ndarray:
        """Outputs of the network at w, (m, d_N)."""
        return objective_of(self.family).outputs(w, {"inputs": inputs})

    def planted(self, inputs: np.ndarray, noise: float) -> np.ndarray:
        """Targets of random parameters, with noise in units of their deviation."""
        clean = self.outputs(inputs, self.rng.normal(size=net_of(self.family).size))
        return clean + noise * (np.std(clean) or 1.0) * self.rng.normal(size=clean.shape)


Maker = Callable[[_Draw], tuple[np.ndarray, np.ndarray]]


def _planted(draw: _Draw) -> tuple[np.ndarray, np.ndarray]:
    inputs = draw.white()
    return inputs, draw.planted(inputs, draw.rng.uniform(0.05, 0.5))


def _interpolated(draw: _Draw) -> tuple[np.ndarray, np.ndarray]:
    inputs = draw.white()
    return inputs, draw.planted(inputs, 0.0)


def _unrelated(draw: _Draw) -> tuple[np.ndarray, np.ndarray]:
    inputs = draw.white()
    return inputs, draw.rng.normal(size=draw.planted(inputs, 0.0).shape)


def _conditioned(draw: _Draw) -> tuple[np.ndarray, np.ndarray]:
    """Singular values of the inputs from 1 down to 1e-1 to 1e-6."""
    left, _, right = np.linalg.svd(draw.white(), full_matrices=False)
    inputs = (left * np.geomspace(1, 10 ** -draw.rng.uniform(1, 6), left.shape[1])) @ right
    return inputs, draw.planted(inputs, draw.rng.choice([0.0, 0.2]))


def _scaled(draw: _Draw) -> tuple[np.ndarray, np.ndarray]:
    """Other units of inputs and targets."""
    inputs = draw.white()
    targets = draw.planted(inputs, 0.2) * 10 ** draw.rng.uniform(-3, 3)
    return inputs * 10 ** draw.rng.uniform(-2, 2), targets


def _few(draw: _Draw) -> tuple[np.ndarray, np.ndarray]:
    """Two different samples: minimisers form manifolds."""
    inputs = draw.white()
    inputs[2:] = inputs[np.arange(2, len(inputs)) % 2]
    targets = draw.planted(inputs, 0.0)
    return inputs, targets if draw.rng.uniform() < 0.5 else targets + draw.rng.normal(size=targets.shape)


def _opposite(draw: _Draw) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of equal samples with opposite targets."""
    inputs = draw.white()
    targets = draw.planted(inputs, 0.3)
    half = len(inputs) // 2
    inputs[half:], targets[half:] = inputs[: len(inputs) - half], -targets[: len(inputs) - half]
    return inputs, targets


def _zero_targets(draw: _Draw) -> tuple[np.ndarray, np.ndarray]:
    inputs = draw.white()
    return inputs, 0 * draw.planted(inputs, 0.0)


def _outliers(draw: _Draw) -> tuple[np.ndarray, np.ndarray]:
    """Two targets a hundred times as large."""
    inputs = draw.white()
    targets = draw.planted(inputs, 0.1)
    targets[:2] *= 100
    return inputs, targets


def _near_constant(draw: _Draw) -> tuple[np.ndarray, np.ndarray]:
    """All inputs are nearly the same."""
    inputs = 1 + 10 ** -draw.rng.uniform(0, 5) * draw.white()
    return inputs, draw.planted(inputs, draw.rng.choice([0.0, 0.3]))


def _separable(draw: _Draw) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a random network."""
    inputs = draw.white()
    return inputs, _signs(draw.planted(inputs, 0.0))


def _random_labels(draw: _Draw) -> tuple[np.ndarray, np.ndarray]:
    inputs = draw.white()
    return inputs, _signs(draw.rng.normal(size=draw.planted(inputs, 0.0).shape))


def _flipped(draw: _Draw) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a random network, those of the first sample changed."""
    inputs, labels = _separable(draw)
    labels[0] *= -1
    return inputs, labels


def _contradictory(draw: _Draw) -> tuple[np.ndarray, np.ndarray]:
    """Every sample once with either label: the loss is smallest at output 0."""
    inputs, labels = _opposite(draw)
    half = len(inputs) // 2
    labels = _signs(labels)
    labels[half:] = -labels[: len(inputs) - half]
    return inputs, labels


def _one_class(draw: _Draw) -> tuple[np.ndarray, np.ndarray]:
    inputs, labels = _separable(draw)
    return inputs, np.ones_like(labels)


def _partly_contradictory(draw: _Draw) -> tuple[np.ndarray, np.ndarray]:
    """Separable but for one pair of equal samples."""
    inputs, labels = _separable(draw)
    inputs[1], labels[1] = inputs[0], -labels[0]
    return inputs, labels


def _signs(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, 1.0, -1.0)


DATA_KINDS: dict[str, Maker] = {
    "planted": _planted,
    "interpolated": _interpolated,
    "unrelated": _unrelated,
    "conditioned": _conditioned,
    "scaled": _scaled,
    "few": _few,
    "opposite": _opposite,
    "zero_targets": _zero_targets,
    "outliers": _outliers,
    "near_constant": _near_constant,
}
LABEL_KINDS: dict[str, Maker] = {
    "separable": _separable,
    "random_labels": _random_labels,
    "flipped": _flipped,
    "contradictory": _contradictory,
    "one_class": _one_class,
    "partly_contradictory": _partly_contradictory,
}


def _numbers(rng: np.random.Generator, loss: str) -> np.ndarray:
    """Numbers of the loss."""
    if loss == "smooth_quantile":
        return np.array([rng.uniform(0.05, 0.95), 10 ** rng.uniform(-1.5, 1)])
    return np.array([10 ** rng.uniform(-1, 1)] if loss in _WITH_DELTA else [])


_WITH_DELTA = ("pseudo_huber", "huber", "cauchy", "welsch", "geman_mcclure")


def _gaussian(rng: np.random.Generator, family: Family) -> np.ndarray:
    return rng.normal(size=net_of(family).size)


def _small(rng: np.random.Generator, family: Family) -> np.ndarray:
    """1e-6 to 1e-1 of the usual size: the flow first passes the saddle at 0."""
    return _gaussian(rng, family) * 10 ** -rng.uniform(1, 6)


def _large(rng: np.random.Generator, family: Family) -> np.ndarray:
    return _gaussian(rng, family) * 10 ** rng.uniform(0.5, 1.2)


def _unbalanced(rng: np.random.Generator, family: Family) -> np.ndarray:
    """One array of parameters 1e-3 to 1e2 of its size."""
    w, blocks = _gaussian(rng, family), net_of(family).blocks
    w[blocks[rng.integers(len(blocks))]] *= 10 ** rng.uniform(-3, 2)
    return w


def _symmetric(rng: np.random.Generator, family: Family) -> np.ndarray:
    """The first two hidden channels are equal; the flow keeps them equal."""
    w, channels = _gaussian(rng, family), net_of(family).channels
    if len(channels) > 1:
        for one, two in zip(channels[0], channels[1], strict=True):
            w[two] = w[one]
    return w


def _nearly_symmetric(rng: np.random.Generator, family: Family) -> np.ndarray:
    """Equal but for 1e-3 to 1e-12."""
    return _symmetric(rng, family) * (1 + 10 ** -rng.uniform(3, 12) * _gaussian(rng, family))


def _sparse(rng: np.random.Generator, family: Family) -> np.ndarray:
    """Small whole numbers, many of them 0; two filters are not equal or opposite, which is the kind `symmetric`."""
    w = rng.integers(-1, 3, size=net_of(family).size).astype(float)
    half = w.size // 2
    while len(family.kernels) == 2 and any(np.array_equal(w[:half], sign * w[half:]) for sign in (1, -1)):
        w = rng.integers(-1, 3, size=w.size).astype(float)
    return w


START_KINDS: dict[str, Callable[[np.random.Generator, Family], np.ndarray]] = {
    "gaussian": _gaussian,
    "near_separatrix": _gaussian,
    "small": _small,
    "large": _large,
    "unbalanced": _unbalanced,
    "symmetric": _symmetric,
    "nearly_symmetric": _nearly_symmetric,
    "sparse": _sparse,
}
"""Starts of kind "near_separatrix" are moved to the border of two basins afterwards."""


def draw_conditions(
    family: Family, seed: int, number: int, indices: range | list[int], borders: bool = True
) -> list[Condition]:
    """Conditions with these indices of family `number`: the kinds of data take turns.

    With `borders` the second start of a flow is searched for near the border of two basins.
    """
    found = [_condition(family, seed, number, index) for index in indices]
    return _with_borders(family, seed, number, found) if borders and not family.optimiser else found


def _condition(family: Family, seed: int, number: int, index: int) -> Condition:
    rng = np.random.default_rng([seed, number, index])
    makers = LABEL_KINDS if family.margins else DATA_KINDS
    kind = list(makers)[(index + 3 * number) % len(makers)]
    inputs, targets = makers[kind](_Draw(rng, family))
    decay = np.array(10 ** rng.uniform(-4, 0) if family.decay else 0.0)
    data = {"inputs": inputs, "targets": targets, "numbers": _numbers(rng, family.loss), "decay": decay}
    starts = []
    for name, make in START_KINDS.items():
        w = make(rng, family)
        starts.append(Start(w, "equal" if name == "symmetric" and len(net_of(family).channels) > 1 else ""))
    return Condition(index, kind, data, tuple(starts))


def _with_borders(family: Family, seed: int, number: int, found: list[Condition]) -> list[Condition]:
    """Moves the second start of every condition to where the limit changes on a line to another one.

    Where all limits on the line are the same, or not isolated, it stays.
    """
    rngs = [np.random.default_rng([seed, number, c.number, 1]) for c in found]
    low = np.stack([c.starts[1].vector for c in found])
    high = np.stack([_gaussian(rng, family) for rng in rngs])
    data = {k: np.stack([c.data[k] for c in found]) for k in found[0].data}
    live = np.arange(len(found))
    for _ in range(_ROUNDS):
        grid = np.linspace(0, 1, _GRID)[:, None]
        points = low[live, None] + grid * (high[live] - low[live])[:, None]
        rows = {k: np.repeat(v[live], _GRID, axis=0) for k, v in data.items()}
        flat = points.reshape(-1, points.shape[-1])
        ends = flow_ends(structure_of(family), rows, flat, 1e-6, _STEPS)
        risks = objective_of(family).value(ends.vectors, rows).reshape(len(live), _GRID)
        apart = ~np.isclose(risks[:, 1:], risks[:, :-1], rtol=1e-3, atol=1e-12)
        changes = np.argmax(apart, axis=1)
        row = np.arange(len(live))
        low[live], high[live] = points[row, changes], points[row, changes + 1]
        live = live[apart.any(axis=1)]
        if not len(live):
            break
    return [_moved(c, w) for c, w in zip(found, low, strict=True)]


def _moved(condition: Condition, w: np.ndarray) -> Condition:
    starts: tuple[Any, ...] = condition.starts
    return condition._replace(starts=(starts[0], Start(w), *starts[2:]))
