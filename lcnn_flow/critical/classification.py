"""Classification of a critical point: its index across the symmetries, and its risk compared with the optimum.

The optimum is taken over all end-to-end filters. Orbits under rescaling make the Hessian singular along xi_l = (...,
w_l, -w_{l+1}, ...), so eigenvalues are counted on the complement of these directions. Derivatives are evaluated at the
given point, with one exception: if Newton's method on the invariant leaf converges from there to a regular critical
point, then index, nullity and spectrum are evaluated at that critical point, without the error of the given one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from lcnn_flow.critical.common_roots import common_root_gap
from lcnn_flow.critical.optimum import least_filter_risk
from lcnn_flow.errors import ArchitectureError
from lcnn_flow.limits.curvature import curvature, spectrum
from lcnn_flow.limits.judgement import attracts_along_manifold
from lcnn_flow.limits.kinks import is_clear_of_kinks
from lcnn_flow.limits.newton import polish
from lcnn_flow.limits.saturation import is_clear_of_saturation
from lcnn_flow.network.architecture import refuse_flows
from lcnn_flow.numerics.compiling import quick_to_compile
from lcnn_flow.numerics.lapack import singular_values
from lcnn_flow.risk.base import RiskLike, check_single
from lcnn_flow.risk.function import as_risk
from lcnn_flow.risk.linear import LinearRisk

__all__ = ["CriticalPoint", "Kind", "classify"]


_BLOCK = 256
"""Number of points whose Hessians are in memory at once."""
_EVALUATIONS = 20
"""Assumed number of evaluations of the Hessian per point, each as costly as a step of a flow."""
_NEAR = 1e-4
"""Largest distance, in units of each layer's norm, at which a point is identified with a critical point."""


class Kind(IntEnum):
    """Kinds of points. The codes are frozen: they are stored in files."""

    MINIMUM = 0
    STRICT_SADDLE = 1
    DEGENERATE = 2
    NOT_CRITICAL = 3
    AT_KINK = 4

    @property
    def word(self) -> str:
        """ "minimum", "strict_saddle", "degenerate", "not_critical" or "at_kink"."""
        return self.name.lower()


@dataclass(frozen=True)
class CriticalPoint:
    """Result of `classify`: numbers for one point, arrays with the leading axes for a batch."""

    kind: Any
    """"minimum": positive definite across the symmetries, or a passed local Polyak-Lojasiewicz test (the nullity may
    then be positive: a manifold of minima). "strict_saddle": a negative eigenvalue. "degenerate": neither; or the
    gradient is small, but an eigenvalue is too small to decide whether a critical point is near; or hidden neurons are
    saturated, and weights without influence in this precision may have some in exact arithmetic. "not_critical": the
    gradient is too large, or Newton's method finds no critical point nearby. "at_kink": a hidden neuron switches within
    reach of Newton's method, where the Hessian does not exist."""
    risk: Any
    """L, in units of the loss."""
    gradient_norm: Any
    """|grad L|, in units of risk / filter."""
    relative_gradient: Any
    """Largest value over layers of |grad_l L| relative to its size without cancellation (`risk.layer_scales`)."""
    hessian_index: Any
    """Number of negative Hessian eigenvalues."""
    nullity: Any
    """Number of zero Hessian eigenvalues across the symmetries."""
    hessian_eigenvalues: Any
    """Hessian spectrum across the symmetry directions, ascending, in units of risk / filter^2; padded with NaN in
    batches where fewer directions count."""
    jacobian_rank: Any
    """Rank of dv/dw; if it is k_v (surjective), a critical point of a convex loss is a global minimum. -1 if the risk
    is not that of a linear network."""
    common_root_gap: Any
    """Distance from a common root of two layers, 0 to 1; NaN in two dimensions, with channels, for a single layer, and
    if the risk is not that of a linear network."""
    optimality_gap: Any
    """L minus the minimum over all end-to-end filters, attainable or not; exact up to rounding of L. NaN if the loss is
    not known to be convex or the risk is not that of a linear network. 0 means a global minimum; a positive value means
    nothing by itself."""

    def __repr__(self) -> str:
        if np.ndim(self.risk):
            names, counts = np.unique(self.kind, return_counts=True)
            return "CriticalPoint(" + ", ".join(f"{n} {name}" for name, n in zip(names, counts, strict=True)) + ")"
        words = f"CriticalPoint({self.kind}: risk {self.risk:.6g}, index {self.hessian_index}, nullity {self.nullity}"
        if self.jacobian_rank < 0:
            return words + ")"
        return (
            f"{words}, rank dv/dw {self.jacobian_rank}, common-root gap {self.common_root_gap:.2g}, "
            f"gap to the optimum over all filters {self.optimality_gap:.3g})"
        )


