"""Commands of `python -m experiments` that compute or read results: `cli` imports this module when one of them runs."""

import sys
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from experiments.errors import Interrupted, RunError, UserError, command
from experiments.planning.batches import Batch
from experiments.planning.loading import load
from experiments.planning.plan import Plan, plan_of
from experiments.planning.plan_text import plan_text
from experiments.planning.problems import check_problems
from experiments.reporting.gallery import write_gallery
from experiments.reporting.report import Report, write_report
from experiments.results.compare import compare
from experiments.results.export import export
from experiments.running.begun import load_run
from experiments.running.busy import Busy
from experiments.running.course import Course
from experiments.running.engines.choice import Choice
from experiments.running.execute import collect_run, run_missing
from experiments.running.progress import monitor
from experiments.running.record import begin, changes_since_begun
from experiments.running.runtime import configure
from experiments.running.store import RunDirectory

__all__ = [
    "collect",
    "compare_runs",
    "export_run",
    "gallery",
    "open_report",
    "report",
    "resume",
    "run",
    "validate",
]

Sets = Annotated[list[str] | None, Parameter(name="--set", negative="", consume_multiple=False)]
Axes = Annotated[list[str] | None, Parameter(name="--axis", negative="", consume_multiple=False)]
Zips = Annotated[list[str] | None, Parameter(name="--zip", negative="", consume_multiple=False)]
Slurm = Annotated[list[str] | None, Parameter(name="--slurm", negative="", consume_multiple=False)]
Scale = Literal["small", "default", "full"]
Switch = Annotated[bool, Parameter(negative="")]


def validate(
    config: Path,
    /,
    *,
    set_: Sets = None,
    axis: Axes = None,
    zip_: Zips = None,
    seeds: int | None = None,
    scale: Scale = "default",
    toml: Switch = False,
) -> None:
    """Check a configuration and print the plan: cells, seeds, programs, sizes, time.

    Args:
        config: a TOML file.
        set_: section.key=value, in TOML; may be repeated.
        axis: section.key=[value, ...]; may be repeated, for the product.
        zip_: section.key=[value, ...]; may be repeated: all of them vary together, as one axis.
        seeds: number of initial filters per cell.
        scale: small and full put the tables [scale.small] and [scale.full] of the file over the others.
        toml: print the resolved configuration too.
    """
    with Busy("checking the configuration"):
        plan = _plan(config, set_, axis, zip_, seeds, scale)
        text = plan_text(plan)
    print(text)
    if toml:
        print(f"\n{plan.sweep.toml()}", end="")


def run(
    config: Path,
    /,
    *,
    out: Path | None = None,
    set_: Sets = None,
    axis: Axes = None,
    zip_: Zips = None,
    seeds: int | None = None,
    scale: Scale = "default",
    engine: str = "local",
    workers: int | None = None,
    scheduler: str | None = None,
    slurm: Slurm = None,
    no_cache: Switch = False,
) -> None:
    """Run a configuration and write a run directory with results and report.

    Args:
        config: a TOML file.
        out: the run directory; runs/NAME-TIME by default.
        set_: section.key=value, in TOML; may be repeated.
        axis: section.key=[value, ...]; may be repeated, for the product.
        zip_: section.key=[value, ...]; may be repeated: all of them vary together, as one axis.
        seeds: number of initial filters per cell.
        scale: small and full put the tables [scale.small] and [scale.full] of the file over the others.
        engine: local (this process, all devices), processes, dask or slurm.
        workers: number of worker processes, or of jobs in the queue at once.
        scheduler: address of a dask scheduler, such as tcp://host:8786; a cluster on this machine by default.
        slurm: KEY=VALUE, a parameter of submitit such as slurm_partition=gpu; may be repeated.
        no_cache: do not keep compiled programs in the user's cache folder.
    """
    choice = _choice(engine, workers, scheduler, slurm)
    with Busy("checking the configuration"):
        plan = _plan(config, set_, axis, zip_, seeds, scale, not no_cache, host_only=choice.name != "local")
        text = plan_text(plan)
    directory = RunDirectory.create(out, config.stem)
    begin(plan, directory)
    print(text, file=sys.stderr)
    _run_and_report(plan, directory, choice, cache=not no_cache)


