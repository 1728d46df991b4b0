"""Path length and dissipated energy of a flow, by quadrature on the dense output of every step.

On a step of length h the dense output is a curve p(theta), 0 <= theta <= 1, with speed |p'|. Gauss's rule with nodes
theta_k and weights b_k gives

    path length   int |dw/dt| dt   = sum_k b_k |p'(theta_k)|,
    dissipation   int |dw/dt|^2 dt = sum_k b_k |p'(theta_k)|^2 / h.

For an exact flow these are the integrals of |grad L| and |grad L|^2. The speed of the curve is used instead of the
gradient because in a stiff direction the gradient multiplies the error of the state by the curvature.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = ["NODES", "WEIGHTS", "partial_weights"]

_COUNT = 4


def _gauss() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss's rule on [0, 1], and the integrals of Lagrange's polynomials, highest power first."""
    nodes, weights = np.polynomial.legendre.leggauss(_COUNT)
    nodes, weights = (nodes + 1) / 2, weights / 2
    integrals = []
    for k in range(_COUNT):
        others = np.delete(nodes, k)
        integrals.append(np.polyint(np.poly(others) / np.prod(nodes[k] - others)))
    return nodes, weights, np.asarray(integrals)


NODES, WEIGHTS, _INTEGRALS = _gauss()


def partial_weights(theta: Float[Array, "..."]) -> Float[Array, "... k"]:
    """Quadrature weights, one per node, for the integral from 0 to `theta` <= 1."""
    theta, shape = theta[..., None], (*theta.shape, _COUNT)
    total = jnp.zeros(shape, theta.dtype)
    for coefficients in jnp.asarray(_INTEGRALS.T, theta.dtype):
        total = total * theta + jnp.broadcast_to(coefficients, shape)
    return total
