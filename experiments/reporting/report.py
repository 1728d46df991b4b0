"""figures/, summary.csv and the self-contained report.html of a run, from its stored results alone."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import xarray as xr
from markupsafe import Markup

from experiments.census_answer import answer_with_census
from experiments.claims import Claim, agreement, risk_decreases, unchecked
from experiments.errors import UserError
from experiments.figures import render
from experiments.modules import Module
from experiments.modules.finding import find_module
from experiments.reporting.census_table import census_table, landscape_table
from experiments.reporting.drawings import drawings
from experiments.reporting.explorer import explorer
from experiments.reporting.summary import summary_csv
from experiments.reporting.tables import Table, hypotheses_table, limit_table, orbit_table, rate_table, verdict_table
from experiments.results.census import is_complete, with_census
from experiments.results.layout import noun_of
from experiments.results.manifest import manifest_of
from experiments.results.opening import open_results
from experiments.results.slabs import read, slabs
from experiments.results.variables import NOT_COMPUTED
from experiments.running.store import RunDirectory

__all__ = ["Report", "claims_of", "write_report"]

_MOST_IN_MEMORY = 2**28
"""Bytes of results; of larger ones, a variable at a time is."""
_MOST_AT_ONCE = 2**21
"""Numbers of a variable that are read at once to see that they are whole."""
_MOST_ROWS_OPEN = 12
"""Rows of a table that is shown without being asked for."""
_NEUTRAL = (
    *("ffffff", "000000", "222222", "333333", "555555", "777777", "999999"),
    *("c8c8c8", "cccccc", "d4d4d4", "dddddd", "e6e6e6", "f1f1f1"),
)
"""Greys of figures, which take other values in the dark."""
_COLOURS = ("0072b2", "d55e00", "009e73", "56b4e9")
"""Colours of figures that are lighter in the dark, as in the charts: text needs a contrast of 4.5, marks of 3."""
_MARKS = {"agrees": "✓", "disagrees": "✗", "undecided": "?", "open": "○"}


class Report(NamedTuple):
    """The path of a report, its claims and its answer."""

    path: Path
    claims: list[Claim]
    answer: str


def write_report(path: str | Path) -> Report:
    """Rebuilds figures, summary and report of a run directory.

    Raises:
        UserError: not a run directory, or a damaged one.
    """
    dataset = open_results(path, _MOST_IN_MEMORY)
    if dataset.nbytes > _MOST_IN_MEMORY:
        _read_through(dataset)
    module = _module(dataset)
    directory = RunDirectory(Path(path))
    try:
        return _write(directory, dataset, module)
    except OSError as error:
        raise UserError(f"{path}: the report cannot be written ({error.strerror})") from error


def claims_of(dataset: xr.Dataset) -> list[Claim]:
    """Claims of the module that made the results, judged on them."""
    return [claim for check in _module(dataset).claims if (claim := check(dataset)) is not None]


def _read_through(dataset: xr.Dataset) -> None:
    """Reads everything once, part by part, so that damage is found before anything is drawn.

    Raises:
        UserError: the store is damaged somewhere.
    """
    for name in dataset.data_vars:
        variable = dataset[name]
        for part in slabs(variable.shape, _MOST_AT_ONCE):
            read(variable, dict(zip(map(str, variable.dims), part, strict=True)))


def _module(dataset: xr.Dataset) -> Module:
    name = dataset.attrs["module"]
    try:
        return find_module(name)
    except UserError as error:
        raise UserError(f"results of an unknown module: {error}") from error


def _write(directory: RunDirectory, dataset: xr.Dataset, module: Module) -> Report:
    figures = []
    for drawing in drawings(dataset, module):
        files = render(drawing)
        for name, content in files.items():
            directory.write(f"figures/{name}", content)
        svg = _inline(files[f"{drawing.name}.svg"].decode(), drawing.name)
        figures.append({"name": drawing.name, "title": drawing.title, "caption": drawing.caption, "svg": svg})
    claims = claims_of(dataset)
    answer, (tone, tally) = answer_with_census(module, dataset), _tally(dataset, module, claims)
    tables = _tables(dataset)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("experiments.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["whole"] = _whole
    html = environment.get_template("report.html.j2").render(
        title=dataset.attrs["title"],
        question=dataset.attrs["question"] or module.question,
        theory=module.theory,
        tone=tone,
        answer=answer,
        tally=tally,
        claims=claims,
        marks=_MARKS,
        contents=_contents(figures, tables),
        tables=tables,
        most_rows=_MOST_ROWS_OPEN,
        figures=figures,
        explorer=explorer(dataset),
        provenance=_provenance(dataset),
        configuration=dataset.attrs["configuration"],
    )
    directory.write("summary.csv", summary_csv(dataset))
    return Report(directory.write("report.html", html), claims, answer)


def _tables(dataset: xr.Dataset) -> list[tuple[str, str, Table]]:
    """Headings, anchors and tables of the report, in their order."""
    counted = with_census(dataset)
    all_known = bool(counted) and all(is_complete(cell) for _, cell in counted)
    tables = {
        "Critical points over data": landscape_table(dataset),
        "Critical points": census_table(dataset),
        "Distinct limits": None if all_known else orbit_table(dataset),
        "Verdicts": verdict_table(dataset),
        "Hypotheses": hypotheses_table(dataset),
        "Limits": limit_table(dataset),
        "Rates of convergence": rate_table(dataset),
    }
    return [
        (heading, heading.lower().replace(" ", "-"), table) for heading, table in tables.items() if table is not None
    ]


def _contents(figures: list[dict[str, Any]], tables: list[tuple[str, str, Table]]) -> list[tuple[str, str]]:
    """Anchors and words of the table of contents."""
    found = [("claims", "Claims")]
    found += [(figure["name"], figure["title"]) for figure in figures[1:]]
    found += [(anchor, heading) for heading, anchor, _ in tables]
    return [*found, ("provenance", "How these results were made")]


def _whole(text: str) -> str:
    """Prevents browsers from breaking lines inside numbers such as 1e-07."""
    return re.sub(r"e-(\d)", "e\u2011\\1", text)


def _inline(svg: str, name: str) -> Markup:
    """An SVG for inclusion in a page: without prologue, and with identifiers that no other figure has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(f"#({'|'.join(_NEUTRAL + _COLOURS)})\\b", r"var(--\1,#\1)", svg)  # which the page sets in the dark
    svg = re.sub(r'\b(id|aria-labelledby|aria-describedby)="([^"]+)"', rf'\1="{name}-\2"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r'xlink:href="#([^"]+)"', rf'xlink:href="#{name}-\1"', svg)
    return Markup(svg)


