"""What is done, running, failed or missing in a run directory: the command `status`, which works without JAX."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from experiments.errors import command
from experiments.running.begun import begun_plan
from experiments.running.busy import Busy
from experiments.running.store import RunDirectory

__all__ = ["status", "status_text"]

_MOST_SHOWN = 10


def status(directory: Path, /, *, verify: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Say what is done, running, failed or missing in a run.

    Args:
        directory: a run directory.
        verify: read all finished batches and compare their checksums; damaged ones are set aside.
    """
    with Busy("looking at the batches"):
        text = status_text(RunDirectory.existing(directory), verify)
    print(text)


def status_text(directory: RunDirectory, verify: bool = False) -> str:
    """Counts of batches, and the errors of those that failed.

    Args:
        directory: of a run.
        verify: read every finished batch; damaged ones are set aside, and are missing from then on.

    Raises:
        UserError: the configuration or the manifest cannot be used.
    """
    plan = begun_plan(directory)
    finished = [batch for batch in plan.batches if directory.has(batch)]
    damaged = [batch for batch in finished if verify and directory.load(batch) is None]
    finished = [batch for batch in finished if directory.has(batch)]
    known = set(finished)
    others = [batch for batch in plan.batches if batch not in known]
    running = [batch for batch in others if directory.locks.held(f"{batch.number:06d}")]
    known.update(running)
    waiting = [batch for batch in others if batch not in known]
    failed = {batch: error for batch in waiting if (error := directory.failure(batch)) is not None}
    flows = sum(batch.flows for batch in finished)
    lines = [
        f"{directory.path}: {len(finished)} of {len(plan.batches)} batches done ({flows} {plan.sweep.noun}s), "
        f"{len(running)} running, {len(failed)} failed, {len(waiting) - len(failed)} missing"
    ]
    if verify:
        lines.append(f"checksums: {len(finished)} fit, {len(damaged)} did not and are set aside in batches/damaged")
    lines += [f"  running: {plan.label(batch)}" for batch in running[:_MOST_SHOWN]]
    lines += [f"  failed:  {plan.label(batch)}: {error}" for batch, error in list(failed.items())[:_MOST_SHOWN]]
    if hidden := max(0, len(running) - _MOST_SHOWN) + max(0, len(failed) - _MOST_SHOWN):
        lines.append(f"  and {hidden} more")
    foreign = directory.foreign(plan.batches)
    if foreign:
        lines.append(
            f"  {len(foreign)} files in batches/ belong to another configuration or version, such as {foreign[0].name}"
        )
    sessions = directory.read_manifest().get("sessions", [])
    if sessions:
        last = sessions[-1]
        lines.append(f"last session: {last.get('ended')} on {last.get('host')}, engine {last.get('engine')}")
    if others:
        lines.append(f"to go on: {command('resume', directory.path)}")
    return "\n".join(lines)
