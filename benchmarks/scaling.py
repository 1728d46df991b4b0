"""How the time a seed of the ensemble grows: with seeds, samples, depth, filter size and devices."""

import tempfile
from functools import partial
from typing import Any

import lcnn_flow as lf
from benchmarks import text
from benchmarks.problems import flows, named, problem, starts
from benchmarks.runtime import child
from benchmarks.timing import Candidate, Say, in_turns, median, ratio, spread, warm_up
from experiments.figures.style import Drawing, canvas, house_style, look

__all__ = ["drawings", "measure", "section"]

_TURNS = 3
_PATIENCE = 4.0
_AXES = {
    "seeds": ("seeds", (1, 8, 64, 256, 1024, 4096, 16384, 65536)),
    "samples, square": ("samples", (64, 512, 4096, 65536)),
    "samples, pseudo-Huber": ("samples", (64, 256, 1024)),
    "depth": ("layers of 3 taps", (2, 3, 4, 5)),
    "filter size": ("taps of each of 3 layers", (2, 3, 5, 8)),
}
"""Each axis with its label and values; every point that is not on its axis is SMALL."""
_QUICK = {"seeds": (64, 256), "depth": (2, 3)}
_SEEDS = 256
_DEVICE_SEEDS = 4096


def _point(axis: str, value: int) -> tuple[lf.EmpiricalRisk, int]:
    """Problem and number of seeds."""
    if axis == "seeds":
        return named("SMALL"), value
    if axis == "depth":
        return problem((3,) * value), _SEEDS
    if axis == "filter size":
        return problem((value,) * 3, length=32), _SEEDS
    # pseudo-Huber costs in proportion to the samples: one block of seeds is enough
    pseudo = axis == "samples, pseudo-Huber"
    return problem(
        (3, 3, 3), samples=value, loss=lf.losses.PseudoHuber(1.0) if pseudo else None
    ), 64 if pseudo else _SEEDS


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """Seconds a flow of every point, one number a turn."""
    axes = _QUICK if quick else {name: values for name, (_, values) in _AXES.items()}
    candidates, places = [], {}
    for axis, values in axes.items():
        for value in values:
            risk, seeds = _point(axis, value)
            name = f"{axis} {value}"
            places[name] = (axis, value, seeds)
            candidates.append(Candidate(name, partial(flows, risk, starts(risk.arch, seeds)), seeds))
    results = warm_up(candidates, say)
    seconds = in_turns(candidates, 1 if quick else _TURNS, _PATIENCE)
    points = [
        {
            "axis": axis,
            "value": value,
            "flows": seeds,
            "seconds": seconds[name],
            "steps": float(results[name].steps.mean()),
            "sound": float(results[name].sound.mean()),
        }
        for name, (axis, value, seeds) in places.items()
    ]
    return {"points": points, "devices": {} if quick else _devices(say)}


def _devices(say: Say) -> dict[str, Any]:
    """Seconds a flow with one and with two CPU devices, in turns of processes."""
    seconds: dict[str, list[float]] = {"1": [], "2": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            for count, found in seconds.items():
                done = child(seeds=_DEVICE_SEEDS, turns=2, devices=int(count), cache=folder)
                found += [s / _DEVICE_SEEDS for s in done["later"]]
    say("  devices: " + ", ".join(f"{n}: {text.times(s)} a seed" for n, s in seconds.items()))
    return seconds


def section(data: dict[str, Any]) -> str:
    """This part of RESULTS.md."""
    rows = []
    for point in data["points"]:
        place = [point["axis"], f"{point['value']:,}", f"{point['flows']:,}"]
        spent = [text.times(point["seconds"]), text.range_of(point["seconds"])]
        rows.append([*place, *spent, text.number(point["steps"]), f"{point['sound']:.1%}"])
    parts = [
        "## Scaling of the ensemble",
        "SMALL with one thing changed at a time.",
        *(text.figure(drawing.name, drawing.title, drawing.caption) for drawing in drawings(data)),
    ]
    if one := data["devices"].get("1"):
        two = data["devices"]["2"]
        lines = [[n, text.times(s), text.range_of(s)] for n, s in data["devices"].items()]
        gain = text.number(ratio(one, two))
        parts += [
            f"{_DEVICE_SEEDS:,} seeds of SMALL on one and on two CPU devices (`jax_num_cpu_devices`), in processes of "
            f"their own that take turns: the second device makes it {gain} times as fast.",
            text.table(["devices", "time a seed", "spread"], lines),
        ]
    head = ["axis", "value", "seeds", "time a seed", "spread", "mean steps", "sound"]
    parts += ["<details><summary>All points</summary>", text.table(head, rows), "</details>"]
    return "\n\n".join(parts)


def drawings(data: dict[str, Any]) -> list[Drawing]:
    """One panel each for seeds, samples, and architecture."""
    groups = (("seeds",), ("samples, square", "samples, pseudo-Huber"), ("depth",), ("filter size",))
    shown = [group for group in groups if any(point["axis"] in group for point in data["points"])]
    with house_style():
        fig, panels = canvas(2 if len(shown) > 2 else 1, 2, 2.5)
        for axes, group in zip(panels, shown, strict=False):
            for i, axis in enumerate(group):
                style, own = look(i), [p for p in data["points"] if p["axis"] == axis]
                middle = [median(p["seconds"]) for p in own]
                bars = [spread(p["seconds"]) for p in own]
                below = [m - low for m, (low, _) in zip(middle, bars, strict=True)]
                above = [high - m for m, (_, high) in zip(middle, bars, strict=True)]
                axes.errorbar(
                    [p["value"] for p in own],
                    middle,
                    yerr=[below, above],
                    color=style.colour,
                    linestyle=style.line,
                    marker=style.marker,
                    markersize=4.5,
                    label=axis.partition(", ")[2] or None,
                )
            axes.set(xlabel=_AXES[group[0]][0], ylabel="time a seed (s)", yscale="log")
            if group[0] in ("seeds", "samples, square"):
                axes.set_xscale("log")
            else:
                axes.set_xticks([p["value"] for p in data["points"] if p["axis"] == group[0]])
            if len(group) > 1:
                axes.legend()
    caption = (
        "Medians, with the fastest and the slowest turn. Expected: more seeds fill the lanes, after which the time a "
        "seed is constant; the square loss does not see the number of samples, because the data are reduced to G, b "
        "and |y|, while pseudo-Huber costs in proportion to it once the samples outweigh the overhead a step; deeper "
        "and longer filters cost more steps and larger matrices. Seen, from the first to the last point of each axis: "
        + ", ".join(f"{axis} {_growth(data, axis)}" for group in shown for axis in group)
        + "."
    )
    return [Drawing("scaling", "Time a seed as the problem grows", fig, caption)]


def _growth(data: dict[str, Any], axis: str) -> str:
    """How many times as long a flow takes at the last point of an axis as at the first."""
    own = [point["seconds"] for point in data["points"] if point["axis"] == axis]
    return f"x {text.number(ratio(own[-1], own[0]))}"
