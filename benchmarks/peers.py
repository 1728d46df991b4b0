"""Time a flow of the ensemble against other codes on the same seeds, to the same gradient norm, and what each reaches.

Slow codes run on the first few of the seeds. Distances are from the limits of `references`, seed by seed.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import lcnn_flow as lf
from benchmarks import peer_codes, references, text
from benchmarks.problems import GRADIENT_NORM, PROBLEMS, describe, flows, matrix, named, problem, starts
from benchmarks.timing import Candidate, Say, in_turns, median, ratio, spread, warm_up
from experiments.figures.style import Drawing, canvas, house_style, look

__all__ = ["drawings", "measure", "section"]

_OURS = "lcnn_flow ensemble"
_AGREE = 1e-12
_DELTAS = (1.0, 0.1)
_TURNS = 3
_PATIENCE = 5.0
_SEEDS = 1024
_QUICK_SEEDS = 64
_EVERYWHERE = {
    _OURS: _SEEDS,
    "diffrax Kvaerno5, Gram form, vmap": 256,
    "SUNDIALS CVODE BDF, numpy callbacks": 128,
    "scipy LSODA, numpy": 32,
    "scipy BDF, numpy": 32,
    "scipy Radau, numpy": 32,
    "gradient descent, half the stable step": 64,
}
_SUBSETS = {
    "SMALL": {
        **_EVERYWHERE,
        "diffrax Kvaerno5, Gram form, vmap": _SEEDS,
        "diffrax Kvaerno5, layer by layer, lax.map": 8,
        "diffrax Kvaerno5, layer by layer, vmap": 16,
    },
    "ILL": _EVERYWHERE,
}
"""How many of the seeds each code runs; the cost a seed of the last one grows with their number."""


def _runs(risk: lf.EmpiricalRisk, limits: references.Limits) -> dict[str, Any]:
    """For each code, a function from a number of seeds to their ends."""
    form, params = peer_codes.numpy_form(risk), starts(risk.arch, len(limits.vectors))
    vectors = matrix(params)

    def ours(seeds: int) -> Any:
        flow = flows(risk, tuple(w[:seeds] for w in params))
        return matrix(flow.limit), flow.sound & (flow.verdict == lf.Verdict.CONVERGED)

    def plain(run: Callable[..., Any], given: Any) -> Any:
        return lambda seeds: (run(given, vectors[:seeds]), None)

    return {
        _OURS: ours,
        "diffrax Kvaerno5, Gram form, vmap": plain(peer_codes.kvaerno5_gram, risk),
        "diffrax Kvaerno5, layer by layer, lax.map": plain(peer_codes.kvaerno5_layers_in_turn, risk),
        "diffrax Kvaerno5, layer by layer, vmap": plain(peer_codes.kvaerno5_layers_together, risk),
        "SUNDIALS CVODE BDF, numpy callbacks": plain(peer_codes.cvode_numpy, form),
        **{f"scipy {m}, numpy": plain(partial(peer_codes.scipy_method, m), form) for m in ("LSODA", "BDF", "Radau")},
        "gradient descent, half the stable step": lambda seeds: (
            peer_codes.gradient_descent(risk, vectors[:seeds], limits.curvature[:seeds]),
            None,
        ),
    }


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """Everything this part shows; seconds a flow, one number a turn."""
    seeds = _QUICK_SEEDS if quick else _SEEDS
    candidates, limits, ends = [], {}, {}
    for name, subsets in _SUBSETS.items():
        risk = named(name)
        limits[name] = references.limits(peer_codes.numpy_form(risk), matrix(starts(risk.arch, seeds)))
        say(f"  {seeds} reference limits of {name}, {int(limits[name].confirmed.sum())} confirmed")
        runs = _runs(risk, limits[name])
        for code, subset in subsets.items():
            count = min(subset, max(1, subset // 32) if quick and code != _OURS else seeds)
            candidates.append(Candidate(f"{name}: {code}", partial(runs[code], count), count))
    for delta in _DELTAS:
        risk = problem(**PROBLEMS["SMALL"], loss=lf.losses.PseudoHuber(delta))
        run = partial(flows, risk, starts(risk.arch, seeds))
        candidates.append(Candidate(f"pseudo-Huber(delta = {delta:g})", run, seeds))
    ends = warm_up(candidates, say)
    seconds = in_turns(candidates, 1 if quick else _TURNS, _PATIENCE)
    found: dict[str, Any] = {"seeds": seeds, "problems": {}, "losses": {}}
    for name, subsets in _SUBSETS.items():
        rows = {}
        for code in subsets:
            key = f"{name}: {code}"
            rows[code] = {"seconds": seconds[key], **_quality(named(name), limits[name], ends[key][0])}
        ours = ends[f"{name}: {_OURS}"]
        found["problems"][name] = {"rows": rows, "correctness": _correctness(limits[name], *ours)}
    for delta in _DELTAS:
        key = f"pseudo-Huber(delta = {delta:g})"
        flow = ends[key]
        found["losses"][key] = {
            "seconds": seconds[key],
            "sound": float(np.mean(flow.sound)),
            "operations": float(np.mean(flow.steps)) * _operations(named("SMALL")),
        }
    return found


def _operations(risk: Any) -> int:
    """Floating-point operations of the matrix products of one step: six gradients, and l''."""
    rows, q, c = risk.table_shape
    return (6 * 4 * q + q * (q + 1)) * rows * c


def _quality(risk: lf.EmpiricalRisk, limits: references.Limits, ends: np.ndarray) -> dict[str, Any]:
    """How far the ends are from the reference limits, and how many have a small gradient."""
    form, known = peer_codes.numpy_form(risk), limits.confirmed[: len(ends)]
    distance = np.linalg.norm(ends - limits.vectors[: len(ends)], axis=1)[known]
    # codes that stop at the crossing itself end on either side of it, by rounding
    arrived = [np.linalg.norm(form.gradient(end)) <= GRADIENT_NORM * 1.001 for end in ends]
    return {
        "flows": len(ends),
        "median_distance": float(np.nanmedian(distance)),
        "max_distance": float(np.nanmax(distance)),
        "arrived": float(np.mean(arrived)),
    }


def _correctness(limits: references.Limits, ends: np.ndarray, trusted: np.ndarray) -> dict[str, Any]:
    """Of the seeds with a confirmed reference: how many limits agree, and how many of the others are flagged."""
    known = limits.confirmed
    agrees = np.linalg.norm(ends - limits.vectors, axis=1) <= _AGREE
    return {
        "confirmed": int(known.sum()),
        "agree": int((known & agrees).sum()),
        "flagged": int((known & ~agrees & ~trusted).sum()),
        "unflagged": int((known & ~agrees & trusted).sum()),
        "trusted": int((known & trusted).sum()),
    }


def section(data: dict[str, Any]) -> str:
    """This part of RESULTS.md."""
    parts = [
        "## Against other codes",
        f"To |grad L| <= {GRADIENT_NORM:g}. Ours: default options, the limit polished by Newton's method. Peers: "
        "rtol = atol = 1e-6, stopped by an event at the same gradient norm. Time is divided by the number of seeds "
        f"run, the first of the {data['seeds']}; ratio is to ours. Distance is that of the end from the reference "
        "limit of the same seed (CVODE at 1e-10, then Newton's method, in numpy); arrived is the share of seeds that "
        "reached the gradient norm, and where it is below 100% the time is a lower bound.",
    ]
    for name, found in data["problems"].items():
        parts += [f"**{name}**: {describe(name)}.", _table(found["rows"])]
    parts.append(_notes())
    parts += [
        "### Are the limits right?",
        "Limits of the ensemble against independent references. Flagged: not CONVERGED or not `sound`.",
        text.table(
            ["problem", "confirmed references", f"agree to {_AGREE:g}", "differ, flagged", "differ, not flagged"],
            [
                [name, *(str(found["correctness"][key]) for key in ("confirmed", "agree", "flagged", "unflagged"))]
                for name, found in data["problems"].items()
            ],
        ),
        "### Other losses",
        "The same ensemble on SMALL; the ratio is to the square loss, whose data reduce to a 7 x 7 matrix. A step of "
        "the others multiplies matrices of the data six times for gradients and once for the Hessian, at the rate "
        "shown, which the evaluation of rho' and rho'' for every residual, not counted, keeps below that of large "
        "matrix products.",
        _losses(data),
    ]
    captions = [text.figure(drawing.name, drawing.title, drawing.caption) for drawing in drawings(data)]
    return "\n\n".join(parts[:2] + captions + parts[2:])


def _table(rows: dict[str, Any]) -> str:
    ours = rows[_OURS]["seconds"]
    lines = [
        [
            code,
            str(row["flows"]),
            text.times(row["seconds"]),
            text.range_of(row["seconds"]),
            text.number(ratio(row["seconds"], ours)),
            text.error(row["median_distance"]),
            text.error(row["max_distance"]),
            f"{row['arrived']:.1%}",
        ]
        for code, row in sorted(rows.items(), key=lambda item: median(item[1]["seconds"]))
    ]
    head = ["code", "seeds run", "time a seed", "spread", "ratio", "median distance", "largest distance", "arrived"]
    return text.table(head, lines)


def _notes() -> str:
    return (
        "What to know when reading the table. The ensemble uses all cores; scipy, CVODE and diffrax run as their users "
        "run them, mostly on one core, so one process a core would divide their times by up to the number of cores. "
        "scipy and CVODE call numpy, a large part of their time; **compiled C codes are faster than XLA on a CPU for 9 "
        "parameters**: a Rosenbrock method written in C++, above all over SIMD lanes, beats this library there. That "
        "is known and not measured here. What the library gives instead: any architecture and "
        "loss without writing C, a verdict on every flow, and derivatives. The layer by "
        "layer vmap costs more a seed the more seeds there are: its few seeds understate it. Gradient descent steps "
        "1/lambda, lambda the largest Hessian eigenvalue along the reference flow of the seed (finding it is not "
        "timed); it does not conserve what the flow conserves, so its distance is that of another limit."
    )


def _losses(data: dict[str, Any]) -> str:
    square = data["problems"]["SMALL"]["rows"][_OURS]
    rows = [["square", text.times(square["seconds"]), text.range_of(square["seconds"]), "1", "-", "-"]]
    for name, found in data["losses"].items():
        by_square = text.number(ratio(found["seconds"], square["seconds"]))
        spent = [text.times(found["seconds"]), text.range_of(found["seconds"])]
        rate = text.number(found["operations"] / median(found["seconds"]) / 1e9)
        rows.append([name, *spent, by_square, f"{rate} GFLOP/s", f"{found['sound']:.1%}"])
    return text.table(["loss", "time a seed", "spread", "ratio to square", "products", "sound"], rows)


def drawings(data: dict[str, Any]) -> list[Drawing]:
    """Time a seed of every code, on both problems."""
    codes = list(data["problems"]["SMALL"]["rows"])
    codes.sort(key=lambda code: -median(data["problems"]["SMALL"]["rows"][code]["seconds"]))
    with house_style():
        fig, (axes,) = canvas(1, 1, 3.4)
        for i, (name, found) in enumerate(data["problems"].items()):
            style = look(i)
            for place, code in enumerate(codes):
                if code not in found["rows"]:
                    continue
                seconds = found["rows"][code]["seconds"]
                middle, (low, high) = median(seconds), spread(seconds)
                axes.errorbar(
                    middle,
                    place + 0.12 - 0.24 * i,
                    xerr=[[middle - low], [high - middle]],
                    color=style.colour,
                    marker=style.marker,
                    markersize=5,
                    elinewidth=1.5,
                    capsize=5,
                    linestyle="none",
                    label=f"{name}: median" if code == codes[-1] else None,
                )
        axes.set_xscale("log")
        axes.set_yticks(range(len(codes)), codes)
        axes.set_xlabel("wall time per seed to the limit (s)")
        axes.legend(loc="lower left", title="bars: fastest to slowest\nof the measured turns", title_fontsize=8.5)
    best = {
        name: min(
            ratio(row["seconds"], found["rows"][_OURS]["seconds"])
            for code, row in found["rows"].items()
            if code != _OURS
        )
        for name, found in data["problems"].items()
    }
    closest = " and ".join(f"{text.number(value)} times as long on {name}" for name, value in best.items())
    caption = (
        "Wall time per seed: median of the measured turns, bars from the fastest to the slowest turn; where no bar is "
        "seen it is shorter than the mark. Further left is better. Expected: implicit methods on the reduced data are "
        "limited by the overhead per step, numpy callbacks add more, convolutions of the data layer by layer cost "
        f"orders of magnitude. Seen: the fastest peer takes {closest} as the ensemble."
    )
    return [Drawing("peers", "Time a seed to the limit", fig, caption)]
