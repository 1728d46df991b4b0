"""Flows and descents against time."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lcnn_flow.arguments import described
from lcnn_flow.errors import PlotError
from lcnn_flow.limits.verdict import Verdict
from lcnn_flow.plot.looks import TIME, VERDICT_LOOKS, Look, axes_for, look, put_legend
from lcnn_flow.plot.spread import band

__all__ = ["trajectories"]

_LABELS = {
    "risk": "risk $L$ (units of the loss)",
    "gradient_norm": r"gradient norm $\|\nabla L\|$ (risk / filter)",
    "path_length": "path length (units of filters)",
    "energy": "risk lost $L(0) - L(t)$ (units of the loss)",
    "energy_defect": "risk lost less integral of squared gradient norm",
    "squared_norms": r"squared norms $\|w_l\|^2$ (filter²)",
    "balancedness": "conserved quantities (filter²)",
}
_LOGARITHMIC = ("risk", "gradient_norm")
_MOST_LINES = 48
"""Flows of one verdict that are drawn one by one; of more, median and quantiles."""


def trajectories(flow: Any, quantity: str = "risk", ax: Axes | None = None) -> Axes:
    """A quantity along a flow, a descent, or an ensemble of either, against time on a logarithmic axis.

    A single number per flow has the colour of the flow's verdict; of more than 48 flows of a verdict the median is
    drawn, in a band from the 10% to the 90% quantile. Several numbers, such as squared norms, have a colour each. Time
    0 has no place. The risk and the gradient norm are logarithmic, and other quantities where they are positive.

    Args:
        flow: result of `gradient_flow` or `gradient_flow_ensemble` with `times`, of `gradient_descent` or its ensemble.
        quantity: a field of its trajectory, or the name of an observable in `record`.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        PlotError: no trajectory, or no such quantity in it.
    """
    values, times, verdicts = _curves(flow, quantity)
    ax = axes_for("lf.plot.trajectories", ax)
    if values.shape[-1] == 1:
        for code in np.unique(verdicts):
            here = verdicts == code
            name = f"{Verdict(code).name} ({int(here.sum())})" if len(verdicts) > 1 else Verdict(code).name
            _draw(ax, times[here], values[here, :, 0], VERDICT_LOOKS[Verdict(code)], name)
    else:
        for part in range(values.shape[-1]):
            _draw(ax, times, values[..., part], look(part), _part_name(quantity, part))
    shown = values[:, times[0] > 0]
    positive = shown[np.isfinite(shown)] > 0
    logarithmic = positive.any() if quantity in _LOGARITHMIC else positive.size > 0 and positive.all()
    counts_steps = getattr(flow, "time_unit", "") == "steps"
    ax.set(xscale="log", yscale="log" if logarithmic else "linear", xlabel="step" if counts_steps else TIME)
    ax.set_ylabel(_LABELS.get(quantity, quantity.replace("_", " ")))
    put_legend(ax)
    return ax


def _curves(flow: Any, quantity: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (flows, T, parts), times (flows, T) and verdicts (flows,)."""
    if not (hasattr(flow, "verdict") and hasattr(flow, "trajectory")):
        raise PlotError(f"trajectories needs the result of gradient_flow or gradient_descent, not {described(flow)}")
    record = flow.trajectory
    if record is None:
        raise PlotError("this flow has no trajectory: write gradient_flow(..., times=lf.log_times(1e-3, 1e6, 200))")
    own = record.record or {}
    fields = [name for name in _LABELS if hasattr(record, name)]
    if quantity not in fields and quantity not in own:
        raise PlotError(f"this trajectory has no {quantity!r}: choose one of {', '.join([*fields, *own])}")
    values = np.asarray(own[quantity] if quantity in own else getattr(record, quantity), float)
    verdicts = np.asarray(flow.verdict)
    steps = np.shape(record.time)[-1]
    times = np.broadcast_to(np.asarray(record.time, float), (*verdicts.shape, steps))
    curves = values.reshape(verdicts.size, steps, -1)
    if not curves.shape[-1]:
        raise PlotError(f"{quantity!r} is empty: this risk conserves nothing")
    return curves, times.reshape(-1, steps), verdicts.reshape(-1)


def _draw(ax: Axes, times: np.ndarray, values: np.ndarray, style: Look, label: str) -> None:
    """Curves (flows, T) of one look: each, or their median and quantiles."""
    if len(values) > _MOST_LINES and (times == times[:1]).all():
        band(ax, times[0], values, style, label)
        return
    strength = max(0.3, len(values) ** -0.5)
    for number, (time, curve) in enumerate(zip(times, values, strict=True)):
        after = time > 0
        name = label if number == 0 else None
        ax.plot(time[after], curve[after], color=style.colour, linestyle=style.line, alpha=strength, label=name)


def _part_name(quantity: str, part: int) -> str:
    """Words for one of several numbers per flow."""
    if quantity == "squared_norms":
        return f"layer {part + 1}"
    return f"{quantity.replace('_', ' ')} {part + 1}"
