"""Analysis of the flows of a cell: kinds of limits, certificates, orbits, rates, bounds."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import lcnn_flow as lf
from experiments.computing.certification import Certifier, fill_in, no_certificates
from experiments.networks import layers_of
from experiments.results.variables import NOT_COMPUTED, WITH_LIMIT
from lcnn_flow.numerics.compiling import runs_once

__all__ = ["analyse"]

_CODES = {kind.word: int(kind) for kind in lf.critical.Kind}


def analyse(
    risk: lf.EmpiricalRisk,
    start: Any,
    flow: Any,
    certifier: Certifier,
    proofs: int | None,
    on_progress: Callable[[str], None],
) -> dict[str, np.ndarray]:
    """Flat arrays with leading axis seed, which `meanings.LIMIT` describes; some only for linear networks.

    Args:
        risk: what was minimised.
        start: initial filters of all seeds.
        flow: result of `lcnn_flow.gradient_flow_ensemble` or `gradient_descent_ensemble`.
        certifier: computes certificates, which are filled into the arrays later.
        proofs: number of limits for which certificates are computed; None if none are stored for any seed of the cell.
        on_progress: called with a text that says what is being computed.
    """
    has_limit = np.isin(flow.verdict, WITH_LIMIT)
    on_progress("kinds of limits")
    point = lf.classify(risk, jax.tree.map(lambda w: np.where(np.isfinite(w), w, 1.0), flow.limit))
    stored = _limit_arrays(point, has_limit, risk.network.is_linear)
    if risk.network.is_linear:
        stored["orbit"] = _orbits(risk, flow, has_limit & (point.nullity == 0))
    if proofs is not None:
        proved, chosen = no_certificates(len(has_limit)), np.flatnonzero(has_limit)[:proofs]
        if len(chosen):
            limits = [w[chosen] for w in layers_of(flow.limit)]
            certifier.prove(risk, limits, lambda found: fill_in(proved, found, chosen), on_progress)
        stored |= proved
    bounded = not isinstance(risk.loss, lf.losses.MarginLoss)  # margin losses do not bound the filters
    if risk.network.is_linear and risk.arch.channels is None and hasattr(flow, "path_length") and bounded:
        stored["norm_bound"] = np.asarray(_norm_bounds(risk, start))  # the bound uses what flows conserve
    if flow.trajectory is not None and hasattr(flow, "path_length"):
        on_progress("rates of convergence")
        fit = lf.theory.lojasiewicz_exponent(flow.trajectory)
        stored["lojasiewicz_exponent"] = np.where(fit.asymptotic, fit.exponent, np.nan)
        stored["lojasiewicz_residual"] = np.asarray(fit.residual)
    return stored


def _orbits(risk: lf.EmpiricalRisk, flow: Any, isolated: np.ndarray) -> np.ndarray:
    """The number of the orbit (equal up to rescaling) of every isolated limit of a linear network, NaN for others."""
    layers = zip(layers_of(flow.limit), risk.arch.layer_shapes, strict=True)
    limits: tuple[Any, ...] = tuple(w.reshape(len(w), *shape) for w, shape in layers)
    shown: tuple[Any, ...] = tuple(np.where(isolated.reshape(-1, *[1] * (w.ndim - 1)), w, np.nan) for w in limits)
    labels = lf.critical.orbits(risk.arch, shown).labels
    return np.where(labels < 0, np.nan, labels)


def _limit_arrays(point: lf.CriticalPoint, has_limit: np.ndarray, linear: bool) -> dict[str, np.ndarray]:
    """The stored part of `lcnn_flow.classify` at the limits; -1 and NaN where there is no limit."""

    def known(values: np.ndarray) -> np.ndarray:
        return np.where(has_limit.reshape(-1, *[1] * (values.ndim - 1)), values, np.nan)

    kinds = np.asarray([_CODES[word] for word in point.kind], np.int32)
    names = ["relative_gradient", "hessian_eigenvalues"]
    names += ["jacobian_rank", "common_root_gap", "optimality_gap"] if linear else []
    return {
        "kind": np.where(has_limit, kinds, NOT_COMPUTED).astype(np.int32),
        "limit_risk": known(point.risk),
        **{name: known(getattr(point, name)) for name in names},
    }


@runs_once
def _norm_bounds(risk: lf.EmpiricalRisk, start: tuple[Any, ...]) -> jax.Array:
    return jax.vmap(lambda params: lf.theory.norm_bound(risk, params))(start)
