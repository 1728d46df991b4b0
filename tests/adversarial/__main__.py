"""`python -m tests.adversarial --cases 10000`: the table of verdicts, and every false one with how to repeat it."""

import argparse
import json

import jax

from .cases import DATA_KINDS, START_KINDS
from .families import FAMILIES, FAST
from .library import ENGINES
from .stored import STORED, stored_ends
from .table import Table, run_family


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.adversarial", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="flows in all families together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--category", choices=[*DATA_KINDS, *START_KINDS], help="one kind of data or of start")
    parser.add_argument("--families", type=int, nargs="+", default=list(range(len(FAMILIES))))
    parser.add_argument("--engines", choices=ENGINES, nargs="+", default=list(ENGINES))
    parser.add_argument("--case", help="family.condition.start, to repeat one")
    parser.add_argument("--store", action="store_true", help="integrate the reference flows of the fast lane anew")
    chosen = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    table = Table()
    if chosen.store:
        store(table)
        return
    if chosen.case:
        family, condition, start = map(int, chosen.case.split("."))
        run_family(table, family, [condition], chosen.seed, chosen.engines, None, start)
        print(*table.findings, sep="\n")
        return
    each = max(1, round(chosen.cases / (len(START_KINDS) * len(chosen.families))))
    for family in chosen.families:
        before = len(table.false)
        run_family(table, family, range(each), chosen.seed, chosen.engines, chosen.category)
        print(f"{family:3d} {FAMILIES[family]}: {len(table.false) - before} false", flush=True)
        print(*table.false[before:], sep="\n", flush=True)
    print(table)


def store(table: Table) -> None:
    """Integrates and judges the fast lane, and writes the ends of its reference flows."""
    ends = stored_ends()
    ends.clear()
    for number, engines, conditions in FAST:
        run_family(table, number, range(conditions), engines=engines)
    lines = [f"{json.dumps(key)}: {json.dumps(end)}" for key, end in ends.items()]
    STORED.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{table}\n{len(ends)} ends are in {STORED}")


if __name__ == "__main__":
    main()
