"""The interactive charts of a report, as Vega-Lite specifications without data.

A script fills in data, size, colours and scales, and sets the parameters that all charts share: `shown`, the series
that are drawn, `place`, the position of the sliders, and `focus`, the flow under the pointer.
"""

from typing import Any

import altair as alt

__all__ = ["charts"]

_HEIGHT = 300
_CURVES = {"risk": "risk L(t) / L(0)", "gradient": "gradient norm, relative to its start"}


def charts(axes: list[dict[str, Any]], time: str | None) -> dict[str, dict[str, Any]]:
    """Specifications by name: `risk` and `gradient` against time where there are trajectories, and the `limits`.

    Args:
        axes: name, labels and colours of the axes of the sweep; the first makes the series.
        time: what the time of trajectories is called; None where there are none.
    """
    found = {name: _course(name, label, time, axes) for name, label in _CURVES.items()} if time else {}
    found["limits"] = _limits(axes)
    return {name: chart.to_dict(validate=True) for name, chart in found.items()}


def _series(axes: list[dict[str, Any]]) -> dict[str, Any]:
    """Colours of the series, those of the page's `category`, without a legend: the boxes above the charts are one."""
    count = len(axes[0]["labels"]) if axes else 1
    colour = alt.Color("series:N", legend=None, scale=alt.Scale(domain=list(range(count))))
    return {"color": colour}


def _shared() -> list[alt.Parameter]:
    """Parameters that the script sets in all charts."""
    return [alt.param(name="shown", value=[0]), alt.param(name="place", value=0), alt.param(name="focus", value=-1)]


def _shown(chart: Any) -> Any:
    """A chart of what the boxes and the sliders choose."""
    return chart.transform_filter("indexof(shown, datum.series) >= 0 && datum.place == place")


def _zoom() -> alt.Parameter:
    """Moving by the mouse, zooming by its wheel with the shift key: without it, and by touch, the page scrolls."""
    drag = "[pointerdown[event.pointerType == 'mouse'], window:pointerup] > window:pointermove!"
    return alt.selection_interval(name="zoom", bind="scales", translate=drag, zoom="wheel![event.shiftKey]")


def _axis() -> alt.Axis:
    """An axis whose labels stand apart."""
    return alt.Axis(labelOverlap="parity", labelSeparation=5)


def _layers(drawn: Any, focus: Any, description: str) -> Any:
    """Marks, and those of the flow in focus above them."""
    drawn, focus = _shown(drawn).properties(name="drawn"), focus.properties(name="focus")
    layers = alt.layer(drawn.add_params(_zoom()), focus).add_params(*_shared())
    return layers.properties(width="container", height=_HEIGHT, description=description)


def _course(field: str, label: str, time: str, axes: list[dict[str, Any]]) -> Any:
    """One line per flow against time."""
    x = alt.X("time:Q", title=time, scale=alt.Scale(type="log"), axis=_axis())
    y = alt.Y(f"{field}:Q", title=label, scale=alt.Scale(type="log"), axis=_axis())
    base = alt.Chart(alt.NamedData("points")).encode(x=x, y=y, detail="flow:N", **_series(axes))
    focus = base.transform_filter("datum.flow == focus").mark_line(strokeWidth=3.5, clip=True)
    lines = base.mark_line(strokeWidth=1, opacity=0.4, clip=True)
    return _layers(lines, focus, f"{label} of every run against {time}, both axes logarithmic")


def _limits(axes: list[dict[str, Any]]) -> Any:
    """One mark per flow, on axes that the script chooses."""
    scale, number = alt.Scale(type="linear"), _axis()
    x, y = alt.X("value:Q", scale=scale, axis=number), alt.Y("value:Q", scale=scale, axis=number)
    shape = alt.Shape("kind:N", legend=alt.Legend(orient="bottom", title="kind of the limit"))
    base = alt.Chart(alt.NamedData("flows")).encode(x=x, y=y, **_series(axes))
    focus = base.transform_filter("datum.flow == focus").mark_point(size=260, strokeWidth=3, clip=True)
    marks = base.mark_point(size=55, filled=True, opacity=0.6, clip=True).encode(shape=shape)
    return _layers(marks, focus, "one mark per flow, on the two axes chosen above the chart")
