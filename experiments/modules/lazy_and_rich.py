"""When does a linear network learn as its kernel at the start does, and when another filter?"""

from typing import NamedTuple

import numpy as np
import xarray as xr

from experiments.claims import Claim, balancedness_conserved, cell_by_cell, flow_converges, gradient_vanishes
from experiments.computing.kernels import lazy_filters, minimum_norm_filter
from experiments.figures import excess_risk
from experiments.figures.scaling import Line, scaling
from experiments.figures.style import Drawing
from experiments.modules.base import Module, output_channels
from experiments.modules.cells import configured_cells
from experiments.questions import QUESTIONS
from experiments.schema import Configuration
from experiments.schema.configuration import Scaled
from experiments.schema.network import Dense

__all__ = [
    "LAZY_AND_RICH",
    "large_starts_find_the_filter_of_the_kernel",
    "lazy_drift_follows_its_law",
    "rich_drift_follows_its_law",
    "small_starts_find_the_least_filter",
]

_RICH, _LAZY = 10.0, 1e-2
"""Drift above which a network is clearly rich, and below which it is clearly lazy: the next terms of the powers are
smaller by the square root of the drift."""
_POWER_TOLERANCE = 0.05
_SAME = 0.05
"""Relative distance of two filters up to which they count as the same at the ends."""


class _Point(NamedTuple):
    """Medians over the starts of one cell."""

    scale: float
    """Norm of every layer but the last, which starts at 0."""
    drift: float
    to_lazy: float
    """Distance of the limit from the filter of the kernel, relative to that filter."""
    to_least: float
    """Distance from the least filter that fits, likewise."""
    depth: int
    dense: bool


def _points(dataset: xr.Dataset) -> dict[str, list[_Point]]:
    """Cells with increasing scales of the start, by the name of the other settings that they share."""
    found: dict[str, list[_Point]] = {}
    for _, cell, configuration in configured_cells(dataset):
        norms = configuration.initializer
        assert isinstance(norms, Scaled)
        limit, least = cell["limit_filter"].values, cell["minimum_norm_filter"].values
        lazy = cell["lazy_filter"].values
        rest = configuration.model_copy(update={"initializer": None})
        point = _Point(
            norms.norms[0],
            float(np.median(cell["kernel_drift"].isel(time=-1).values)),
            _distance(limit, lazy),
            _distance(limit, least),
            configuration.network.depth,
            isinstance(configuration.network, Dense),
        )
        found.setdefault(repr(rest), []).append(point)
    return {_words(number, len(found)): sorted(points) for number, points in enumerate(found.values())}


def _distance(limit: np.ndarray, other: np.ndarray) -> float:
    """Median distance of the limits from a filter, relative to the norm of that filter; NaN without limits."""
    distance = np.linalg.norm(limit - other, axis=-1) / np.linalg.norm(other, axis=-1)
    return float(np.nanmedian(distance)) if np.isfinite(distance).any() else np.nan


def _words(number: int, total: int) -> str:
    return "" if total == 1 else f"problem {number + 1}"


def _power(points: list[_Point]) -> float:
    """Slope of log drift against log scale."""
    return float(np.polyfit(np.log([p.scale for p in points]), np.log([p.drift for p in points]), 1)[0])


def _law(dataset: xr.Dataset, lazy: bool) -> Claim | None:
    rows = []
    for name, points in _points(dataset).items():
        end = [p for p in points if (p.drift < _LAZY if lazy else p.drift > _RICH)]
        if len(end) < 2:
            continue
        depth = end[0].depth
        wanted, power = (-2 * depth if lazy else -2 * (depth - 1)), _power(end)
        near = abs(power / wanted - 1) <= _POWER_TOLERANCE
        text = f"power {power:.3f} of {len(end)} scales, expected {wanted}"
        rows.append((name or "all scales", text, "agrees" if near else "disagrees"))
    side, power = ("large", "−2N") if lazy else ("small", "−2(N − 1)")
    where = f"below {_LAZY:g}" if lazy else f"above {_RICH:g}"
    return cell_by_cell(
        f"From {side} starts the kernel drifts like the power {power} of their scale",
        f"power within {_POWER_TOLERANCE:.0%}, where the drift is {where}",
        rows,
        "problems",
    )


