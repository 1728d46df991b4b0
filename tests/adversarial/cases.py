"""The generator: hard data, hard loss parameters and hard starts, drawn by numpy from (seed, family, condition).

A condition is one data set with its loss parameters; `STARTS` flows start from it, one of each kind.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .families import Family, architecture
from .problem import Problem, Shape
from .reference_flow import ReferenceFlow, parameter_gap
from .stored import end_of_flow

_BISECTION_RTOL = 1e-7
_QUICK = 800
"""Steps of two flows."""

__all__ = ["DATA_KINDS", "START_KINDS", "Condition", "condition"]


class Condition(NamedTuple):
    """One data set, its loss, and the starts of its flows."""

    kind: str
    inputs: np.ndarray
    targets: np.ndarray
    numbers: tuple[float, ...]
    starts: np.ndarray
    """(STARTS, n)."""
    problem: Problem


def condition(family: Family, shape: Shape, seed: int, number: int, index: int) -> Condition:
    """Condition `index` of family `number`: the kinds of data take turns."""
    rng = np.random.default_rng([seed, number, index])
    kinds = list(DATA_KINDS)
    kind = kinds[(index + 5 * number) % len(kinds)]
    draw = _Draw(rng, family, shape, _numbers(rng, family))
    inputs, targets, numbers = DATA_KINDS[kind](draw)
    dtype = np.dtype(family.dtype)
    inputs, targets = inputs.astype(dtype), targets.reshape(draw.target_shape).astype(dtype)
    numbers = tuple(float(dtype.type(x)) for x in numbers)
    problem = Problem(shape, inputs, targets, family.loss, numbers)
    starts = np.stack([make(rng, problem) for make in START_KINDS.values()]).astype(dtype)
    return Condition(kind, inputs, targets, numbers, starts.astype(float), problem)


def _numbers(rng, family: Family) -> tuple[float, ...]:
    """Parameters of the loss, from the mild to the extreme."""
    if family.loss == "lp":
        assert family.p is not None
        return (family.p,)
    if family.loss == "pseudo_huber":
        return (10 ** rng.uniform(-3, 3),)
    if family.loss == "generalized_huber":
        b = rng.choice([-1.99, -1.9, -1.5, -0.5, 0.0, 1.0, 4.0, 10.0, 100.0])
        return (10 ** rng.uniform(-1, 1.47), float(b))
    return (10 ** rng.uniform(-2, 2),) if family.loss == "log_cosh" else ()


class _Draw:
    """What the kinds of data share."""

    def __init__(self, rng, family: Family, shape: Shape, numbers: tuple[float, ...]) -> None:
        self.rng, self.family, self.shape, self.numbers = rng, family, shape, numbers
        positions, window = shape.windows.shape
        self.input_size = int(np.max(shape.windows)) + 1
        self.target_shape = (family.samples, *_output_shape(family))
        self.rows, self.columns = family.samples * positions, window

    def white(self):
        return self.rng.normal(size=(self.family.samples, self.input_size))

    def noise(self):
        return self.rng.normal(size=self.family.samples * self.shape.out_channels * len(self.shape.windows))

    def attained(self, inputs, w):
        """The network's outputs at the filters w."""
        zeros = np.zeros(self.target_shape)
        here = Problem(self.shape, inputs, zeros, self.family.loss, self.numbers)
        outputs = here.patches @ here.filter(w)
        return np.moveaxis(outputs.reshape(self.shape.out_channels, self.family.samples, -1), 0, 1).ravel()

    def planted(self, inputs, noise: float):
        clean = self.attained(inputs, self.rng.normal(size=self.shape.size))
        return clean + noise * np.std(clean) * self.noise()

    def shaped(self, inputs):
        """The flat samples in the shape that the architecture takes."""
        channels = 1 if self.family.channels is None else self.family.channels[0]
        sides = _sides(self.family)
        return inputs.reshape(self.family.samples, *(() if self.family.channels is None else (channels,)), *sides)


def _output_shape(family: Family) -> tuple[int, ...]:
    outputs = tuple(np.atleast_1d(family.outputs).tolist())
    return outputs if family.channels is None else (family.channels[-1], *outputs)


def _sides(family: Family) -> tuple[int, ...]:
    return architecture(family).input_shape


def _white(draw: _Draw):
    inputs = draw.white()
    return draw.shaped(inputs), draw.planted(inputs, draw.rng.uniform(0, 1)), draw.numbers


