"""One ensemble in a process of its own, for what is fixed when a process starts: devices, compilation cache.

Run as `python -m benchmarks.child '{"seeds": 64, ...}'`; prints one line of JSON.
"""

import json
import sys
import time
from typing import Any

__all__ = ["measure"]


def measure(
    seeds: int, turns: int, devices: int | None = None, delta: float | None = None, cache: str | None = None
) -> Any:
    """Seconds of the first call of the ensemble on SMALL, and of `turns` later ones.

    Args:
        seeds: flows a call.
        turns: calls after the first.
        devices: CPU devices; one a core by default.
        delta: of the pseudo-Huber loss; the square loss by default.
        cache: folder of the persistent compilation cache; none by default.
    """
    import jax

    import lcnn_flow as lf
    from benchmarks.problems import PROBLEMS, flows, problem, starts
    from benchmarks.runtime import configure

    configure(devices)
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    risk = problem(**PROBLEMS["SMALL"], loss=None if delta is None else lf.losses.PseudoHuber(delta))
    params = jax.block_until_ready(starts(risk.arch, seeds))
    seconds = []
    for _ in range(1 + turns):
        began = time.perf_counter()
        flows(risk, params)
        seconds.append(time.perf_counter() - began)
    return {"first": seconds[0], "later": seconds[1:]}


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