def lazy_drift_follows_its_law(dataset: xr.Dataset) -> Claim | None:
    """The kernel drift of large starts is proportional to the power -2N of their scale."""
    return _law(dataset, lazy=True)


def rich_drift_follows_its_law(dataset: xr.Dataset) -> Claim | None:
    """The kernel drift of small starts is proportional to the power -2(N - 1) of their scale."""
    return _law(dataset, lazy=False)


def large_starts_find_the_filter_of_the_kernel(dataset: xr.Dataset) -> Claim | None:
    """At the largest scale the limit is that of the linearised network."""
    rows = []
    for name, points in _points(dataset).items():
        last = points[-1]
        if last.drift < _LAZY:
            text = (
                f"distance {last.to_lazy:.2g} at scale {last.scale:g}; {points[0].to_lazy:.2g} at {points[0].scale:g}"
            )
            rows.append((name or "all scales", text, "agrees" if last.to_lazy <= _SAME else "disagrees"))
    return cell_by_cell(
        "From large starts the flow finds the filter of the kernel at its start",
        f"median distance from that filter at most {_SAME:.0%} of it, at the largest scale, where it is lazy",
        rows,
        "problems",
    )


def small_starts_find_the_least_filter(dataset: xr.Dataset) -> Claim | None:
    """At the smallest scale the limit of a dense network is the smallest filter that fits."""
    rows = []
    for name, points in _points(dataset).items():
        first = points[0]
        if first.dense and first.drift > _RICH:
            text = f"distance {first.to_least:.2g} at scale {first.scale:g}"
            text += f"; {points[-1].to_least:.2g} at {points[-1].scale:g}"
            rows.append((name or "all scales", text, "agrees" if first.to_least <= _SAME else "disagrees"))
    return cell_by_cell(
        "From small starts dense networks find the smallest filter that fits",
        f"median distance from that filter at most {_SAME:.0%} of it, at the smallest scale, where it is rich",
        rows,
        "problems",
    )


def _answer(dataset: xr.Dataset) -> str:
    """Drift and distances at the smallest and at the largest scale."""
    parts = []
    for name, points in _points(dataset).items():
        low, high = points[0], points[-1]
        parts.append(
            f"{f'{name}: ' if name else ''}from layers of norm {low.scale:g} the kernel changes by {low.drift:.2g} "
            f"times its size, and the filter learned is {low.to_least:.2g} from the smallest that fits and "
            f"{low.to_lazy:.2g} from that of the kernel; from norm {high.scale:g} it changes by {high.drift:.2g}, "
            f"and the filter is {high.to_least:.2g} and {high.to_lazy:.2g} from them"
        )
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else "No flow was computed."


def drift_figure(dataset: xr.Dataset) -> Drawing | None:
    """Drift of the kernel at the end against the scale of the start."""
    shown = []
    for name, points in _points(dataset).items():
        lines = []
        for label, lazy in (("rich: drift above 1", False), ("lazy: drift below 1", True)):
            part = [p for p in points if (p.drift < 1) == lazy]
            if part:
                scale, anchor = np.array([p.scale for p in part]), part[-1 if lazy else 0]
                power = -2 * anchor.depth if lazy else -2 * (anchor.depth - 1)
                expected = anchor.drift * (scale / anchor.scale) ** power
                lines.append(Line(label, scale, np.array([p.drift for p in part]), expected))
        shown.append((name, lines))
    if not shown:
        return None
    return scaling(
        "kernel_drift",
        "Drift of the kernel",
        "norm σ of the layers at the start, the last of which is 0",
        "|K(end) − K(0)| / |K(0)|",
        shown,
        "Change of the kernel K = J Jᵀ from start to end, relative to its start, medians over the starts. The theory "
        "expects the dashed powers at the ends: −2(N − 1) of small starts, −2N of large ones.",
    )