def resume(
    directory: Path,
    /,
    *,
    engine: str = "local",
    workers: int | None = None,
    scheduler: str | None = None,
    slurm: Slurm = None,
    no_cache: Switch = False,
) -> None:
    """Compute what is missing or has failed in a run, to the same bits.

    Several processes, on one machine or several, may resume a run at the same time.

    Args:
        directory: a run directory.
        engine: local (this process, all devices), processes, dask or slurm.
        workers: number of worker processes, or of jobs in the queue at once.
        scheduler: address of a dask scheduler, such as tcp://host:8786; a cluster on this machine by default.
        slurm: KEY=VALUE, a parameter of submitit such as slurm_partition=gpu; may be repeated.
        no_cache: do not keep compiled programs in the user's cache folder.
    """
    choice = _choice(engine, workers, scheduler, slurm)
    begun = RunDirectory.existing(directory)
    sweep = load_run(begun)
    configure(sweep.configuration.compute.precision, not no_cache, host_only=choice.name != "local")
    check_problems(sweep)
    begun.check_writable("make it writable, or copy it to where it is")
    for change in changes_since_begun(begun):
        print(f"note: {change}: new results may differ in the last bits", file=sys.stderr)
    _run_and_report(plan_of(sweep), begun, choice, cache=not no_cache)


def _run_and_report(plan: Plan, directory: RunDirectory, choice: Choice, cache: bool) -> None:
    """Computes the missing batches, writes the report, and prints the answer and the failed batches."""
    course = Course(plan.batches, plan.programs, plan.label, plan.sweep.noun)
    again = command("resume", directory.path)
    try:
        with monitor(course) as progress:
            summary = run_missing(plan, directory, choice, progress, cache)
        failures = _failures(summary.failed, plan.label)
        if not summary.finished:
            raise RunError("\n".join([f"all {summary.batches} batches failed:", *failures, f"to try again: {again}"]))
        report = _report(directory)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; what is finished is kept in {directory.path}; go on with: {again}") from None
    except UserError as error:  # the run directory exists already, so that the user need not start again
        raise UserError(f"{error}; the run is in {directory.path}; when that is mended: {again}") from error
    print(_answer_and_claims(report))
    spent = f"wall time {summary.seconds:.1f} s, compilation {summary.compiling:.1f} s"
    print(f"{spent}; results in {directory.path}\nreport: {report.path}")
    if failures:
        count = f"{len(summary.failed)} of {summary.batches} batches failed:"
        raise RunError("\n".join([count, *failures, f"to try them again: {again}"]))


def _report(directory: RunDirectory) -> Report:
    """Writes the report of a run whose results are stored; a failure here is none of the user's configuration."""
    try:
        with Busy("drawing the report"):
            return write_report(directory.path)
    except UserError as error:
        again = command("report", directory.path)
        raise RunError(f"{error}\nall results are kept in {directory.path}; report again with: {again}") from error


def _failures(failed: Mapping[Batch, str], label: Callable[[Batch], str]) -> list[str]:
    """One line per error, with the first batch in which it occurred and the number of others."""
    batches: dict[str, list[str]] = {}
    for batch, error in failed.items():
        batches.setdefault(error, []).append(label(batch))
    return [
        f"  {names[0]}{f' and {len(names) - 1} more' * (len(names) > 1)}: {error}" for error, names in batches.items()
    ]


def collect(directory: Path, /) -> None:
    """Write results.zarr from the finished batches of a run; a second time changes nothing.

    Args:
        directory: a run directory.
    """
    begun = RunDirectory.existing(directory)
    with Busy("collecting the results") as busy:
        finished, total = collect_run(begun, busy.say)
    print(f"{finished} of {total} batches are in {begun.path / 'results.zarr'}")


def report(directory: Path, /) -> None:
    """Draw the figures and write the report of a run again, from its stored results.

    Args:
        directory: a run directory.
    """
    _bring_up_to_date(directory)
    with Busy("drawing the report"):
        report = write_report(directory)
    print(_answer_and_claims(report))
    print(f"report: {report.path}")