def classify(risk: RiskLike | Callable[..., Any], params: PyTree) -> CriticalPoint:
    """Classifies the point `params`, or a batch of points with leading axes; not for use under jit.

    All thresholds are relative, so that units of data and of one layer relative to another have no influence. A point
    counts as critical if in every layer the gradient is below eps^0.45 (9e-8 in float64) of its size without
    cancellation, and if Newton's method on the leaf converges within a distance of 1e-4, with the gradient at its
    rounding error in every direction (`polish`). Eigenvalues, in units of each layer's norm, then count as zero up to
    their own rounding error. If Newton's method does not converge, eigenvalues are compared with the square root of the
    relative gradient, and the point is "degenerate" or "not_critical". Singular values of dv/dw count as zero below
    eps^(1/2).

    Magnitudes should be moderate: products of the squares of filters and data should be within 1e-150 to 1e150. Points
    that are not finite are "not_critical". If filters are zero, only the remaining symmetry directions are removed. At
    w = 0 with three or more layers the Hessian vanishes, so the point is degenerate.

    For a function known only through its values, the size without cancellation is estimated from the effect of rounding
    on the gradient, and the local Polyak-Lojasiewicz test is replaced by a walk along the kernel
    (`limits.kernel_probe`).

    Args:
        risk: an `EmpiricalRisk`, a `Risk`, or a function of params; with a function, a single point is classified.
        params: parameters, with or without common leading axes.

    Returns:
        `CriticalPoint`, whose fields have the leading axes of params.

    Raises:
        ArchitectureError: shapes of params do not fit.
        RiskError: risk is a batch of risks.
    """
    objective = as_risk("classify", risk, params)
    check_single("classify", objective, "classify(risk.condition(i), ...) for each i")
    refuse_flows(params)
    layers = objective.layers(params)
    leading = objective.space.leading_axes(layers)
    if leading is None:
        given, needed = [tuple(np.shape(w)) for w in layers], objective.space.layer_shapes
        raise ArchitectureError(f"params have shapes {given}: this risk needs {needed}, with common leading axes")
    if 0 in leading:
        raise ArchitectureError(f"params have leading axes {leading}: there is no point to classify")
    flat = jnp.concatenate([jnp.reshape(w, (math.prod(leading), -1)) for w in layers], axis=1)
    measured = jax.tree.map(np.asarray, _measure(objective.without_data(), flat))
    words = np.asarray([kind.word for kind in Kind])[measured.pop("kind")]
    fields = {name: array.reshape(leading + array.shape[1:]) for name, array in measured.items()}
    if leading:
        return CriticalPoint(kind=words.reshape(leading), **fields)
    eigenvalues = fields.pop("hessian_eigenvalues")
    numbers = {name: array.item() for name, array in fields.items()}
    return CriticalPoint(kind=str(words[0]), hessian_eigenvalues=eigenvalues[np.isfinite(eigenvalues)], **numbers)


def _work_of_measuring(risk: Any, vectors: Float[Array, "b n"]) -> float:
    return len(vectors) * _EVALUATIONS * risk.step_cost


