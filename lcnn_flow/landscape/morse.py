"""`morse_graph`: which minima the saddles of index 1 join, and how high the barriers between them are.

On a leaf of constant balancedness a saddle of index 1 has one unstable direction; the two flows along it, down to
their limits, are an edge. The leaf is connected, and so is the graph if every flow ends in a minimum; it need not: the
equal filters of a network of stride 1 stay equal, and in that plane a saddle may flow into another one.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lcnn_flow.errors import RiskError
from lcnn_flow.landscape.result import Census
from lcnn_flow.landscape.shares import basins, check_belongs
from lcnn_flow.network.parameters import ravel, unravel
from lcnn_flow.numerics.compiling import quick_to_compile
from lcnn_flow.risk.linear import LinearRisk

__all__ = ["Edge", "MorseGraph", "morse_graph"]

_FEWEST = 8
_AWAY = 1e-3
"""First step from a saddle, relative to the norm of its filters."""


@dataclass(frozen=True)
class Edge:
    """A saddle of index 1, and the orbits at which the two flows down from it end; None where one has no limit."""

    saddle: int
    ends: tuple[int | None, int | None]


@dataclass(frozen=True, eq=False)
class MorseGraph:
    """Result of `morse_graph`: minima joined by saddles of index 1; numbers are those of the census."""

    census: Census
    balancedness: tuple[float, ...]
    edges: tuple[Edge, ...]

    @property
    def into_saddles(self) -> tuple[Edge, ...]:
        """Edges with an end that is not a minimum, or unknown; for data in general position there are none."""
        return tuple(edge for edge in self.edges if not all(end in self.census.minima for end in edge.ends))

    @property
    def connected(self) -> bool:
        """Whether the graph of all minima and edges is connected."""
        groups = _Groups(len(self.census.orbits))
        for edge in self.edges:
            groups.join(edge)
        return len({groups.of(i) for i in self.census.minima}) <= 1

    @property
    def barriers(self) -> dict[int, float]:
        """For every minimum, the smallest barrier on a path along edges to a lower one; infinite if there is none."""
        orbits, minima = self.census.orbits, self.census.minima
        rising = sorted(self.edges, key=lambda edge: orbits[edge.saddle].risk)
        found = {}
        for m in minima:
            own = orbits[m].risk - orbits[m].risk_error
            lower = [i for i in minima if orbits[i].risk + orbits[i].risk_error < own and i not in _same(self, m)]
            found[m] = math.inf
            groups = _Groups(len(orbits))
            for edge in rising:
                groups.join(edge)
                if any(groups.of(i) == groups.of(m) for i in lower):
                    found[m] = orbits[edge.saddle].risk - orbits[m].risk
                    break
        return found

    def __repr__(self) -> str:
        orbits = self.census.orbits
        lines = [f"{len(self.census.minima)} minima, {len(self.edges)} saddles of index 1, "]
        lines[0] += "connected" if self.connected else "not connected"
        for m, barrier in self.barriers.items():
            words = "none lower can be reached" if math.isinf(barrier) else f"barrier {barrier:.6g}"
            lines.append(f"  minimum {m}, risk {orbits[m].risk:.8g}: {words}")
        for edge in self.edges:
            lines.append(f"  saddle {edge.saddle}, risk {orbits[edge.saddle].risk:.8g}: joins {edge.ends}")
        if self.into_saddles:
            lines.append(f"  {len(self.into_saddles)} edges do not end in two minima")
        return "\n".join(lines)


def _same(graph: MorseGraph, m: int) -> set[int]:
    """Global minima are not lower than one another."""
    return set(graph.census.lowest) if m in graph.census.lowest else set()


class _Groups:
    """Groups of orbits that have been joined so far (a union-find structure)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def of(self, i: int) -> int:
        """The representative of the group of orbit i."""
        while self._parent[i] != i:
            i = self._parent[i]
        return i

    def join(self, edge: Edge) -> None:
        """Joins a saddle with its known ends."""
        for end in edge.ends:
            if end is not None:
                self._parent[self.of(end)] = self.of(edge.saddle)


def morse_graph(risk: Any, census: Census, balancedness: Any = None) -> MorseGraph:
    """Follows the flows down both sides of every saddle of index 1; host side.

    Args:
        risk: the risk of the census.
        census: of this risk; edges of an incomplete one are edges of it nevertheless.
        balancedness: (N - 1,) leaf on which it flows; 0 by default. Which minima are joined may depend on it.

    Returns:
        `MorseGraph`: which minima each saddle joins, and the heights of the barriers in units of the risk.

    Raises:
        RiskError: a census of another risk, or one without real orbits.
        ArchitectureError: a wrong number of values.
    """
    risk = check_belongs("morse_graph", risk, census)
    if not census.orbits:
        raise RiskError("morse_graph: the census has no real orbits: there is nothing to join")
    leaf = np.zeros(risk.arch.depth - 1) if balancedness is None else np.asarray(balancedness, float)
    census.orbits[0].on_leaf(leaf)  # refuses what is no balancedness
    saddles = [i for i, orbit in enumerate(census.orbits) if orbit.hessian_index == 1]
    edges: list[Edge] = []
    if saddles:
        points = [census.orbits[i].on_leaf(leaf) for i in saddles]
        layers = [np.stack(parts) for parts in zip(*points, strict=True)]
        room = _room(len(saddles))
        starts = _beside(risk, tuple(jnp.asarray(np.resize(w, (room, *w.shape[1:]))) for w in layers))
        ends = basins(risk, census, starts).labels.reshape(2, -1)[:, : len(saddles)].tolist()
        for saddle, one, other in zip(saddles, *ends, strict=True):
            edges.append(Edge(saddle, (_known(one), _known(other))))
    return MorseGraph(census, tuple(map(float, leaf)), tuple(edges))


def _room(count: int) -> int:
    """The number of saddles, padded to a power of 2 by repetition, so that few programs are compiled."""
    return max(_FEWEST, 1 << (count - 1).bit_length())


def _known(label: int) -> int | None:
    return None if label < 0 else label


@quick_to_compile
def _beside(risk: LinearRisk, layers: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """Starts on both sides of the saddles along their unstable directions; first all starts on one side."""

    def one(filters: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        vector = ravel(filters)
        axis = jnp.linalg.eigh(risk.hessian(vector))[1][:, 0] * (_AWAY * jnp.linalg.norm(vector))
        sides = [unravel(risk.arch, vector + sign * axis) for sign in (1, -1)]
        return tuple(jnp.stack(parts) for parts in zip(*sides, strict=True))

    both = jax.vmap(one)(layers)
    return tuple(jnp.concatenate([w[:, 0], w[:, 1]]) for w in both)
