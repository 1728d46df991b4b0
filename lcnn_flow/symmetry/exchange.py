"""Exchange symmetry: filters that are equal or opposite at the start remain so, also in floating point.

Two layers with the same spacing S_l and the same length enter v = w_1 * up(w_2) * ... in the same way, so the flow
preserves w_l = w_m and w_l = -w_m. Saddles on these sets attract flows within the sets, but rounding errors would grow
at the unstable rate and drive the flow away. Averaging the equal filters after every step preserves the symmetry bit
for bit, and does not change flows without it. Single channel only; filters with channels do not commute.
"""

import itertools

import jax.numpy as jnp
from jaxtyping import Array, Float

from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.parameters import ravel, unravel

__all__ = ["equal_filters", "keep_equal"]


def equal_filters(arch: Architecture, vector: Float[Array, " n"]) -> Float[Array, "N N"]:
    """Entry (l, m) is 1 if layers l and m are exchangeable and w_l = w_m, -1 if w_l = -w_m, otherwise 0."""
    params = unravel(arch, vector)
    matrix = jnp.eye(arch.depth, dtype=vector.dtype)
    for group in _exchangeable(arch):
        for one, two in itertools.combinations(group, 2):
            same, opposite = jnp.all(params[one] == params[two]), jnp.all(params[one] == -params[two])
            entry = jnp.where(same, 1.0, jnp.where(opposite, -1.0, 0.0)).astype(vector.dtype)
            matrix = matrix.at[one, two].set(entry).at[two, one].set(entry)
    return matrix


def keep_equal(arch: Architecture, vector: Float[Array, " n"], equal: Float[Array, "N N"]) -> Float[Array, " n"]:
    """`vector` with every filter replaced by the mean of the filters that equal it up to sign, according to `equal`."""
    params = list(unravel(arch, vector))
    for group in _exchangeable(arch):
        means = []
        for one in group:
            total = sum(equal[one, two] * params[two] for two in group)
            means.append(total / sum(jnp.abs(equal[one, two]) for two in group))
        for one, mean in zip(group, means, strict=True):
            params[one] = mean
    return ravel(tuple(params))


def _exchangeable(arch: Architecture) -> list[list[int]]:
    """Groups of two or more layers that enter the end-to-end filter in the same way."""
    groups: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for layer, key in enumerate(zip(arch.kernel_sizes, arch.cumulative_strides, strict=True)):
        groups.setdefault(key, []).append(layer)
    return [group for group in groups.values() if len(group) > 1]
