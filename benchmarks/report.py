"""RESULTS.md, the figures and results.json from a dictionary of raw numbers; nothing is measured here."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import text
from benchmarks.problems import PROBLEMS, describe
from experiments.figures.style import render

__all__ = ["markdown", "write"]


def write(results: dict[str, Any], parts: Mapping[str, ModuleType], folder: Path) -> None:
    """Writes results.json, RESULTS.md and figures/ (SVG and PNG) into `folder`."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "RESULTS.md").write_text(markdown(results, parts))
    for name, data in results["parts"].items():
        for drawing in parts[name].drawings(data):
            for file, content in render(drawing).items():
                (folder / "figures" / file).write_bytes(content)


def markdown(results: dict[str, Any], parts: Mapping[str, ModuleType]) -> str:
    """The whole of RESULTS.md."""
    sections = [parts[name].section(data) for name, data in results["parts"].items()]
    later = results.get("later", {})
    sections = [
        _with_date(section, later[name]) if name in later else section
        for name, section in zip(results["parts"], sections, strict=True)
    ]
    return "\n\n".join([_head(results["about"]), *sections]) + "\n"


def _with_date(section: str, about: dict[str, Any]) -> str:
    """A section with a first line, below its heading, that says when this part was measured."""
    heading, rest = section.split("\n", 1)
    return f"{heading}\n\nMeasured later than the other parts, on {about['date']}.{_source(about)}\n{rest}"


def _source(about: dict[str, Any]) -> str:
    """The revision that was measured, as a sentence; empty where it is not known."""
    revision = about["git"]
    changed = ", with changes" if revision and revision["dirty"] else ""
    return f" Revision {revision['revision'][:12]}{changed}." if revision else ""


def _head(about: dict[str, Any]) -> str:
    device, versions = about["device"], ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    source = _source(about)
    quick = "**A quick run: it shows that everything works, its numbers mean little.** " if about["quick"] else ""
    precision = "float64" if about["precision"]["x64"] else "float32"
    machine = f"{about['processor']}, {device['host']}, as {device['count']} {device['platform']} device(s)"
    minutes = text.number(about["seconds"] / 60)
    return "\n\n".join(
        [
            "# Benchmarks",
            f"{quick}Measured on {about['date']} in {minutes} minutes on {machine}, {precision}.{source} "
            f"Versions: {versions}.",
            "Repeat with `make bench`, or `python -m benchmarks`; `--help` explains its options. Every number and "
            "figure here is drawn from `results.json`, which that run wrote; `python -m benchmarks --draw` draws them "
            "again. Programs are compiled first, then all candidates run in turns (A B C A B C); times are medians "
            "over turns, spreads are the fastest and the slowest turn, ratios are medians of the ratio within a turn. "
            "On a shared machine, trust ratios rather than times.",
            "Problems (targets from a planted filter with 10% noise; initial filters N(0, 0.25)):",
            "\n".join(f"- {name}: {describe(name)}." for name in PROBLEMS),
        ]
    )
