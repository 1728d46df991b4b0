"""The problems of the study: risks L(v) = (v - v*)^T G (v - v*) / 2 of an end-to-end filter v with k_v taps.

The input has as many entries as the filter has taps, so that a sample sees all of v once. G = R diag(lambda) R^T has
geometric eigenvalues of mean 1 with a ratio of `condition`, R is a random rotation, and |v*| = 1. This is no loss of
generality in scale: v* -> c v* turns a flow w(t) of N layers into c^(1/N) w(c^(2 - 2/N) t), and a factor of G is one of
time. Rotation, target and directions of the starts of a data set are those of its number alone, whatever the condition
and the size of the starts, so that curves over these two compare like with like.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lcnn_flow as lf

__all__ = ["ARCHITECTURES", "CONDITIONS", "DATA_SETS", "STARTS", "STDS", "TARGETS", "Group", "groups", "name_of"]

ARCHITECTURES = ((2, 2), (3, 2), (2, 2, 2))
TARGETS = ("attainable", "any")
CONDITIONS = (1, 3, 10, 30, 100, 300, 1000)
STDS = (0.01, 0.1, 1.0, 3.0)
"""Standard deviations of the taps at the start; a balanced minimum of an isotropic problem has filters of norm 1."""
DATA_SETS, STARTS = 100, 16
"""Per architecture, kind of targets and condition; starts per data set and standard deviation."""
_SEED = 20260108


@dataclass(frozen=True)
class Group:
    """All data sets of one architecture, kind of targets and condition."""

    kernel_sizes: tuple[int, ...]
    targets: str
    condition: int
    grams: np.ndarray
    """(D, k_v, k_v) matrices G."""
    filters: np.ndarray
    """(D, k_v) targets v*."""
    directions: tuple[np.ndarray, ...]
    """Per layer (D, S, k_l) standard normal numbers: the starts of standard deviation 1."""
    risks: Any
    """The empirical risks, with a leading axis D."""

    @property
    def real_roots(self) -> np.ndarray:
        """(D,) numbers of real roots of the targets, as polynomials of degree k_v - 1."""
        return np.asarray([int(np.sum(np.isreal(np.roots(v)))) for v in self.filters])

    def starts(self, std: float) -> tuple[jax.Array, ...]:
        """Per layer (D, S, k_l) filters at the start."""
        return tuple(jnp.asarray(std * direction) for direction in self.directions)


def name_of(kernel_sizes: tuple[int, ...]) -> str:
    """ "2x2x2" for three filters of two taps."""
    return "x".join(map(str, kernel_sizes))


def groups(data_sets: int = DATA_SETS, starts: int = STARTS) -> Any:
    """All groups of the study, one after the other."""
    for kernel_sizes, targets, condition in itertools.product(ARCHITECTURES, TARGETS, CONDITIONS):
        yield group(kernel_sizes, targets, condition, data_sets, starts)


def group(kernel_sizes: tuple[int, ...], targets: str, condition: int, data_sets: int, starts: int) -> Group:
    """One group; the first data sets are the same for every number of them."""
    taps = sum(kernel_sizes) - len(kernel_sizes) + 1
    values = float(condition) ** np.linspace(0, 1, taps)
    values /= values.mean()
    inputs, grams, filters, directions = [], [], [], []
    for number in range(data_sets):
        rotation, target, start = _drawn(kernel_sizes, targets, number, starts)
        if condition == 1:
            rotation = np.eye(taps)  # exactly isotropic, without the rounding of a rotation
        inputs.append(np.sqrt(taps * values)[:, None] * rotation.T)
        grams.append(rotation @ np.diag(values) @ rotation.T)
        filters.append(target)
        directions.append(start)
    x, v = jnp.asarray(np.stack(inputs)), np.stack(filters)
    y = jnp.einsum("dij,dj->di", x, v)[..., None]
    arch = lf.Architecture(taps, kernel_sizes)
    risks = jax.vmap(lambda x, y: lf.EmpiricalRisk(arch, lf.losses.Square(), lf.Dataset(x, y)))(x, y)
    layers = tuple(np.stack([start[layer] for start in directions]) for layer in range(len(kernel_sizes)))
    return Group(kernel_sizes, targets, condition, np.stack(grams), v, layers, risks)


def _drawn(kernel_sizes: tuple[int, ...], targets: str, number: int, starts: int) -> tuple:
    """Rotation, target and starts of one data set."""
    taps = sum(kernel_sizes) - len(kernel_sizes) + 1
    rng = np.random.default_rng([_SEED, *kernel_sizes, TARGETS.index(targets), number])
    orthogonal, triangle = np.linalg.qr(rng.normal(size=(taps, taps)))
    rotation = orthogonal * np.sign(np.diag(triangle))  # Haar: F. Mezzadri, Notices AMS 54 (2007)
    target = rng.normal(size=taps)
    if targets == "attainable":
        target = np.ones(1)
        for size in kernel_sizes:
            target = np.convolve(target, rng.normal(size=size))
    start = [rng.normal(size=(starts, size)) for size in kernel_sizes]
    return rotation, target / math.sqrt(target @ target), start
