"""How often flows of two-layer ReLU networks end in a spurious minimum, on the population risk of Gaussian inputs.

A network sum_i relu(w_i . x) of n units learns sum_j relu(v_j . x) of k units with orthonormal v_j, x ~ N(0, I). With
f(w, v) = E relu(w . x) relu(v . x) = (s + (pi - theta) c)/(2 pi), c = w . v, theta the angle between w and v and
s = |w| |v| sin(theta) (Cho and Saul 2009), half the mean squared error is

    L(W) = sum_ij f(w_i, w_j)/2 - sum_ij f(w_i, v_j) + sum_ij f(v_i, v_j)/2.

Safran and Shamir (Spurious Local Minima are Common in Two-Layer ReLU Neural Networks, ICML 2018) prove that it has
spurious minima for n = k from 6 to 20, and report how often descent from random starts finds them; their numbers are to
be looked up there and are not repeated here. A program of a few minutes:

    python -m benchmarks.safran_shamir --k 6 8 --seeds 64
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.stats import binomtest

import lcnn_flow as lf

__all__ = ["correlation", "main", "population_risk", "share_of_spurious_minima"]

_GLOBAL = 1e-9
"""Up to this risk a limit is a global minimum, whose risk is 0; that of the spurious minima is above 1e-3."""


@jax.custom_jvp
def _wedge(s: Array, c: Array) -> Array:
    """s + (pi - theta) c, theta = atan2(s, c); its derivatives are written so that nothing cancels at s = 0."""
    return s + (jnp.pi - jnp.arctan2(s, c)) * c


_wedge.defjvps(
    lambda ds, _, s, c: ds * s * s / (s * s + c * c),
    lambda dc, _, s, c: dc * (jnp.pi - jnp.arctan2(s, c) + s * c / (s * s + c * c)),
)


def correlation(w: Float[Array, " d"], v: Float[Array, " d"]) -> Float[Array, ""]:
    """f(w, v) for w, v != 0; twice differentiable also where they are parallel, as units that have been learned are."""
    c = jnp.dot(w, v)
    across = w - (c / jnp.dot(v, v)) * v  # from it the sine keeps its digits, of arccos it would lose half
    square = jnp.sum(across**2)
    parallel = square == 0
    s = jnp.linalg.norm(v) * jnp.where(parallel, 0, jnp.sqrt(jnp.where(parallel, 1, square)))
    return _wedge(s, c) / (2 * jnp.pi)


def population_risk(W: Float[Array, "n d"], V: Float[Array, "k d"]) -> Float[Array, ""]:
    """L(W) for targets of the units V; a function for `lf.Risk`. Not differentiable where a unit is 0."""

    def within(units: Array) -> Array:
        low, high = np.tril_indices(units.shape[0], -1)
        return jnp.sum(units**2) / 4 + jnp.sum(jax.vmap(correlation)(units[low], units[high]))

    between = jax.vmap(lambda w: jax.vmap(lambda v: correlation(w, v))(V))(W)
    return within(W) - jnp.sum(between) + within(V)


def share_of_spurious_minima(k: int, seeds: int, key: int = 0) -> dict[str, Any]:
    """Flows of k units in dimension k from entries N(0, 1/k), to orthonormal targets: counts, share and interval.

    Returns:
        "verdicts": how often each; "converged": how many flows; "spurious": of these, those to a risk above 0;
        "share", "low", "high": of the spurious among the converged, with the 95% interval of Wilson 1927;
        "risks": of the spurious minima.
    """
    V = jnp.eye(k)
    starts = jax.random.normal(jax.random.key(key), (seeds, k, k)) / jnp.sqrt(k)
    flows = lf.gradient_flow_ensemble(lf.Risk(population_risk, starts[0], data=V), starts)
    verdicts = np.asarray(flows.verdict)
    risks = np.asarray(flows.risk)[verdicts == lf.Verdict.CONVERGED]
    spurious = risks[risks > _GLOBAL]
    found: dict[str, Any] = {
        "verdicts": {lf.Verdict(v).name: n for v, n in sorted(Counter(verdicts.tolist()).items())},
        "converged": len(risks),
        "spurious": len(spurious),
        "risks": sorted(set(np.round(spurious, 5).tolist())),
    }
    if len(risks):
        interval = binomtest(len(spurious), len(risks)).proportion_ci(method="wilson")
        found |= {"share": len(spurious) / len(risks), "low": float(interval.low), "high": float(interval.high)}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line per k."""
    parser = argparse.ArgumentParser(description="Share of spurious minima of two-layer ReLU networks, by width.")
    parser.add_argument("--k", type=int, nargs="+", default=[6], help="units, of network and target")
    parser.add_argument("--seeds", type=int, default=64, help="random starts for each k")
    given = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    for k in given.k:
        found = share_of_spurious_minima(k, given.seeds)
        verdicts = ", ".join(f"{count} {name}" for name, count in found["verdicts"].items())
        line = f"k = {k}: {verdicts}"
        if found["converged"]:
            share = f"{found['share']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
            line += f"; spurious {found['spurious']} of {found['converged']}, {share}; risks {found['risks']}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