def open_report(directory: Path, /) -> None:
    """Open the report of a run in the browser.

    Args:
        directory: a run directory.
    """
    page = directory / "report.html"
    if not page.is_file():
        raise UserError(f"{directory} has no report.html: {command('report', directory)}")
    opened = webbrowser.open(page.resolve().as_uri())
    print(page if opened else f"no browser could be started here; the report is {page.resolve()}")


def gallery(directory: Path, /) -> None:
    """Write one page over all runs in a folder: picture, answer and claims of each.

    Args:
        directory: a folder that holds run directories, such as runs; the page is its index.html.
    """
    with Busy("looking at the runs"):
        page, count, left_out = write_gallery(directory)
    for reason in left_out:
        print(f"left out: {reason}", file=sys.stderr)
    print(f"{count} {'run' if count == 1 else 'runs'}: {page}")


def export_run(
    directory: Path,
    /,
    *,
    to: Literal["csv", "parquet", "netcdf"] = "csv",
    out: Path | None = None,
    trajectories: Switch = False,
) -> None:
    """Write results as a table with a row per flow (csv, parquet), or whole (netcdf).

    Args:
        directory: a run directory.
        to: the format; parquet and netcdf need pip install "lcnn_flow[export]".
        out: the file; results.csv, results.parquet or results.nc in the run directory by default.
        trajectories: besides the table of flows, write one with a row per flow and time.
    """
    _bring_up_to_date(directory)
    with Busy("writing the file"):
        path = export(directory, to, out, trajectories)
    print(path)


def compare_runs(first: Path, second: Path, /, *, rtol: float = 1e-9) -> int:
    """Say whether two runs agree, and where not; the exit code is 0 if they do, else 1.

    Args:
        first: a run directory.
        second: another one.
        rtol: relative difference up to which numbers agree to rounding.
    """
    _bring_up_to_date(first)
    _bring_up_to_date(second)
    with Busy("comparing the results"):
        comparison = compare(first, second, rtol)
    print(comparison)
    return 0 if comparison.agree else 1


def _bring_up_to_date(directory: Path) -> None:
    """Collects batches that are not in the results yet; if that fails, the results are used as they are."""
    if not (directory / "config.toml").is_file() or not (directory / "batches").is_dir():
        return
    try:
        with Busy("collecting the results") as busy:
            finished, total = collect_run(RunDirectory.existing(directory), busy.say)
    except UserError as error:
        if not (directory / "results.zarr").exists():
            raise
        print(f"note: {error}; going on with results.zarr as it is", file=sys.stderr)
        return
    if finished < total:
        print(f"note: {total - finished} of the {total} batches of {directory} are not computed", file=sys.stderr)


def _choice(engine: str, workers: int | None, scheduler: str | None, slurm: list[str] | None) -> Choice:
    parameters = {}
    for text in slurm or []:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UserError(f"--slurm {text}: write --slurm KEY=VALUE, for example --slurm slurm_partition=gpu")
        parameters[key] = int(value) if value.isdecimal() else value
    return Choice(engine, workers, scheduler, parameters)


def _plan(
    config: Path,
    sets: list[str] | None,
    axes: list[str] | None,
    zips: list[str] | None,
    seeds: int | None,
    scale: Scale,
    cache: bool = True,
    host_only: bool = False,
) -> Plan:
    """Loads and checks a configuration, sets up JAX for it, and plans the run."""
    overrides = list(sets or []) + ([f"seeds={seeds}"] if seeds is not None else [])
    sweep = load(config, overrides, axes or [], zips or [], scale)
    configure(sweep.configuration.compute.precision, cache, host_only)
    check_problems(sweep)
    return plan_of(sweep)


def _answer_and_claims(report: Report) -> str:
    """The answer, and one line per claim."""
    width = max(len(claim.conclusion) for claim in report.claims)
    lines = [f"  {claim.conclusion:{width}}  {claim.statement}: {claim.observed}" for claim in report.claims]
    return "\n".join([report.answer, *lines])
