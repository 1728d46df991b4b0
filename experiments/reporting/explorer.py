"""Interactive charts of a report: their data, thinned to the resolution of the eye, and their script.

Nothing is loaded from elsewhere: the JavaScript of Vega is part of the page. Readers without scripts, and printers,
have the figures.
"""

import importlib.resources
import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from markupsafe import Markup

import lcnn_flow as lf
from experiments.figures import relative_error
from experiments.figures.series import evenly_spaced
from experiments.figures.style import pretty, time_label
from experiments.reporting.charts import charts
from experiments.reporting.thinning import kept
from experiments.reporting.vega import vega_bundle
from experiments.results.layout import noun_of, sweep_axes
from experiments.results.variables import KINDS, NOT_COMPUTED, VERDICTS

__all__ = ["Explorer", "explorer", "page_data"]

_MOST_CELLS = 64
_MOST_FLOWS = 600
"""Flows that are drawn, evenly spaced ones of every cell."""
_TOLERANCE = 0.002
"""Part of the height of a chart by which a thinned curve may be off."""
_LEAST = 1e-18
"""Relative risks and gradients below this are rounding."""
_QUANTITIES = {
    "filter_error": "relative error of the end-to-end filter",
    "limit_risk": "risk at the limit (units of the loss)",
    "optimality_gap": "risk above the least over all filters (units of the loss)",
    "final_path_length": "path length (units of filters)",
    "smallest_curvature": "smallest curvature at the limit (risk / filter²)",
    "common_root_gap": "distance from a common root of two layers",
    "final_time": "time at the end (flow time)",
    "steps": "integration steps",
    "lojasiewicz_exponent": "Łojasiewicz exponent",
}


class Explorer(NamedTuple):
    """The parts of the interactive charts that the template of a report inserts into the page."""

    data: Markup
    """JSON."""
    library: Markup
    """The JavaScript of Vega, Vega-Lite and Vega-Embed."""
    script: Markup
    axes: list[dict[str, Any]]
    """Name, labels and colours of every axis of the sweep; the first makes the series."""
    opening: list[int]
    """Positions of the sliders, one per axis but the first, when the page is opened."""
    quantities: dict[str, str]
    """Numbers per flow that the chart of the limits can show, and the words on them."""
    up: str
    across: str
    """The two that it shows first."""
    curves: bool
    """Whether there are trajectories."""
    note: str