def _unrelated(draw: _Draw):
    return draw.shaped(draw.white()), draw.noise(), draw.numbers


def _conditioned(draw: _Draw):
    """Singular values of the inputs from 1 down to 1e-12, evenly in the logarithm."""
    left, _, right = np.linalg.svd(draw.white(), full_matrices=False)
    worst = 10 ** draw.rng.uniform(1, 12 if draw.family.dtype == "float64" else 5)
    inputs = (left * np.geomspace(1, 1 / worst, left.shape[1])) @ right
    noise = draw.rng.choice([0.0, 1e-6, 0.3])
    return draw.shaped(inputs), draw.planted(inputs, noise), draw.numbers


def _weak_targets(draw: _Draw):
    """All but one singular value of the inputs are 1, the targets lie along the weak one: filters grow for long."""
    left, _, right = np.linalg.svd(draw.white(), full_matrices=False)
    sizes = np.ones(left.shape[1])
    sizes[-1] = 10 ** -draw.rng.uniform(4, 9 if draw.family.dtype == "float64" else 5)
    targets = draw.rng.choice([0.0, 0.1]) * draw.noise().reshape(draw.family.samples, -1) + left[:, -1:]
    return draw.shaped((left * sizes) @ right), targets, draw.numbers


def _near_constant(draw: _Draw):
    """Inputs 1 + e cos(i^2): all samples are nearly the same."""
    smallness = 10 ** -draw.rng.uniform(0, 8 if draw.family.dtype == "float64" else 3)
    inputs = 1 + smallness * np.cos(np.arange(draw.family.samples * draw.input_size) ** 2.0)
    inputs = inputs.reshape(draw.family.samples, draw.input_size)
    return draw.shaped(inputs), draw.planted(inputs, draw.rng.choice([0.0, 1e-3, 0.3])), draw.numbers


def _scaled(draw: _Draw):
    """Units of inputs and targets from 1e-8 to 1e8."""
    reach = 8 if draw.family.loss != "lp" else 4
    inputs = draw.white()
    targets = draw.planted(inputs, 0.3) * 10 ** draw.rng.uniform(-reach, reach)
    return draw.shaped(inputs * 10 ** draw.rng.uniform(-reach, reach)), targets, draw.numbers


def _huge_inputs(draw: _Draw):
    """Inputs of size 1e5, and the non-convex generalised Huber loss where there is one."""
    inputs = 1e5 * draw.white()
    numbers = (3.0, -1.9) if draw.family.loss == "generalized_huber" else draw.numbers
    return draw.shaped(inputs), draw.rng.choice([1.0, 1e5]) * draw.noise(), numbers


def _common_root(draw: _Draw):
    """Integer data, fitted by equal filters: their roots are common to several layers."""
    inputs = draw.rng.integers(-3, 4, size=(draw.family.samples, draw.input_size)).astype(float)
    w = np.concatenate([np.arange(1.0, 1 + where.stop - where.start) for where in draw.shape.layers])
    return draw.shaped(inputs), draw.attained(inputs, np.minimum(w, 2.0)), draw.numbers


def _interpolated(draw: _Draw):
    """Targets in the range of P, of random filters."""
    inputs = draw.white()
    return draw.shaped(inputs), draw.planted(inputs, 0.0), draw.numbers


def _zero_targets(draw: _Draw):
    inputs = draw.white()
    return draw.shaped(inputs), 0 * draw.noise(), draw.numbers


def _orthogonal_targets(draw: _Draw):
    """Samples in equal pairs with opposite targets: P^T rho'(-y) = 0 exactly."""
    half = draw.family.samples // 2
    inputs, targets = draw.white(), draw.noise().reshape(draw.target_shape)
    inputs[half : 2 * half], targets[half : 2 * half] = inputs[:half], -targets[:half]
    inputs[2 * half :], targets[2 * half :] = 0, 0
    return draw.shaped(inputs), targets, draw.numbers


def _deficient(draw: _Draw):
    """Small integers with the last entry of every sample 0, or all samples multiples of two of them."""
    inputs = draw.rng.integers(-3, 4, size=(draw.family.samples, draw.input_size)).astype(float)
    if draw.rng.uniform() < 0.5 or draw.family.samples < 3:
        inputs[:, -1] = 0
    else:
        inputs[2:] = draw.rng.integers(-2, 3, size=(draw.family.samples - 2, 2)) @ inputs[:2]
    targets = draw.noise() if draw.rng.uniform() < 0.5 else draw.planted(inputs, 0.0)
    return draw.shaped(inputs), targets, draw.numbers


