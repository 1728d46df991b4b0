"""One page over many runs: a card per run with its picture, its answer and its claims."""

import base64
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import jinja2

from experiments.census_answer import answer_with_census
from experiments.claims import Claim, agreement
from experiments.errors import UserError
from experiments.modules.finding import find_module
from experiments.reporting.report import claims_of, write_report
from experiments.results.files import write_atomically
from experiments.results.opening import open_results

__all__ = ["write_gallery"]


class _Card(NamedTuple):
    """The contents of the card of one run."""

    name: str
    title: str
    question: str
    answer: str
    claims: list[Claim]
    picture: str
    """A data URI; empty where the report has no figure."""
    link: str


def write_gallery(directory: Path) -> tuple[Path, int, list[str]]:
    """Writes index.html beside the runs of a folder; reports that are missing are written first.

    Returns:
        The page, the number of runs in it, and why others are not.

    Raises:
        UserError: no such folder, no runs in it, or none that can be shown; the page cannot be written.
    """
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory; name the one that holds run directories, such as runs")
    runs = sorted(path for path in directory.iterdir() if (path / "results.zarr").is_dir())
    if not runs:
        raise UserError(f"{directory} holds no runs: name the directory above run directories, such as runs")
    shown, left_out = [], []
    for run in runs:
        try:
            shown.append(_card(run))
        except UserError as error:
            left_out.append(str(error))
    if not shown:
        raise UserError(f"no run in {directory} can be shown: {left_out[0]}")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("experiments.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    html = environment.get_template("gallery.html.j2").render(cards=shown, left_out=left_out, tally=_tally)
    try:
        write_atomically(directory / "index.html", html)
    except OSError as error:
        raise UserError(f"{directory / 'index.html'} cannot be written ({error.strerror})") from error
    return directory / "index.html", len(shown), left_out


def _card(run: Path) -> _Card:
    """The card of one run.

    Raises:
        UserError: its results are damaged, or its report cannot be written.
    """
    if not (run / "report.html").is_file():
        write_report(run)
    dataset = open_results(run)
    claims = claims_of(dataset)  # names an unknown module
    module = find_module(dataset.attrs["module"])
    return _Card(
        name=run.name,
        title=dataset.attrs["title"],
        question=dataset.attrs["question"] or module.question,
        answer=answer_with_census(module, dataset),
        claims=claims,
        picture=_picture(run),
        link=f"{quote(run.name)}/report.html",
    )


def _tally(claims: list[Claim]) -> str:
    """How many claims agree with the data, and how many questions are open."""
    silent = sum(claim.conclusion == "open" for claim in claims)
    return agreement(claims) + (f"; {silent} where the theory is silent" if silent else "")


def _picture(run: Path) -> str:
    """The first figure of a report."""
    first = re.search(r'<figure id="([\w-]+)"', (run / "report.html").read_text(encoding="utf-8"))
    file = run / "figures" / f"{first[1]}.png" if first else run
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}" if file.is_file() else ""
