"""Reports that the gallery of the documentation shows: runs of shipped configurations, made once and then kept."""

import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["write_reports"]

_RUNS = {"quickstart": "default", "spurious_minima": "small"}
"""Scale of each shipped configuration."""


def write_reports(runs: Path, shown: Path) -> None:
    """Runs what has not run yet, and copies the pages that a browser needs.

    Args:
        runs: folder of the run directories; remove it to have them computed again.
        shown: folder of the copies, which Sphinx adds to the site.

    Raises:
        subprocess.CalledProcessError: a run failed.
    """
    for name, scale in _RUNS.items():
        if not (runs / name / "report.html").exists():
            shutil.rmtree(runs / name, ignore_errors=True)
            _experiments("run", name, "--scale", scale, "--out", str(runs / name))
    _experiments("gallery", str(runs))
    for page in (runs / "index.html", *(runs / name / "report.html" for name in _RUNS)):
        copy = shown / page.relative_to(runs)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page, copy)


def _experiments(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "experiments", *words], check=True, cwd=Path(__file__).parents[1])