DATA_KINDS: dict[str, Callable] = {
    "white": _white,
    "conditioned": _conditioned,
    "zero_targets": _zero_targets,
    "common_root": _common_root,
    "near_constant": _near_constant,
    "unrelated": _unrelated,
    "huge_inputs": _huge_inputs,
    "deficient": _deficient,
    "scaled": _scaled,
    "orthogonal_targets": _orthogonal_targets,
    "interpolated": _interpolated,
    "weak_targets": _weak_targets,
}


def _fit(problem: Problem) -> float:
    """Size of a filter whose layers' product fits the targets; 1 for zero targets."""
    return (problem.filter_size() or 1.0) ** (1 / len(problem.shape.layers))


def _gaussian(rng, problem: Problem):
    """Entries that fit the size of the data."""
    return rng.normal(size=problem.shape.size) * _fit(problem)


def _near_separatrix(rng, problem: Problem):
    """Two Gaussian starts with different limits, and a point between them 1e-1 to 1e-4 beside where the limit changes.

    Where both have one limit, or where it takes long to see: the first of them.
    """
    here = rng.normal(size=problem.shape.size) * 0.7
    other = rng.spawn(1)[0]
    there, offset = other.normal(size=here.size) * _fit(problem), 10 ** -other.uniform(1, 4)
    first, last = (end_of_flow(problem, w, _BISECTION_RTOL) for w in (here, there))
    slow = first.steps + last.steps > _QUICK
    if slow or not (first.isolated and last.isolated) or _same(problem, first, last):
        return here
    low, high = 0.0, 1.0
    while high - low > offset:
        middle = (low + high) / 2
        end = end_of_flow(problem, here + middle * (there - here), _BISECTION_RTOL)
        low, high = (middle, high) if _same(problem, first, end) else (low, middle)
    return here + low * (there - here)


def _same(problem: Problem, one: ReferenceFlow, two: ReferenceFlow) -> bool:
    return parameter_gap(problem, one.vector, two.vector) < 1e-3


def _unbalanced(rng, problem: Problem):
    """One layer up to 1e4 times larger than the others."""
    w, layers = _gaussian(rng, problem), problem.shape.layers
    w[layers[rng.integers(len(layers))]] *= 10 ** rng.uniform(0, 4)
    return w


def _off_scale(rng, problem: Problem):
    """All filters 1e-4 to 1e2 times the size that fits."""
    return _gaussian(rng, problem) * 10 ** rng.uniform(-4, 2)


def _symmetric(rng, problem: Problem):
    """Exchangeable layers equal, or opposite."""
    w, layers = _gaussian(rng, problem), problem.shape.layers
    sign = rng.choice([1.0, 1.0, -1.0])
    for group in problem.shape.exchangeable:
        for other in group[1:]:
            w[layers[other]] = sign * w[layers[group[0]]]
    return w


def _nearly_symmetric(rng, problem: Problem):
    """Exchangeable layers equal up to 1e-3 to 1e-13."""
    w, layers = _gaussian(rng, problem), problem.shape.layers
    for group in problem.shape.exchangeable:
        for other in group[1:]:
            offset = 10 ** -rng.uniform(3, 13) * rng.normal(size=w[layers[other]].size)
            w[layers[other]] = w[layers[group[0]]] * (1 + offset)
    return w


def _zero_filter(rng, problem: Problem):
    """One filter is zero, or the first two."""
    w, layers = _gaussian(rng, problem), problem.shape.layers
    w[layers[0]] = 0
    if rng.uniform() < 0.3 and len(layers) > 1:
        w[layers[1]] = 0
    return w


def _sparse(rng, problem: Problem):
    """Small whole numbers, many of them 0, in units of what fits."""
    return rng.integers(-1, 3, size=problem.shape.size) * 2.0 ** np.round(np.log2(_fit(problem)))


START_KINDS: dict[str, Callable] = {
    "gaussian": _gaussian,
    "near_separatrix": _near_separatrix,
    "unbalanced": _unbalanced,
    "off_scale": _off_scale,
    "symmetric": _symmetric,
    "nearly_symmetric": _nearly_symmetric,
    "zero_filter": _zero_filter,
    "sparse": _sparse,
}
