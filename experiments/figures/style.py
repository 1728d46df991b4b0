"""House style of figures: their size, type and frames; colours and markers are those of `lcnn_flow.plot`."""

import contextlib
import html
import io
import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lcnn_flow.plot import TIME, Look, look

__all__ = [
    "INK",
    "TIME",
    "Drawing",
    "Look",
    "canvas",
    "columns_for",
    "grid",
    "house_style",
    "look",
    "plain_ticks",
    "pretty",
    "put_legend",
    "render",
    "time_label",
]

INK = "#010101"
"""Of words and lines on a coloured ground, which stays as it is where greys turn in the dark."""
_NAMES = {
    "pseudo_huber": "pseudo-Huber",
    "generalized_huber": "generalised Huber",
    "log_cosh": "log-cosh",
    "huber": "Huber",
    "cauchy": "Cauchy",
    "welsch": "Welsch",
    "geman_mcclure": "Geman-McClure",
    "smooth_quantile": "quantile",
}

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.edgecolor": "#555555",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.7,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "lcnn_flow",
    "savefig.facecolor": "white",
}


_INCHES_PER_CHARACTER = 0.085
"""Of the type of titles, on average."""
_MARGIN = 0.25
"""Inches beside a panel, for the tick labels."""
_LEAST_FITTED = 0.6


@dataclass(frozen=True)
class Drawing:
    """A finished figure: its file name, the figure, and a caption that says what the theory expects."""

    name: str
    title: str
    figure: Figure
    caption: str


@contextlib.contextmanager
def house_style() -> Generator[None, None, None]:
    """Draws without a display, in the house style, leaving the settings of the process as they were."""
    with matplotlib.rc_context(_SETTINGS):
        yield


def canvas(
    rows: int, columns: int, height: float, sharex: bool = False, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure of page width with `rows` x `columns` panels, each `height` inches high, in reading order."""
    figure = Figure(figsize=(7.4, rows * height), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=sharex, sharey=sharey, squeeze=False)
    return figure, list(panels.ravel())


def grid(
    count: int, height: float, xlabel: str, ylabel: str, alone: float | None = None, columns: int | None = None
) -> tuple[Figure, list[Axes]]:
    """`count` panels with common axes and labels, in rows of `height` inches; a row `alone` may have another height."""
    columns = columns or columns_for(count)
    rows = -(-count // columns)
    figure, panels = canvas(rows, columns, alone if alone and rows == 1 else height, sharex=True, sharey=True)
    for panel, above in zip(panels[count:], panels[count - columns :], strict=False):
        panel.remove()
        above.tick_params(labelbottom=True)  # now the last of its column
    if count == 1:
        panels[0].set(xlabel=xlabel, ylabel=ylabel)
    else:
        figure.supxlabel(xlabel, fontsize=9.5)
        figure.supylabel(ylabel, fontsize=9.5)
    return figure, panels[:count]


def columns_for(count: int) -> int:
    """Columns in which `count` panels fill the page without a lonely one in the last row."""
    return 2 if count == 4 else min(3, count)


def put_legend(figure: Figure, panels: Iterable[Axes], ncols: int) -> None:
    """One legend for all panels above them, with every label once."""
    handles: dict[str, Any] = {}
    for panel in panels:
        handles |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles, loc="outside upper right", ncols=ncols)


def time_label(dataset: xr.Dataset) -> str:
    """Label of the axis along which trajectories are stored: time of flows, steps of descents."""
    return "step $k$" if dataset["time"].attrs.get("long_name") == "step" else TIME


def plain_ticks(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis of a few decades: 0.2, 0.5, 1, 2, as many as fit."""
    low, high = axis.get_view_interval()
    subs = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    axis.set_major_locator(LogLocator(base=10, subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def render(drawing: Drawing) -> dict[str, bytes]:
    """The figure as files: name.svg and name.png; equal data give equal bytes."""
    files = {}
    _fit_titles(drawing.figure)
    with house_style():
        formats: dict[str, dict[str, Any]] = {"svg": {"metadata": {"Date": None}, "dpi": 200}, "png": {"dpi": 160}}
        for suffix, options in formats.items():
            buffer = io.BytesIO()
            drawing.figure.savefig(buffer, format=suffix, **options)
            files[f"{drawing.name}.{suffix}"] = buffer.getvalue()
            drawing.figure.set_layout_engine("none")  # laid out once, not once per format
    svg = f"{drawing.name}.svg"
    files[svg] = _described(files[svg].decode(), drawing).encode()
    return files


def _fit_titles(figure: Figure) -> None:
    """Breaks the titles of panels after commas, and makes all smaller, where one would run into that beside it."""
    if len(figure.axes) < 2:
        return
    titles, fitted = {}, 1.0
    for panel in figure.axes:
        place, title = panel.get_subplotspec(), panel.get_title(loc="left")
        if place is None or not title:
            continue
        width = figure.get_figwidth() / place.get_gridspec().ncols * len(place.colspan) - _MARGIN
        most = width / _INCHES_PER_CHARACTER
        lines = [line for part in title.split("\n") for line in _broken(part, most)]
        fitted = min(fitted, most / max(map(_length, lines)))
        titles[panel] = "\n".join(lines)
    for panel, title in titles.items():
        if fitted < 1 or title != panel.get_title(loc="left"):
            panel.set_title(title, loc="left", fontsize=panel.title.get_fontsize() * max(fitted, _LEAST_FITTED))


def _broken(text: str, most: float) -> Iterator[str]:
    """Lines of at most so many characters where commas outside brackets allow it."""
    line = ""
    for piece in text.split(", "):
        inside = sum(map(line.count, "([")) > sum(map(line.count, ")]"))
        longer = f"{line}, {piece}" if line else piece
        if line and not inside and _length(longer) > most:
            yield line + ","
            longer = piece
        line = longer
    yield line


def _length(text: str) -> int:
    """Characters that are seen: an index in mathematical type is one."""
    return len(re.sub(r"\$\\?(\w+)_\{(\w+)\}\$", r"l\2", text))


def _described(svg: str, drawing: Drawing) -> str:
    """An SVG that screen readers call by its title and describe by its caption."""
    words = "".join(
        f'<{tag} id="{drawing.name}-{tag}">{html.escape(text)}</{tag}>'
        for tag, text in (("title", drawing.title), ("desc", drawing.caption))
    )
    labels = f'role="img" aria-labelledby="{drawing.name}-title" aria-describedby="{drawing.name}-desc"'
    return re.sub(r"<svg ([^>]*)>", lambda tag: f"<svg {labels} {tag[1]}>{words}", svg, count=1)


def pretty(label: object) -> str:
    """Label of a series in figures: "l_4" becomes an l with an index, kinds get their usual names."""
    if isinstance(label, float):
        return f"{label:g}"
    text = str(label)
    if text.startswith("l_"):
        return rf"$\ell_{{{text[2:]}}}$"
    kind, bracket, numbers = text.partition("(")
    return _NAMES.get(kind, kind.replace("_", " ")) + bracket + numbers
