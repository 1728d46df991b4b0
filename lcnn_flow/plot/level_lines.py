"""Level lines of the risk on a plane through parameter space, with flows and critical points."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float
from matplotlib import colormaps
from matplotlib.axes import Axes

from lcnn_flow.arguments import described
from lcnn_flow.critical.classification import Kind, classify
from lcnn_flow.errors import PlotError
from lcnn_flow.numerics.compiling import quick_to_compile
from lcnn_flow.plot.looks import INK, KIND_LOOKS, axes_for, put_legend
from lcnn_flow.risk.base import check_single
from lcnn_flow.risk.function import as_risk

__all__ = ["landscape"]

_BLOCK = 1024
"""Points of the grid whose risk is computed at once."""
_LEVELS = 20
_ON_PLANE = 1e-6
"""Distance from the plane, relative to the frame, up to which a critical point lies on it."""


class _Plane(NamedTuple):
    """w = origin + a first + b second, with orthonormal directions, all (n,)."""

    origin: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """Coordinates (..., 2) of the nearest points of the plane to (..., n)."""
        return (vectors - self.origin) @ np.stack([self.first, self.second], axis=1)

    def distance(self, vectors: np.ndarray) -> np.ndarray:
        """Euclidean distance (...) of vectors (..., n) from the plane."""
        near = self.origin + self.project(vectors) @ np.stack([self.first, self.second])
        return np.linalg.norm(vectors - near, axis=-1)


def landscape(
    risk: Any,
    through: Sequence[Any],
    directions: Sequence[Any] | None = None,
    flows: Any = None,
    points: Any = None,
    reach: float | None = None,
    size: int = 81,
    ax: Axes | None = None,
) -> Axes:
    """Level lines of the risk on a two-dimensional slice of parameter space, on axes in units of the parameters.

    Coordinates are orthonormal: the first axis runs from the first point towards the second one, or along the first
    direction. Between neighbouring lines lie equal areas of the picture. Critical points are drawn by their kind, those
    off the plane hollow at their projection; flows are projected too, so their risk is not that of the line they cross.

    Args:
        risk: an `EmpiricalRisk`, a `Risk`, or a function of params.
        through: three points that span the plane, such as two limits and a saddle; or one point, with `directions`.
        directions: two directions, each a tree like the params.
        flows: result of `gradient_flow` or of an ensemble with `times`, or of a descent; their trajectories are drawn.
        points: further critical points, with a leading axis.
        reach: half-width of the picture around the first point; by default it shows all points and flows.
        size: risks are computed on a grid of size x size.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        PlotError: points or directions that span no plane, or flows without trajectories.
        LcnnFlowError: what `classify` refuses.
    """
    through = list(through) if isinstance(through, tuple | list) else [through]
    if len(through) != (3 if directions is None else 1):
        raise PlotError(
            f"landscape: through has {len(through)} points: give three, such as (limit, other_limit, saddle), or one "
            "in a list and directions=(first, second)"
        )
    risk = as_risk("landscape", risk, through[0])
    check_single("landscape", risk, "landscape(risk.condition(i), ...)")
    plane = _plane(risk, through, directions)
    marked = np.concatenate([_vectors(risk, one) for one in [*through, *([] if points is None else [points])]])
    paths = None if flows is None else plane.project(_paths(risk, flows))
    box = _box(plane, marked, paths, reach)
    ax = axes_for("lf.plot.landscape", ax)
    _levels(ax, risk, plane, box, size)
    if paths is not None:
        for number, path in enumerate(paths):
            label = "flow, projected" if number == 0 else None
            ax.plot(path[:, 0], path[:, 1], color=INK, linewidth=1.1, alpha=max(0.3, len(paths) ** -0.5), label=label)
            ax.plot(path[:1, 0], path[:1, 1], marker=".", color=INK, linestyle="", markersize=5)
    _critical_points(ax, risk, plane, marked, box)
    ax.set(xlim=box[0], ylim=box[1], aspect="equal")
    ax.set_xlabel("first direction (units of the parameters)")
    ax.set_ylabel("second direction (units of the parameters)")
    put_legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    return ax


def _vectors(risk: Any, params: Any) -> np.ndarray:
    """Parameters of any leading axes as (points, n).

    Raises:
        PlotError: shapes that do not fit the risk.
    """
    layers = risk.layers(params)
    leading = risk.space.leading_axes(layers)
    if leading is None:
        given = [tuple(np.shape(w)) for w in layers]
        raise PlotError(f"landscape: params have shapes {given}, and {list(risk.space.layer_shapes)} are needed")
    return np.concatenate([np.asarray(w, float).reshape(math.prod(leading), -1) for w in layers], axis=1)


def _plane(risk: Any, through: Sequence[Any], directions: Sequence[Any] | None) -> _Plane:
    """The plane, with directions made orthonormal in their order."""
    origin = _vectors(risk, through[0])[0]
    if directions is None:
        steps = [_vectors(risk, one)[0] - origin for one in through[1:]]
    elif isinstance(directions, tuple | list) and len(directions) == 2:
        steps = [_vectors(risk, one)[0] for one in directions]
    else:
        raise PlotError(f"landscape: directions is {described(directions)}: give two, each a tree like the params")
    first, second = (step / (np.linalg.norm(step) or 1.0) for step in steps)
    across = second - (second @ first) * first
    if not np.isfinite(across).all() or np.linalg.norm(first) == 0 or np.linalg.norm(across) < 1e-9:
        raise PlotError("landscape: these points or directions lie on one line or are not finite: they span no plane")
    return _Plane(origin, first, across / np.linalg.norm(across))


def _paths(risk: Any, flows: Any) -> np.ndarray:
    """Trajectories (flows, T, n)."""
    trajectory = getattr(flows, "trajectory", None)
    if trajectory is None:
        raise PlotError(
            f"landscape: flows is {described(flows)} without a trajectory: write gradient_flow(..., times=...)"
        )
    steps = np.shape(trajectory.risk)[-1]
    vectors = _vectors(risk, trajectory.params)
    return vectors.reshape(-1, steps, vectors.shape[-1])


def _box(
    plane: _Plane, marked: np.ndarray, paths: np.ndarray | None, reach: float | None
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits of both axes."""
    if reach is not None:
        return (-reach, reach), (-reach, reach)
    shown = plane.project(marked)
    if paths is not None:
        shown = np.concatenate([shown, paths.reshape(-1, 2)])
    shown = shown[np.isfinite(shown).all(axis=1)]
    low, high = shown.min(axis=0), shown.max(axis=0)
    half = 0.6 * float((high - low).max()) or float(np.linalg.norm(plane.origin)) or 1.0
    middle = (low + high) / 2
    (left, bottom), (right, top) = middle - half, middle + half
    return (float(left), float(right)), (float(bottom), float(top))


