"""Runs the whole study: results.csv, then the attacks on it, checks.csv, then the figures."""

import csv
import sys
import time
from collections import Counter
from pathlib import Path

import jax

import lcnn_flow as lf
from study import attacks, facts, figures, flows, problems, shares

HERE = Path(__file__).parent
_ATTACKED = 25
"""Data sets per group that the attacks take."""


def main() -> None:
    """Everything; with `figures` as argument the drawings of what results.csv holds, with `facts` its sentences."""
    if sys.argv[1:] not in ([], ["figures"], ["facts"]):
        sys.exit("python -m study, python -m study figures, or python -m study facts")
    if not sys.argv[1:]:
        jax.config.update("jax_enable_x64", True)
        lf.enable_compilation_cache()
        _compute()
        _attack()
    cells = shares.read(HERE / "results.csv", problems.STARTS)
    if sys.argv[1:] != ["facts"]:
        figures.draw_all(cells, HERE)
    print("\n".join(facts.phrases(cells, facts.read_checks(HERE / "checks.csv")) + facts.tables(cells)))


def _compute() -> None:
    begun = time.time()
    with (HERE / "results.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(flows.COLUMNS)
        for group in problems.groups():
            table.writerows(flows.rows_of(group))
            print(f"{time.time() - begun:5.0f} s: {_words(group)}", flush=True)


def _attack() -> None:
    compared: Counter = Counter()
    disagree: Counter = Counter()
    for group in problems.groups(_ATTACKED):
        for name, (count, different) in attacks.attack(group).items():
            compared[name] += count
            disagree[name] += different
        print(f"attacked: {_words(group)}, so far {dict(disagree)} of {dict(compared)} disagree", flush=True)
    with (HERE / "checks.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["check", "compared", "disagree"])
        table.writerows([name, compared[name], disagree[name]] for name in compared)


def _words(group: problems.Group) -> str:
    return f"{problems.name_of(group.kernel_sizes)}, {group.targets} targets, condition {group.condition}"


if __name__ == "__main__":
    main()
