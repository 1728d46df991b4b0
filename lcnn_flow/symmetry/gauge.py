"""The symmetry of networks with channels: channels between layers can be mixed, W_l -> A W_l, W_{l+1} -> W_{l+1}
A^{-1}.

The symmetric matrices Q_l = sum_tau W_{l+1}(tau)^T W_{l+1}(tau) - sum_tau W_l(tau) W_l(tau)^T are therefore conserved.
The symmetry directions are W_l -> A W_l, W_{l+1} -> -W_{l+1} A for every square matrix A. These are c_l^2 directions
for c_l (c_l + 1)/2 conserved quantities, so with two or more channels a critical point is never isolated on its leaf.
Derived from the invariance of the end-to-end filter.
"""

import itertools
from dataclasses import dataclass

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.parameters import Params, ravel, squared_norms, unravel

__all__ = ["ChannelGauge"]


@dataclass(frozen=True)
class ChannelGauge:
    """The `Symmetry` of a linear network with channels."""

    arch: Architecture
    isolates = False

    def matrices(self, params: Params) -> tuple[Float[Array, "c c"], ...]:
        """The conserved matrices (Q_1, ..., Q_{N-1})."""
        matrices = []
        for below, above in itertools.pairwise(params):
            out = jnp.moveaxis(above, 1, 0).reshape(above.shape[1], -1)
            into = below.reshape(below.shape[0], -1)
            matrices.append(_gram(out) - _gram(into))
        return tuple(matrices)

    def conserved(self, vector: Float[Array, " n"]) -> Float[Array, " d"]:
        """The upper triangles of all Q_l as one vector."""
        triangles = [q[jnp.triu_indices(q.shape[0])] for q in self.matrices(unravel(self.arch, vector))]
        return jnp.concatenate(triangles) if triangles else jnp.zeros((0,), vector.dtype)

    def leaf_levels(self, vector: Float[Array, " n"]) -> Float[Array, " m"]:
        """The conserved quantities."""
        return self.conserved(vector)

    def leaf_chain(self, vector: Float[Array, " n"]) -> Int[Array, " k"]:
        """The layers in order of decreasing norm; `leaf_values` does not use it."""
        return jnp.argsort(-squared_norms(self.arch, vector))

    def leaf_values(self, levels: Float[Array, " m"], chain: Int[Array, " k"]) -> Float[Array, " d"]:
        """The levels, which are the conserved quantities themselves."""
        del chain
        return levels

    def directions(self, vector: Float[Array, " n"]) -> Float[Array, "n e"]:
        """sum_l c_l^2 generators, which may be linearly dependent."""
        params = unravel(self.arch, vector)
        columns = []
        for layer in range(self.arch.depth - 1):
            below, above = params[layer], params[layer + 1]
            basis = jnp.eye(below.shape[0] ** 2, dtype=vector.dtype).reshape(-1, below.shape[0], below.shape[0])
            for move_below, move_above in [(_on_outputs(g, below), -_on_inputs(g, above)) for g in basis]:
                zeros = [jnp.zeros_like(w) for w in params]
                zeros[layer], zeros[layer + 1] = move_below, move_above
                columns.append(ravel(tuple(zeros)))
        return jnp.stack(columns, axis=1) if columns else jnp.zeros((vector.size, 0), vector.dtype)

    def equal(self, vector: Float[Array, " n"]) -> Float[Array, "N N"]:
        """The identity: filters with channels do not commute, so no layers are exchangeable."""
        return jnp.eye(self.arch.depth, dtype=vector.dtype)

    def keep(self, vector: Float[Array, " n"], equal: Float[Array, "N N"]) -> Float[Array, " n"]:
        """The point, unchanged, because no layers are exchangeable."""
        del equal
        return vector


def _gram(matrix: Array) -> Array:
    return jnp.matmul(matrix, matrix.T, precision=lax.Precision.HIGHEST)


def _on_outputs(generator: Array, filters: Array) -> Array:
    return jnp.tensordot(generator, filters, axes=1, precision=lax.Precision.HIGHEST)


def _on_inputs(generator: Array, filters: Array) -> Array:
    return jnp.moveaxis(jnp.tensordot(filters, generator, axes=(1, 0), precision=lax.Precision.HIGHEST), -1, 1)
