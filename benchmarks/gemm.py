"""How close the gradient of a large problem comes to the speed of the machine's matrix products.

One gradient of all seeds is two products of the (rows, k_v) patch matrix with a matrix of seeds, 4 rows k_v seeds
floating-point operations, and rho' of rows x seeds residuals, which counts as nothing here. Every CPU device takes a
share of the seeds, as in ensembles. The peak is the fastest of some float64 matrix products in the same process, on
as many threads, in the same turns.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import lcnn_flow as lf
from benchmarks import text
from benchmarks.problems import problem, starts
from benchmarks.timing import Candidate, Say, in_turns, median, ratio, warm_up
from lcnn_flow.risk.chain_rule import gradient

__all__ = ["batched_gradient", "drawings", "measure", "section"]

_TURNS = 5
_SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 1024, 1024), (46080, 20, 1024))
"""(rows, inner, columns): square ones, and the patch matrix times the filters of all seeds."""


def batched_gradient(risk: Any, vectors: jax.Array) -> Callable[[], list[jax.Array]]:
    """Gradients at `vectors` (n, seeds) as ensembles evaluate them: every device a share, as many flows side by side
    as they have lanes."""
    lanes, devices = lf.describe(risk).lanes, jax.local_devices()

    @jax.jit
    def gradients(risk: Any, vectors: jax.Array) -> jax.Array:
        driver = risk.driver(lanes)
        chunks = jnp.moveaxis(vectors.reshape(vectors.shape[0], -1, lanes), 1, 0)
        return jax.lax.map(lambda chunk: gradient(risk.arch, driver, chunk), chunks)

    size = vectors.shape[1] // len(devices) // lanes * lanes
    starts = [size * i for i in range(len(devices))] if size else [0]
    shares = jnp.split(vectors, starts[1:], axis=1)
    given = [jax.device_put((risk, share), device) for share, device in zip(shares, devices, strict=False)]
    threads = ThreadPoolExecutor(len(given))
    return lambda: list(threads.map(lambda share: jax.block_until_ready(gradients(*share)), given))


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """Seconds a turn of the gradient and of the products, and their floating-point operations."""
    samples, seeds, shapes = (64, 64, _SHAPES[:1]) if quick else (2304, 1024, _SHAPES)
    kernel_sizes = (6, 6, 6, 5)
    risk = problem(kernel_sizes, length=39, samples=samples, loss=lf.losses.PseudoHuber(1.0))
    params = starts(risk.arch, seeds)
    k_v = risk.arch.end_to_end_kernel_size[0]
    rows = samples * risk.arch.output_shape[0]
    vectors = jnp.concatenate([w.reshape(seeds, -1) for w in params], axis=1).T
    candidates = [Candidate("gradient", batched_gradient(risk, vectors))]
    operations = {"gradient": 4 * rows * k_v * seeds}
    multiply = jax.jit(partial(jnp.matmul, precision="highest"))
    for m, n, p in shapes:
        factors = jnp.ones((m, n)), jnp.ones((n, p))
        name = f"product of {m} x {n} and {n} x {p}"
        operations[name] = 2 * m * n * p
        candidates.append(Candidate(name, lambda f=factors: jax.block_until_ready(multiply(*f))))
    warm_up(candidates, say)
    seconds = in_turns(candidates, 2 if quick else _TURNS)
    return {"rows": rows, "k_v": k_v, "seeds": seeds, "seconds": seconds, "operations": operations}


def section(data: dict[str, Any]) -> str:
    """This part of RESULTS.md."""
    speed = {name: [data["operations"][name] / s for s in seconds] for name, seconds in data["seconds"].items()}
    products = [name for name in speed if name != "gradient"]
    fastest = max(products, key=lambda name: median(speed[name]))
    rows = []
    for name, values in sorted(speed.items(), key=lambda item: -median(item[1])):
        share = ratio(values, speed[fastest])
        rows.append([name, text.times(data["seconds"][name]), text.number(median(values) / 1e9), f"{share:.0%}"])
    return "\n\n".join(
        [
            "## Large gradients against matrix products",
            f"Gradient of the pseudo-Huber risk (delta = 1), kernel sizes (6, 6, 6, 5), k_v = {data['k_v']}, "
            f"{data['rows']:,} rows, {data['seeds']} seeds at once, float64. Counted are its two matrix products only; "
            "the derivative of the loss, a root and a division for each of rows x seeds residuals, is not.",
            text.table(["computation", "time", "GFLOP/s", "share of the fastest product"], rows),
        ]
    )


def drawings(data: dict[str, Any]) -> list[Any]:
    """None: the table says it all."""
    del data
    return []