def filters_figure(dataset: xr.Dataset) -> Drawing | None:
    """Distances of the learned filter from the closed forms for small and large starts, against their scale."""
    shown = []
    for name, points in _points(dataset).items():
        scale = np.array([p.scale for p in points])
        lines = [Line("from the filter of the kernel", scale, np.array([p.to_lazy for p in points]))]
        lines.append(Line("from the smallest filter that fits", scale, np.array([p.to_least for p in points])))
        shown.append((name, lines))
    if not shown:
        return None
    return scaling(
        "filters_found",
        "Which filter is learned",
        "norm σ of the layers at the start, the last of which is 0",
        "relative distance of the limit",
        shown,
        "Distance of the end-to-end filter of the limit from the two that closed forms give, relative to them, medians "
        "over the starts. The theory expects the first to vanish at large scales, the second, of dense networks, at "
        "small ones.",
    )


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    found, start = [], configuration.initializer
    if not isinstance(start, Scaled) or len(start.norms) < 2 or start.norms[-1] != 0 or not _equal(start.norms[:-1]):
        message = (
            'write kind = "scaled" with equal norms above 0 and a last one of 0, such as norms = [1.0, 0.0]: the '
            "outputs start at 0, without which no scale is lazy"
        )
        found.append(("initializer", message))
    if configuration.loss.kind != "square":
        found.append(("loss.kind", f'found "{configuration.loss.kind}"; the closed forms are those of kind = "square"'))
    if configuration.flow.times is None:
        message = "missing; the drift is seen along trajectories alone: write times = { start, stop, count }"
        found.append(("flow.times", message))
    if output_channels(configuration) > 1:
        found.append(("network", "write one output channel, or widths that end in 1: the kernel is that of one filter"))
    return found


def _equal(norms: tuple[float, ...]) -> bool:
    return norms[0] > 0 and all(norm == norms[0] for norm in norms)


LAZY_AND_RICH = Module(
    name="lazy_and_rich",
    question=QUESTIONS["lazy_and_rich"],
    theory=(
        "Let v be the end-to-end filter, J = dv/dw and K = J Jᵀ its kernel. The flow of v is v' = −K(t) ∇ℓ(v). Let the "
        "last layer start at 0 and the others with the norm σ, so that v starts at 0. From a large start the last "
        "layer moves by no more than σ^(1−N), and the kernel changes by the power −2N of σ, relative to itself: the "
        "network is lazy, and learns as the linear model with the kernel K(0) does, a filter that depends on the draw "
        "(Chizat, Oyallon and Bach 2019; the powers derived). From a small start the kernel at the end has the size "
        "that the targets ask for, which is the power −2(N − 1) of σ times that of the start: the network is rich. "
        "Dense networks of one output then leave the span of the inputs by no more than their start, and find the "
        "smallest filter that fits. Both claims about filters ask for fewer samples than taps: otherwise all are equal."
    ),
    axes={
        "initializer.norms": "scale of the start (one compiled program)",
        "data.samples": "fewer samples leave more filters that fit (each compiles anew)",
        "network": "other depths and widths (each compiles anew)",
    },
    figures=(drift_figure, filters_figure, excess_risk),
    answer=_answer,
    claims=(
        lazy_drift_follows_its_law,
        rich_drift_follows_its_law,
        large_starts_find_the_filter_of_the_kernel,
        small_starts_find_the_least_filter,
        flow_converges,
        gradient_vanishes,
        balancedness_conserved,
    ),
    faults=_faults,
    per_cell=minimum_norm_filter,
    per_flow=lazy_filters,
    observables=("kernel_drift",),
    linear=True,
    dynamics="flow",
)
