"""The largest margin of a linear classifier, and margins along trajectories, for the module "separable".

The largest margin max_v min_i y_i <x_i, v> / |v| is 1/|v*|, where v* is the vector of least norm with y_i <x_i, v> >= 1
for all i. This is a least distance problem, which is solved by non-negative least squares (Lawson and Hanson 1974,
Solving Least Squares Problems, chapter 23).
"""

from typing import Any

import jax
import numpy as np
from scipy.optimize import nnls

import lcnn_flow as lf
from experiments.computing.outer import patches_of
from experiments.computing.solved_cell import SolvedCell
from lcnn_flow.numerics.compiling import runs_once

__all__ = ["largest_margin", "largest_margin_of_rows", "margins_along"]

_ROUNDING = 1e-9
"""Residual of the least-squares problem, whose target has length 1, at which it counts as 0."""


def largest_margin_of_rows(rows: np.ndarray) -> float:
    """max_v min_i <r_i, v> / |v| over all v; 0 if it is not positive.

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


def largest_margin(cell: SolvedCell) -> dict[str, np.ndarray]:
    """Largest margin over all end-to-end filters of norm 1 and, for dense networks, over all parameters w, over |w|^N.

    The least |w|^2 of N dense layers whose single output is the linear map v is N |v|^(2/N); it is attained if the
    layers are balanced and of rank one.
    """
    risk = cell.risk
    data, patches = risk.data, patches_of(risk)
    signed = np.asarray(data.targets).reshape(*patches.shape[:2], 1) * patches
    if data.weights is not None:
        signed = signed[np.asarray(data.weights) > 0]
    margin, depth = largest_margin_of_rows(signed.reshape(-1, patches.shape[-1])), risk.network.depth
    normalized = margin / depth ** (depth / 2) if isinstance(risk.network, lf.Dense) else np.nan
    return {"linear_margin": np.asarray(margin), "largest_normalized_margin": np.asarray(normalized)}


def margins_along(cell: SolvedCell) -> dict[str, np.ndarray]:
    """Normalised margins, and the alignment of parameters and gradient, along the trajectories of all seeds."""
    found = _margins(cell.risk, cell.flows.trajectory.params)
    return {
        "normalized_margin": np.asarray(found.normalized),
        "smoothed_margin": np.where(found.separated, found.smoothed, np.nan),
        "alignment": np.asarray(found.alignment),
    }


@runs_once
def _margins(risk: Any, params: Any) -> lf.theory.Margin:
    return jax.vmap(jax.vmap(lambda w: lf.theory.margin(risk, w)))(params)