def _levels(
    ax: Axes, risk: Any, plane: _Plane, box: tuple[tuple[float, float], tuple[float, float]], size: int
) -> None:
    """Level lines at quantiles of the risk on the grid."""
    a, b = (np.linspace(*limits, size) for limits in box)
    places = np.stack(np.meshgrid(a, b), axis=-1).reshape(-1, 2)
    vectors = plane.origin + places @ np.stack([plane.first, plane.second])
    dtype = jnp.result_type(float)
    values = np.asarray(_risks(risk, jnp.asarray(vectors, dtype))).reshape(size, size)
    known = values[np.isfinite(values)]
    if not known.size or known.max() == known.min():
        raise PlotError("landscape: the risk is constant or not finite on this plane: choose other points or a reach")
    levels = np.unique(np.quantile(known, np.linspace(0.01, 0.97, _LEVELS)))
    colours = colormaps["cividis"](np.linspace(0, 0.85, len(levels)))
    lines = ax.contour(a, b, values, levels=levels, colors=colours, linewidths=0.9, zorder=1)
    ax.clabel(lines, levels=levels[::4], fontsize=7, fmt=lambda level: f"{level:.3g}")


@quick_to_compile
def _risks(risk: Any, vectors: Float[Array, "b n"]) -> Float[Array, " b"]:
    """The risk at raveled parameters."""
    return lax.map(risk.value, vectors, batch_size=_BLOCK)


def _critical_points(ax: Axes, risk: Any, plane: _Plane, marked: np.ndarray, box: Any) -> None:
    """Marks by kind; hollow where the point lies off the plane."""
    dtype = jnp.result_type(float)
    layers = jax.vmap(risk.space.unravel)(jnp.asarray(marked, dtype))
    found = classify(risk, risk.space.tree(layers))
    places = plane.project(marked)
    on_plane = plane.distance(marked) <= _ON_PLANE * (box[0][1] - box[0][0])
    for kind in Kind:
        for on, words in ((True, ""), (False, ", projected")):
            here = (found.kind == kind.word) & (on_plane == on)
            if here.any():
                style = KIND_LOOKS[kind]
                ax.plot(
                    places[here, 0],
                    places[here, 1],
                    linestyle="",
                    marker=style.marker,
                    markersize=9,
                    color=style.colour,
                    markerfacecolor=style.colour if on else "white",
                    zorder=3,
                    label=kind.word.replace("_", " ") + words,
                )
