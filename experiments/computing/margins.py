"""What the module "separable" computes: the largest margin of a linear classifier, and margins along trajectories.

The largest margin max_v min_i y_i <x_i, v> / |v| is 1/|v*| of the least v with y_i <x_i, v> >= 1: a least distance
problem, which non-negative least squares solve (Lawson and Hanson 1974, Solving Least Squares Problems, chapter 23).
"""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from scipy.optimize import nnls

import lcnn_flow as lf
from experiments.computing.outer import windows
from experiments.schema import Configuration

__all__ = ["largest_margin", "largest_margin_of_rows", "margins_along"]

_ROUNDING = 1e-9
"""Residual of the least squares, of a target of length 1, that is 0 up to rounding."""


def largest_margin_of_rows(rows: np.ndarray) -> float:
    """max_v min_i <r_i, v> / |v| over all v, 0 where it is not positive.

    Args:
        rows: the r_i = y_i x_i, (rows, entries).
    """
    size = float(np.linalg.norm(rows, axis=1).max(initial=0.0))
    if size == 0:
        return 0.0
    target = np.zeros(rows.shape[1] + 1)
    target[-1] = 1.0
    _, left = nnls(np.vstack([(rows / size).T, np.ones(len(rows))]), target)
    return size * left / np.sqrt(1 - left**2) if _ROUNDING < left < 1 else 0.0


def largest_margin(configuration: Configuration, risk: Any) -> dict[str, np.ndarray]:
    """Largest margin of all end-to-end filters of norm 1, and of all parameters w of a dense network over |w|^N.

    The least |w|^2 of N dense layers with one output v is N |v|^(2/N), where they are balanced and of rank one.
    """
    del configuration
    data, patches = risk.data, windows(risk)
    signed = np.asarray(data.targets).reshape(*patches.shape[:2], 1) * patches
    if data.weights is not None:
        signed = signed[np.asarray(data.weights) > 0]
    margin, depth = largest_margin_of_rows(signed.reshape(-1, patches.shape[-1])), risk.network.depth
    normalized = margin / depth ** (depth / 2) if isinstance(risk.network, lf.Dense) else np.nan
    return {"linear_margin": np.asarray(margin), "largest_normalized_margin": np.asarray(normalized)}


def margins_along(configuration: Configuration, risk: Any, start: Any, flow: Any) -> dict[str, np.ndarray]:
    """Normalised margins, and how near to a KKT point the direction is, along the trajectories of all seeds."""
    del configuration, start
    found = _margins(risk, flow.trajectory.params)
    return {
        "normalized_margin": np.asarray(found.normalized),
        "smoothed_margin": np.where(found.separated, found.smoothed, np.nan),
        "alignment": np.asarray(found.alignment),
    }


@eqx.filter_jit
def _margins(risk: Any, params: Any) -> lf.theory.Margin:
    return jax.vmap(jax.vmap(lambda w: lf.theory.margin(risk, w)))(params)
