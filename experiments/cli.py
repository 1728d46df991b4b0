"""The command line `python -m experiments`: the commands, and the exit codes of their errors.

Exit codes: 0 success, 1 a run that stopped before its end or runs that differ, 2 a mistake of the user, 130 Ctrl-C. A
command is imported only when it is called, so that `list` and `--help` answer at once.
"""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, CycloptsError

from experiments.columns import in_columns
from experiments.errors import Interrupted, RunError, UserError
from experiments.questions import QUESTIONS
from experiments.shipped import configurations

__all__ = ["INTERRUPTED", "app", "main"]

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

_COMMANDS = {
    "describe": ("describing:describe", "Say what a module asks, what the theory expects, and what is checked."),
    "validate": (
        "commands:validate",
        "Check a configuration and print the plan: cells, seeds, programs, sizes, time.",
    ),
    "run": ("commands:run", "Run a configuration and write a run directory with results and report."),
    "resume": (
        "commands:resume",
        "Compute what is missing or has failed in a run, to the same bits.",
    ),
    "status": ("running.status:status", "Say what is done, running, failed or missing in a run."),
    "collect": (
        "commands:collect",
        "Write results.zarr from the finished batches of a run; a second time changes nothing.",
    ),
    "report": ("commands:report", "Draw the figures and write the report of a run again, from its stored results."),
    "open": ("commands:open_report", "Open the report of a run in the browser."),
    "gallery": ("commands:gallery", "Write one page over all runs in a folder: picture, answer and claims of each."),
    "export": (
        "commands:export_run",
        "Write results as a table with a row per flow (csv, parquet), or whole (netcdf).",
    ),
    "compare": (
        "commands:compare_runs",
        "Say whether two runs agree, and where not; the exit code is 0 if they do, else 1.",
    ),
}
"""By the name of the command: its function, as module:function in `experiments`, and its help."""

_CALLED = "lcnn-flow" if Path(sys.argv[0]).stem == "lcnn-flow" else "python -m experiments"

app = App(name=_CALLED, help="From a TOML file to converged gradient flows and a report.", version_flags=[])


@app.command(name="list")
def list_() -> None:
    """List the experiment modules and the configurations in configs/."""
    print("modules (python -m experiments describe NAME):")
    print(in_columns(QUESTIONS))
    print("configurations (python -m experiments run NAME, or run FILE for one of your own):")
    print(in_columns({file.stem: str(file) for file in configurations()}))


for _name, (_function, _help) in _COMMANDS.items():
    app.command(f"experiments.{_function}", name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; users' mistakes end in one line on standard error."""
    try:
        command, bound, *_ = app.parse_args(
            sys.argv[1:] if arguments is None else list(arguments), exit_on_error=False, print_error=False
        )
        return command(*bound.args, **bound.kwargs) or 0
    except CycloptsError as error:
        return _complain(f"{' '.join(str(error).split())} See python -m experiments --help", 2)
    except UserError as error:
        return _complain(str(error), 2)
    except Interrupted as error:
        return _complain(str(error), INTERRUPTED)
    except RunError as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader of the output, such as head, has ended
        with contextlib.suppress(OSError):
            sys.stdout.close()
        return 0


def _complain(message: str, code: int) -> int:
    print(f"error: {message}" if code != INTERRUPTED else message, file=sys.stderr)
    return code
