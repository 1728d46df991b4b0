"""Computes the missing batches of a run and collects its results, after its beginning or after an interruption."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from experiments.errors import Interrupted, RunError, UserError, command, reason
from experiments.planning.batches import Batch
from experiments.planning.plan import Plan, plan_of
from experiments.running.begun import load_run
from experiments.running.collect import collect
from experiments.running.engines.base import Task
from experiments.running.engines.choice import Choice, open_engine
from experiments.running.progress import Monitor
from experiments.running.record import new_session, record_session, time_stamp
from experiments.running.runtime import configure
from experiments.running.schedule import Finished, Schedule
from experiments.running.store import RunDirectory

__all__ = ["Summary", "collect_run", "run_missing"]


class Summary(NamedTuple):
    """What a session has done, and what there is of the whole run when it ends."""

    batches: int
    """Number of batches of the whole run."""
    finished: int
    """Number of batches of the whole run that are finished."""
    failed: dict[Batch, str]
    """Errors of the batches that failed in this session."""
    seconds: float
    """Wall time of the session."""
    compiling: float
    """Seconds of compilation, summed over all workers."""


def run_missing(plan: Plan, directory: RunDirectory, choice: Choice, monitor: Monitor, cache: bool = True) -> Summary:
    """Computes the missing batches and collects the results; the session is recorded in the manifest.

    Raises:
        UserError: the engine cannot be started, or the files in batches/ belong to another configuration.
        RunError: the engine was lost, or batches or results cannot be stored; what is stored is kept.
        Interrupted: Ctrl-C, or a signal to terminate; what is stored is kept.
    """
    started, session = time.perf_counter(), new_session(choice)
    directory.check_batches(plan.batches)
    for batch in plan.batches:
        if directory.has(batch):
            monitor.found(batch)
    finished, problem = _compute(plan, directory, choice, monitor, cache, session)
    session |= {
        "ended": time_stamp(),
        "wall_time_s": round(time.perf_counter() - started, 3),
        "compilation_s": round(finished.compiling, 3),
        "batches": finished.computed,
        "devices": list(finished.devices),
    }
    try:
        record_session(plan, directory, session)
        collect(plan, directory, monitor.say)
    except RunError as error:
        problem = problem or error
    except OSError as error:
        problem = problem or RunError(f"the results cannot be stored: {reason(error)}")
    done = sum(map(directory.has, plan.batches))
    verb = "resume" if done < len(plan.batches) else "collect"
    kept = f"{done} of {len(plan.batches)} batches were finished and are kept in {directory.path}"
    kept += f"; go on with: {command(verb, directory.path)}"
    if isinstance(problem, KeyboardInterrupt) or (problem is None and finished.stopped):
        raise Interrupted(f"interrupted; {kept}")
    if problem is not None:
        text = str(problem) if isinstance(problem, RunError) else f"the engine was lost: {_one_line(problem)}"
        raise RunError(f"{text}\n{kept}") from problem
    return Summary(len(plan.batches), done, finished.failed, time.perf_counter() - started, finished.compiling)


def _compute(
    plan: Plan, directory: RunDirectory, choice: Choice, monitor: Monitor, cache: bool, session: dict[str, Any]
) -> tuple[Finished, BaseException | None]:
    """Computes the missing batches; returns what was done and the error that ended it early, if any.

    The caller raises the error, after the session has been recorded and the stored batches have been collected.
    """
    toml = plan.sweep.toml()
    place = str(directory.path.resolve()) if choice.name == "slurm" else None

    def task(batch: Batch) -> Task:
        return Task(toml, batch, cache, place)

    retries = plan.sweep.configuration.compute.retries
    schedule = Schedule(directory, plan.in_order, task, retries, monitor, monitor.ended)
    finished, problem = Finished(0, {}, (), False), None
    if schedule.missing:
        engine = open_engine(choice, plan, directory.path, monitor)
        try:
            record_session(plan, directory, session)
            finished = schedule.run(engine)
        except BaseException as error:  # also KeyboardInterrupt, which the caller reports
            problem = error
        finally:
            engine.close(now=problem is not None)
    return finished, problem


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"


def collect_run(directory: RunDirectory, on_progress: Callable[[str], None] = lambda _: None) -> tuple[int, int]:
    """Collects the results of a run; returns the numbers of collected and of all batches.

    Raises:
        UserError: no batch is finished, or the configuration, the manifest or the store cannot be used.
    """
    sweep = load_run(directory)
    configure(sweep.configuration.compute.precision)
    plan = plan_of(sweep)
    try:
        collected = collect(plan, directory, on_progress)
    except OSError as error:
        raise UserError(f"{directory.path}: results cannot be stored: {reason(error)}") from error
    if collected == 0:
        raise UserError(f"{directory.path}: no batch is finished; {command('resume', directory.path)}")
    return collected, len(plan.batches)
