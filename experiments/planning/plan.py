"""The plan of a run: what it computes, settled once before anything is computed and handed to everything that runs."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from experiments.planning.batches import Batch, cut_into_batches
from experiments.sweeps.sweep import Sweep

if TYPE_CHECKING:
    from experiments.planning.cost_model import Work

__all__ = ["Plan", "plan_of"]


@dataclass(frozen=True)
class Plan:
    """A sweep and the batches into which it is cut; the rest is computed from these two when it is first needed."""

    sweep: Sweep
    batches: tuple[Batch, ...]

    @cached_property
    def programs(self) -> dict[int, int]:
        """The number of the compiled program of every batch, by the number of the batch.

        Batches share a program if they belong to the same compile group and have equally many cells and seeds.
        """
        group_of = {cell.number: number for number, group in enumerate(self.sweep.groups) for cell in group}
        known: dict[tuple[int, int, int], int] = {}
        shapes = {b.number: (group_of[b.cells[0]], len(b.cells), b.stop - b.start) for b in self.batches}
        return {number: known.setdefault(shape, len(known)) for number, shape in shapes.items()}

    @property
    def in_order(self) -> tuple[Batch, ...]:
        """The batches in the order in which they are begun: first one of every program.

        Then several programs are compiled at the same time, and early on the time left is known.
        """
        firsts = {program: number for number, program in reversed(self.programs.items())}
        return tuple(sorted(self.batches, key=lambda batch: firsts[self.programs[batch.number]] != batch.number))

    @cached_property
    def work(self) -> "tuple[Work, ...]":
        """Sizes and least cost of every compile group, from the shapes of its problems.

        Raises:
            UserError: the library refused a value or a data file, or a flow does not fit into memory.
        """
        from experiments.planning.cost_model import work_of  # imported here, because `status` works without JAX

        return work_of(self.sweep, self.batches, self.programs)

    def label(self, batch: Batch) -> str:
        """A short name of a batch for messages: its cell, or its first and last cell, and its seeds if not all."""
        cells = self.sweep.cells
        names = [cells[number].name for number in dict.fromkeys((batch.cells[0], batch.cells[-1]))]
        whole = batch.stop - batch.start == self.sweep.configuration.seeds
        return " … ".join(names) + ("" if whole else f", seeds {batch.start} to {batch.stop - 1}")


def plan_of(sweep: Sweep) -> Plan:
    """The plan of a sweep, which is the same on every machine.

    Raises:
        UserError: a data file cannot be read.
    """
    from experiments.modules import unchanged  # imported here, because modules need JAX and `status` works without
    from experiments.modules.finding import find_module

    module = find_module(sweep.configuration.experiment.module)
    return Plan(sweep, cut_into_batches(sweep, whole_cells=module.prepare is not unchanged))