def _tally(dataset: xr.Dataset, module: Module, claims: list[Claim]) -> tuple[str, str]:
    """The colour of the answer, and sentences about the claims and about missing flows."""
    count = {word: sum(claim.conclusion == word for claim in claims) for word in _MARKS}
    missing = int((dataset["verdict"] == NOT_COMPUTED).sum())
    text = agreement(claims)
    for word, one, many in (("disagrees", "disagrees", "disagree"), ("undecided", "is undecided", "are undecided")):
        if count[word]:
            names = "; ".join(claim.statement for claim in claims if claim.conclusion == word)
            text += f", {count[word]} {one if count[word] == 1 else many} ({names})"
    if count["open"]:
        stand = "observations stand" if count["open"] > 1 else "observation stands"
        text += f"; where the theory is silent, {count['open']} {stand} below as open"
    if risk_decreases in module.claims and (left := unchecked(dataset)):
        text += f". Only trajectories show, and none were stored (set flow.times): {'; '.join(left)}"
    text += f". {missing} {noun_of(dataset)}s were not computed: this run is incomplete." if missing else "."
    return ("bad" if count["disagrees"] else "open" if count["undecided"] or missing else "good"), text


def _provenance(dataset: xr.Dataset) -> list[tuple[str, str]]:
    manifest = manifest_of(dataset)
    device, git = manifest.get("device", {}), manifest.get("git")
    rows = [
        ("Command", manifest.get("command", "unknown")),
        ("Started", manifest.get("started", "unknown")),
        ("Wall time with compilation", f"{manifest.get('wall_time_s', 'unknown')} s"),
        ("Compiled programs", str(len(manifest.get("compile_groups", [])))),
        (
            "Device",
            f"{device.get('kind', 'unknown')} ({device.get('platform', '')}), {device.get('host', '')}",
        ),
        ("Precision", "float64" if manifest.get("precision", {}).get("x64") else "float32"),
        ("Versions", ", ".join(f"{k} {v}" for k, v in manifest.get("versions", {}).items())),
        ("Configuration SHA-256", manifest.get("configuration_sha256", "unknown")),
    ]
    if git:
        rows.append(("Source revision", git["revision"] + (" with uncommitted changes" if git["dirty"] else "")))
    return rows
