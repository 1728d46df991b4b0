"""End-to-end filters tap by tap, beside the filter that made the targets."""

from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes

from lcnn_flow.arguments import described
from lcnn_flow.errors import PlotError
from lcnn_flow.network.architecture import Architecture, refuse_flows
from lcnn_flow.network.dense import Dense
from lcnn_flow.network.filters import end_to_end_filter
from lcnn_flow.plot.looks import INK, Look, axes_for, look, put_legend
from lcnn_flow.plot.spread import quantiles

__all__ = ["filter_marks", "filters", "network_and_leading"]


def filters(network: Any, params: Any, truth: Any = None, ax: Axes | None = None) -> Axes:
    """End-to-end filters: of a batch the medians, with bars from the 10% to the 90% quantile.

    Args:
        network: the architecture, or a risk that has one.
        params: filters of the layers, with or without leading axes, such as `flows.limit`; NaN is left out.
        truth: the filter that made the targets, drawn as grey bars, such as `data.true_filter`.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        PlotError: no linear network, or filters that do not fit it.
    """
    arch, leading = network_and_leading("lf.plot.filters", network, params)
    compose = lambda layers: end_to_end_filter(arch, layers)  # noqa: E731
    for _ in leading:
        compose = jax.vmap(compose)
    values = np.asarray(compose(tuple(map(np.asarray, params))))
    values = values.reshape(int(np.prod(leading)), -1)
    ax = axes_for("lf.plot.filters", ax)
    if truth is not None:
        wanted = np.asarray(truth).reshape(-1)
        if wanted.size != values.shape[1]:
            raise PlotError(f"truth has {wanted.size} taps, and the end-to-end filters have {values.shape[1]}")
        ax.bar(np.arange(wanted.size), wanted, width=0.75, color="#d4d4d4", label="true filter")
    filter_marks(ax, values, look(0), "learned" if len(values) == 1 else "learned: median, 10% to 90%")
    ax.axhline(0, color="#555555", linewidth=0.8)
    ax.set(xlabel="tap", ylabel="end-to-end filter $v$ (target / input)")
    put_legend(ax)
    return ax


def network_and_leading(function: str, network: Any, params: Any) -> tuple[Any, tuple[int, ...]]:
    """The linear network of an architecture or a risk, and the leading axes of its filters.

    Raises:
        PlotError: no linear network, or filters that do not fit it.
    """
    refuse_flows(params)
    arch = getattr(network, "arch", network)
    if not isinstance(arch, Architecture | Dense):
        raise PlotError(f"{function}: the first argument is {described(network)}: pass a network, or a risk of one")
    if not arch.is_linear:
        raise PlotError(f"{function}: {arch!r} is not linear: it has no end-to-end filter")
    shapes = [tuple(np.shape(w)) for w in params] if isinstance(params, tuple | list) else []
    extra = len(shapes[0]) - len(arch.layer_shapes[0]) if shapes else -1
    leading = shapes[0][:extra] if extra >= 0 else ()
    if extra < 0 or shapes != [leading + own for own in arch.layer_shapes]:
        given = shapes or described(params)
        raise PlotError(f"{function}: params are {given}, and {arch!r} needs the shapes {list(arch.layer_shapes)}")
    return arch, leading


def filter_marks(
    ax: Axes, values: np.ndarray, look: Look, label: str = "", shift: float = 0, hollow: bool = False
) -> None:
    """Median and 10% to 90% quantiles of filters; arrows with their value stand for medians beyond the frame.

    Args:
        ax: where to draw. Where its vertical limits are set by hand they are the frame.
        values: (seeds, taps); NaN is left out.
        look: colour and marker.
        label: in the legend.
        shift: of the marks, in taps.
        hollow: whether the markers are white inside.
    """
    low, middle, high = quantiles(values)
    taps = np.arange(middle.size) + shift
    bottom, top = (-np.inf, np.inf) if ax.get_autoscaley_on() else ax.get_ylim()
    inside = (middle > bottom) & (middle < top)
    ax.errorbar(
        taps[inside],
        middle[inside],
        yerr=np.stack([middle - low, high - middle])[:, inside] if len(values) > 1 else None,
        fmt=look.marker,
        color=look.colour,
        markerfacecolor="white" if hollow else look.colour,
        markersize=4.5,
        elinewidth=1.2,
        capsize=2.5,
        label=label or None,
    )
    for beyond, border, marker in ((middle >= top, top, "$↑$"), (middle <= bottom, bottom, "$↓$")):
        if not beyond.any():
            continue
        place = border - 0.06 * np.sign(border) * (top - bottom)
        heights = np.full(int(beyond.sum()), place)
        ax.plot(taps[beyond], heights, linestyle="", marker=marker, color=look.colour, markersize=9)
        for tap, value in zip(taps[beyond], middle[beyond], strict=True):
            offset = (0, -7 if border > 0 else 7)
            style: dict[str, Any] = {"ha": "center", "va": "top" if border > 0 else "bottom", "color": INK}
            ax.annotate(f"{value:.3g}", (tap, place), offset, textcoords="offset points", fontsize=8, **style)