@partial(quick_to_compile, work=_work_of_measuring)
def _measure(risk: Any, vectors: Float[Array, "b n"]) -> dict[str, Array]:
    network = _filter_measures(risk) if isinstance(risk, LinearRisk) else _unknown_filter_measures

    def one(vector: Array) -> dict[str, Array]:
        gradient, scales = risk.gradient(vector), risk.layer_scales(vector)
        parts = risk.space.norms(gradient)
        relative = jnp.max(jnp.where(parts == 0, 0, parts / jnp.where(scales == 0, 1, scales)))  # NaN stays NaN
        relative = jnp.where(jnp.all(jnp.isfinite(scales)), relative, jnp.nan)
        levels = risk.symmetry.leaf_levels(vector)
        result = polish(risk, vector, levels)
        exact = result.converged & (result.relative_distance <= _NEAR)
        point, zero = jnp.where(exact, result.vector, vector), jnp.sqrt(relative)
        signature = curvature(risk, point, exact, zero)
        flat = (signature.index == 0) & (signature.nullity > 0)
        attracts, _ = attracts_along_manifold(risk, point, point, levels, None, exact, zero, result.blur, exact & flat)
        known = attracts & is_clear_of_saturation(risk, point, signature.nullity)
        degenerate = jnp.where(exact, flat & ~known, signature.nullity > 0)
        eps = jnp.finfo(relative.dtype).eps
        small = relative <= eps**0.45
        kinked = ~is_clear_of_kinks(risk, vector, jnp.linalg.norm(point - vector))
        # covers points at which all terms vanish, where the relative gradient is not small
        at_rest = exact & (result.relative_distance <= jnp.sqrt(eps))
        return {
            "kind": _kind(at_rest | (small & (exact | degenerate)), signature.index, degenerate, kinked),
            "risk": risk.value(vector),
            "gradient_norm": jnp.linalg.norm(gradient),
            "relative_gradient": relative,
            "hessian_index": signature.index,
            "nullity": signature.nullity,
            "hessian_eigenvalues": spectrum(risk, point),
            **network(vector),
        }

    if len(vectors) <= _BLOCK:
        return jax.vmap(one)(vectors)
    return jax.lax.map(one, vectors, batch_size=_BLOCK)


def _filter_measures(risk: LinearRisk) -> Any:
    """The function that computes the measures of a point that depend on its end-to-end filter."""
    form = risk.outer
    best = least_filter_risk(risk.loss, form)

    def measure(vector: Array) -> dict[str, Array]:
        return {
            "jacobian_rank": _jacobian_rank(risk, vector),
            "common_root_gap": common_root_gap(risk.arch, vector),
            "optimality_gap": best.gap(form, risk.image(vector)),
        }

    return measure


def _unknown_filter_measures(vector: Array) -> dict[str, Array]:
    unknown = jnp.full((), jnp.nan, vector.dtype)
    return {
        "jacobian_rank": jnp.full((), -1, jnp.int32),
        "common_root_gap": unknown,
        "optimality_gap": unknown,
    }


def _jacobian_rank(risk: LinearRisk, vector: Array) -> Int[Array, ""]:
    """Rank of dv/dw, in units of each layer's norm."""
    jacobian = risk.image_jacobian(vector) * risk.units(vector)[None, :]
    values = singular_values(jacobian)
    return jnp.sum(values > jnp.sqrt(jnp.finfo(vector.dtype).eps) * jnp.max(values)).astype(jnp.int32)


def _kind(critical: Array, index: Array, degenerate: Array, kinked: Array) -> Int[Array, ""]:
    kind = jnp.where(degenerate, Kind.DEGENERATE, jnp.where(index > 0, Kind.STRICT_SADDLE, Kind.MINIMUM))
    kind = jnp.where(critical, kind, Kind.NOT_CRITICAL)
    return jnp.where(kinked, Kind.AT_KINK, kind).astype(jnp.int32)
