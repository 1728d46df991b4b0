"""`python -m tests.functions.networks --cases 1000`: verdicts by family, and every false one with how to repeat it."""

import argparse
import time

import jax

import lcnn_flow as lf

from .cases import START_KINDS
from .descents import RATES
from .families import FAMILIES
from .table import Table, run_family

_ENGINES = ("ensemble", "single")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.functions.networks", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="flows and descents of all families together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--families", "--family", type=int, nargs="+", default=list(range(len(FAMILIES))))
    parser.add_argument("--first", type=int, default=0, help="number of the first condition")
    parser.add_argument("--condition", type=int, help="one condition, every flow of which is printed")
    parser.add_argument("--engine", choices=_ENGINES, default=_ENGINES[0])
    parser.add_argument("--withheld", action="store_true", help="name regular flows that are not decided")
    chosen = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    lf.enable_compilation_cache()
    table = Table()
    for family in chosen.families:
        if chosen.condition is not None:
            print(*run_family(table, family, [chosen.condition], chosen.seed, chosen.engine), sep="\n", flush=True)
            continue
        rates = len(RATES.get(FAMILIES[family].optimiser, (1,)))
        each = max(1, round(chosen.cases / (len(START_KINDS) * len(chosen.families) * rates)))
        began = time.perf_counter()
        found = run_family(table, family, range(chosen.first, chosen.first + each), chosen.seed, chosen.engine)
        false = [f for f in found if f.judgement.false]
        lines = [f"{family:3d} {FAMILIES[family]}: {len(false)} false, {time.perf_counter() - began:.0f} s"]
        if chosen.withheld:
            lines += [f"    withheld: {f}" for f in found if f.judgement.regular and not f.judgement.decided]
        print(*lines, *map(str, false), sep="\n", flush=True)
    print(table)


if __name__ == "__main__":
    main()
