"""Complex linear systems, one per lane in the trailing axis, by elimination with partial pivoting.

Every pivot is a unit of a few kernels over all lanes; the pivot of a column is the entry with the largest |re| + |im|.
"""

from functools import reduce

import jax.numpy as jnp
from jaxtyping import Array, Int

from lcnn_flow.landscape.planes import Planes, select, stack
from lcnn_flow.numerics.kernels import as_kernel

__all__ = ["solve"]


def solve(table: Planes) -> Planes:
    """x with A x = b from the table [A | b].

    Args:
        table: (m, m + 1, lanes).

    Returns:
        (m, lanes); not finite where A is singular.
    """
    rows = []
    for _ in range(table.re.shape[0] - 1):
        row, table = _eliminate(table)
        rows.append(row)
    rows.append(_divided(table[0]))
    found: list[Planes] = []
    for row in reversed(rows):
        found.insert(0, _substitute(row, found))
    return stack(found)


@as_kernel
def _eliminate(table: Planes) -> tuple[Planes, Planes]:
    """One step of elimination: the pivot row divided by its pivot, and the other rows; without the first column."""
    place = _largest(table)
    row = _divided(_chosen(table, place))
    first = table[0]
    others = [select(place[None] == r, first, table[r]) for r in range(1, table.re.shape[0])]
    return row, stack([other[1:] - other[:1] * row for other in others])


def _largest(table: Planes) -> Int[Array, " lanes"]:
    """The row with the largest entry in the first column; the first one if several are equal."""
    sizes = jnp.abs(table.re[:, 0]) + jnp.abs(table.im[:, 0])
    top = reduce(jnp.maximum, [sizes[r] for r in range(sizes.shape[0])])
    place = jnp.zeros(top.shape, jnp.int32)
    for r in reversed(range(sizes.shape[0])):
        place = jnp.where(sizes[r] == top, r, place)
    return place


def _chosen(table: Planes, place: Array) -> Planes:
    row = table[0]
    for r in range(1, table.re.shape[0]):
        row = select(place[None] == r, table[r], row)
    return row


@as_kernel
def _divided(row: Planes) -> Planes:
    return row[1:] * row[:1].inverse


@as_kernel
def _substitute(row: Planes, found: list[Planes]) -> Planes:
    result = row[-1]
    for entry, x in zip([row[j] for j in range(len(found))], found, strict=True):
        result = result - entry * x
    return result