def explorer(dataset: xr.Dataset) -> Explorer | None:
    """Charts of the flows of a run; None if no flow was computed."""
    data = page_data(dataset)
    if data is None:
        return None
    specs = charts(data["axes"], time_label(dataset).replace("$", "") if "points" in data else None)
    text = json.dumps(data | {"charts": specs}, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    script = (importlib.resources.files("experiments.reporting") / "templates" / "explore.js").read_text()
    shown, total = len(data["flows"]["seed"]), int((dataset["verdict"] != NOT_COMPUTED).sum())
    note = (
        ""
        if shown == total
        else f"{shown} of {total} {noun_of(dataset)}s are drawn, evenly spaced ones; all are in the tables."
    )
    quantities = data["quantities"]
    return Explorer(
        data=Markup(text.replace("<", "\\u003c")),
        library=vega_bundle(),
        script=Markup(script),
        axes=data["axes"],
        opening=_opening(data),
        quantities=quantities,
        up=_first_shown(data),
        across="final_path_length" if "final_path_length" in quantities else list(quantities)[-1],
        curves="points" in data,
        note=note,
    )


def _opening(data: dict[str, Any]) -> list[int]:
    """The place with the most different verdicts and kinds of limits; of equals, the one nearest to the middle."""
    sizes = [len(axis["labels"]) for axis in data["axes"][1:]]
    ends: dict[int, set[tuple[str, str]]] = {}
    for place, *end in zip(*(data["flows"][name] for name in ("place", "verdict", "kind")), strict=True):
        ends.setdefault(place, set()).add(tuple(end))

    def rank(place: int) -> tuple[int, float]:
        off = [abs(at - (size - 1) / 2) / size for at, size in zip(np.unravel_index(place, sizes), sizes, strict=True)]
        return -len(ends[place]), float(sum(off))

    return [int(at) for at in np.unravel_index(min(ends, key=rank), sizes)] if sizes else []


def _first_shown(data: dict[str, Any]) -> str:
    """The first quantity among those that are known in the most series: not all networks have end-to-end filters."""

    def series(name: str) -> int:
        pairs = zip(data["flows"]["series"], data["flows"][name], strict=True)
        return len({number for number, value in pairs if value is not None})

    return max(data["quantities"], key=series)


def page_data(dataset: xr.Dataset) -> dict[str, Any] | None:
    """Columns of the flows, and of the points of their curves, as plain lists; None where no flow was computed.

    Returns:
        `axes`; `flows`: `series` and `place`, the index along the first axis and along all others together, `seed`,
        `verdict`, `kind` and numbers; `quantities`: the words on these; `points`, with trajectories: `flow`, the row in
        `flows`, `time`, `risk` and `gradient`, relative to those at the start.
    """
    chosen = evenly_spaced(dataset, _MOST_CELLS)
    axes = sweep_axes(chosen)
    count = int(np.prod([chosen.sizes[axis] for axis in axes]))
    seeds = chosen.sizes["seed"]
    chosen = chosen.isel(
        seed=sorted({round(i) for i in np.linspace(0, seeds - 1, min(seeds, max(1, _MOST_FLOWS // count)))})
    )
    verdict = chosen["verdict"].transpose(*axes, "seed").values
    computed = np.flatnonzero(verdict.reshape(-1) != NOT_COMPUTED)
    if not computed.size:
        return None
    cell, seed = np.divmod(computed, chosen.sizes["seed"])
    series, place = np.divmod(cell, count // chosen.sizes[axes[0]]) if axes else (0 * cell, 0 * cell)
    words = {"verdict": VERDICTS, "kind": {NOT_COMPUTED: "no limit"} | KINDS}
    flows: dict[str, list[Any]] = {"series": series.tolist(), "place": place.tolist()}
    flows["seed"] = chosen["seed"].values[seed].tolist()
    for name, meaning in words.items():
        codes = chosen[name].transpose(*axes, "seed").values.reshape(-1)[computed]
        flows[name] = [meaning[int(code)] for code in codes]
    quantities = {}
    for name, label in _QUANTITIES.items():
        values = _quantity(chosen, name, axes)
        if values is not None and np.isfinite(values[computed]).any():
            flows[name], quantities[name] = _short(values[computed]), label
    data: dict[str, Any] = {"axes": [_axis(chosen, axis) for axis in axes], "flows": flows, "quantities": quantities}
    if "time" in chosen.dims:
        data["points"] = _points(chosen, axes, computed)
    return data


def _quantity(dataset: xr.Dataset, name: str, axes: list[str]) -> np.ndarray | None:
    """A quantity with one number per flow, (flows,); None if the results do not contain it."""
    if name == "filter_error":
        values = relative_error(dataset) if "true_filter" in dataset else None
    else:
        values = dataset.get(name)
    return None if values is None else values.transpose(*axes, "seed").values.reshape(-1).astype(float)


def _points(dataset: xr.Dataset, axes: list[str], computed: np.ndarray) -> dict[str, list[Any]]:
    """Points of the curves of the flows `computed`."""
    times = dataset["time"].values
    after = times > 0
    curves = {}
    for field, name in {"risk": "risk", "gradient": "gradient_norm"}.items():
        values = dataset[name].transpose(*axes, "seed", "time").values.reshape(-1, times.size)[computed]
        with np.errstate(all="ignore"):
            relative = values[:, after] / values[:, :1]
        curves[field] = np.where(np.isfinite(relative), np.maximum(relative, _LEAST), np.nan)
    x = np.log(times[after])
    frames = [(scale(values), field) for field, values in curves.items() for scale in (np.log, np.asarray)]
    steps = [
        _TOLERANCE * (np.nanmax(frame) - np.nanmin(frame) if np.isfinite(frame).any() else 1) for frame, _ in frames
    ]
    columns: dict[str, list[Any]] = {"flow": [], "time": [], "risk": [], "gradient": []}
    for flow in range(len(computed)):
        found = [kept(x, frame[flow], step) for (frame, _), step in zip(frames, steps, strict=True)]
        chosen = np.unique(np.concatenate(found))
        columns["flow"] += [flow] * len(chosen)
        columns["time"] += _short(times[after][chosen])
        for field, values in curves.items():
            columns[field] += _short(values[flow, chosen])
    return columns


def _axis(dataset: xr.Dataset, axis: str) -> dict[str, Any]:
    """Name, labels and, for the first axis, looks of the values."""
    count = dataset.sizes[axis]
    labels = [_plain(pretty(value)) for value in dataset[axis].values.tolist()]
    return {"name": _plain(pretty(axis)), "labels": labels, "colours": [lf.plot.look(i).colour for i in range(count)]}


def _plain(label: str) -> str:
    """A label without the markup of formulas."""
    return re.sub(r"\$\\ell_\{(.*?)\}\$", r"ℓ_\1", label)


def _short(values: Iterable[float]) -> list[float | None]:
    """Numbers with four digits; None for numbers that are not finite."""
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values]
