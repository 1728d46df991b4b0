"""`python -m tests.functions --count 1000`: verdicts by family, and every false one with how to repeat it."""

import argparse
import time

import jax

import lcnn_flow as lf

from .library import ENGINES
from .table import STRUCTURES, Table, run_structure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.functions", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="functions of all families together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--families", type=int, nargs="+", default=list(range(len(STRUCTURES))))
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[0])
    parser.add_argument("--withheld", action="store_true", help="name nondegenerate flows that are not decided")
    parser.add_argument("--case", help="family.function, to repeat one")
    chosen = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    lf.enable_compilation_cache()
    table = Table()
    if chosen.case:
        index, number = map(int, chosen.case.split("."))
        print(*run_structure(table, index, [number], chosen.seed, chosen.engine), sep="\n")
        return
    each = max(1, -(-chosen.count // len(chosen.families)))
    for index in chosen.families:
        began = time.perf_counter()
        found = run_structure(table, index, range(each), chosen.seed, chosen.engine)
        false = [f for f in found if f.judgement.false]
        seconds = time.perf_counter() - began
        lines = [f"{index:3d} {STRUCTURES[index].name}: {len(false)} false, {seconds:.0f} s", *map(str, false)]
        if chosen.withheld:
            lines += [f"    withheld: {f}" for f in found if f.judgement.regular and not f.judgement.decided]
        print(*lines, sep="\n", flush=True)
    print(table)


if __name__ == "__main__":
    main()
