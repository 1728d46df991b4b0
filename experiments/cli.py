"""Commands of `python -m experiments`.

Exit codes: 0 done, 1 stopped in the middle, 2 mistake of the user, 130 Ctrl-C.
"""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from experiments.claims import Claim
from experiments.errors import Interrupted, RunError, UserError
from experiments.execute import check_problems, collect_again, run_sweep
from experiments.faults import did_you_mean
from experiments.loading import load
from experiments.modules import MODULES
from experiments.progress import monitor
from experiments.report import write_report
from experiments.runtime import configure
from experiments.store import RunDirectory
from experiments.sweep import Sweep, stored_bytes

__all__ = ["app", "main"]

app = App(name="experiments", help="From a TOML file to converged gradient flows and a report.", version_flags=[])

Sets = Annotated[list[str] | None, Parameter(name="--set", negative="", consume_multiple=False)]
Axes = Annotated[list[str] | None, Parameter(name="--axis", negative="", consume_multiple=False)]
Switch = Annotated[bool, Parameter(negative="")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; users' mistakes end in one line on standard error."""
    try:
        command, bound, *_ = app.parse_args(
            sys.argv[1:] if arguments is None else list(arguments), exit_on_error=False, print_error=False
        )
        command(*bound.args, **bound.kwargs)
    except CycloptsError as error:
        return _complain(f"{' '.join(str(error).split())} See python -m experiments --help", 2)
    except UserError as error:
        return _complain(str(error), 2)
    except Interrupted as error:
        return _complain(str(error), 130)
    except RunError as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:  # the reader of our output, such as head, has gone
        with contextlib.suppress(OSError):
            sys.stdout.close()
        return 0
    return 0


def _complain(message: str, code: int) -> int:
    print(f"error: {message}" if code != 130 else message, file=sys.stderr)
    return code


@app.command(name="list")
def list_() -> None:
    """List the experiment modules and the configurations in configs/."""
    print("modules (python -m experiments describe NAME):")
    for name, module in MODULES.items():
        print(f"  {name:16} {module.question}")
    found = sorted(Path("configs").glob("*.toml")) or sorted((Path(__file__).parent / "configs").glob("*.toml"))
    if found:
        print("configurations (python -m experiments run FILE):")
        for file in found:
            print(f"  {file}")


@app.command
def describe(name: str) -> None:
    """Say what a module asks, what the theory expects, and what is checked.

    Args:
        name: a module, as `list` shows it.
    """
    if name not in MODULES:
        raise UserError(f'no module "{name}"; known: {", ".join(MODULES)}{did_you_mean(name, MODULES)}')
    module = MODULES[name]
    print(f"{module.name}: {module.question}\n\n{module.theory}\n\naxes that make sense:")
    for axis, meaning in module.axes.items():
        print(f"  {axis:24} {meaning}")
    print("\nchecked on the results:")
    for check in module.claims:
        print(f"  {check.__name__:24} {(check.__doc__ or '').splitlines()[0]}")


@app.command
def validate(
    config: Path, /, *, set_: Sets = None, axis: Axes = None, seeds: int | None = None, toml: Switch = False
) -> None:
    """Check a configuration and print the plan: cells, seeds, compile groups, size.

    Args:
        config: a TOML file.
        set_: section.key=value, in TOML; may be repeated.
        axis: section.key=[value, ...]; may be repeated.
        seeds: number of initial filters a cell.
        toml: print the resolved configuration too.
    """
    sweep = _load(config, set_, axis, seeds)
    check_problems(sweep)
    print(_plan(sweep))
    if toml:
        print(f"\n{sweep.toml()}", end="")


@app.command
def run(
    config: Path,
    /,
    *,
    out: Path | None = None,
    set_: Sets = None,
    axis: Axes = None,
    seeds: int | None = None,
    no_cache: Switch = False,
) -> None:
    """Run a configuration and write a run directory with results and report.

    Args:
        config: a TOML file.
        out: the run directory; runs/NAME-TIME by default.
        set_: section.key=value, in TOML; may be repeated.
        axis: section.key=[value, ...]; may be repeated.
        seeds: number of initial filters a cell.
        no_cache: do not keep compiled programs in the user's cache folder.
    """
    sweep = _load(config, set_, axis, seeds, cache=not no_cache)
    check_problems(sweep)
    directory = RunDirectory.create(out, config.stem)
    print(_plan(sweep), file=sys.stderr)
    with monitor(len(sweep.cells), sweep.configuration.seeds) as progress:
        manifest = run_sweep(sweep, directory, progress)
    try:
        path, claims = write_report(directory.path)
    except UserError as error:  # the results are there: this run did not fail by a mistake in its configuration
        again = f"python -m experiments report {directory.path}"
        raise RunError(f"{error}\nall results are kept in {directory.path}; report again with: {again}") from error
    print(_claims(claims))
    print(f"wall time {manifest['wall_time_s']:.1f} s; results in {directory.path}\nreport: {path}")


@app.command
def report(directory: Path, /) -> None:
    """Draw the figures and write the report of a run again, from its stored results.

    Args:
        directory: a run directory.
    """
    collect_again(directory)
    path, claims = write_report(directory)
    print(_claims(claims))
    print(f"report: {path}")


def _load(config: Path, sets: list[str] | None, axes: list[str] | None, seeds: int | None, cache: bool = True) -> Sweep:
    overrides = list(sets or []) + ([f"seeds={seeds}"] if seeds is not None else [])
    sweep = load(config, overrides, axes or [])
    configure(sweep.configuration.compute.precision, cache)
    return sweep


def _plan(sweep: Sweep) -> str:
    cells, groups, seeds = len(sweep.cells), len(sweep.groups()), sweep.configuration.seeds
    size = sum(stored_bytes(cell.configuration) for cell in sweep.cells) / 1e6
    lines = [
        f"{cells} cell{'s' * (cells > 1)} x {seeds} seeds = {cells * seeds} flows in {groups} compile "
        f"group{'s' * (groups > 1)}; results up to {size:.1f} MB"
    ]
    lines += [f"  axis {axis.name}: {', '.join(map(str, axis.labels))}" for axis in sweep.axes]
    return "\n".join(lines)


def _claims(claims: Sequence[Claim]) -> str:
    width = max(len(claim.conclusion) for claim in claims)
    return "\n".join(f"  {claim.conclusion:{width}}  {claim.statement}: {claim.observed}" for claim in claims)
