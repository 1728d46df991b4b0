"""Error against time a seed for six integrators: of the limit, and of w(t) at given times.

All six run the same program: diffrax's loop over a fixed batch of seeds, on the Gram form, without polish. The
ensemble is shown beside them for the limit, at several tolerances, polished and not.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import lcnn_flow as lf
from benchmarks import peer_codes, references, text
from benchmarks.diffrax_flow import arrive, gram_gradient
from benchmarks.problems import GRADIENT_NORM, flows, matrix, named, starts
from benchmarks.timing import Candidate, Say, in_turns, median, warm_up
from experiments.figures.style import Drawing, canvas, house_style, look

__all__ = ["drawings", "measure", "section"]

_SOLVERS = {
    "Rodas4": lf.solvers.Rodas4(),
    "Rodas5P": lf.solvers.Rodas5P(),
    "Kvaerno3": diffrax.Kvaerno3(),
    "Kvaerno5": diffrax.Kvaerno5(),
    "Tsit5": diffrax.Tsit5(),
    "Dopri8": diffrax.Dopri8(),
}
_ENSEMBLES = {"ensemble, polished": {"polish": True}, "ensemble, polish=False": {"polish": False}}
_NOT_SHOWN = {("MEDIUM", "ensemble, polish=False")}
"""Left out to save a minute: without polish the ensemble integrates to tighter and tighter tolerances there."""
_RTOLS = {"SMALL": (1e-3, 1e-5, 1e-7, 1e-9), "ILL": (1e-3, 1e-5, 1e-7, 1e-9), "MEDIUM": (1e-3, 1e-5, 1e-7)}
_ATOL_SHARE = 0.05
"""atol = rtol times a tenth of the typical initial entry, as the library has it."""
_TIMES = np.geomspace(1e-2, 1e2, 13)
_MAX_TIME = 1e8
_MAX_STEPS = 16384
_BATCH = 8
_ENSEMBLE_SEEDS = 64
_TURNS = 3
_PATIENCE = 0.5
_GOOD = {"limit": 1e-5, "w(t)": 1e-6}
"""Errors at which captions compare methods."""
_LOOKS = {name: look(i) for i, name in enumerate(_SOLVERS)} | dict(zip(_ENSEMBLES, (look(6), look(13)), strict=True))
"""The ensembles share a colour that none of the solvers has."""
_QUICK = {"SMALL": (1e-3, 1e-6)}, {"Rodas4": _SOLVERS["Rodas4"], "Tsit5": _SOLVERS["Tsit5"]}


@partial(jax.jit, static_argnums=(0, 1))
def _integrate(
    arch: Any, solver: Any, batch: int, moments: Any, rtol: float, end_time: Any, gradient_norm: Any, times: Any
) -> Any:
    gradient = gram_gradient(arch)

    def one(start: Any) -> Any:
        atol = _ATOL_SHARE * rtol
        return arrive(gradient, solver, start, moments, rtol, atol, end_time, gradient_norm, _MAX_STEPS, times)

    return jax.vmap(one)(batch)


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """Points of every curve: problem, quantity, method, rtol, seconds a flow a turn, errors, unfinished seeds."""
    tolerances, solvers = _QUICK if quick else (_RTOLS, _SOLVERS)
    truth, candidates, keys = {}, [], {}
    for name, rtols in tolerances.items():
        risk = named(name)
        form, vectors = peer_codes.numpy_form(risk), matrix(starts(risk.arch, _ENSEMBLE_SEEDS))
        limits = references.limits(form, vectors).vectors
        truth[name] = limits, references.trajectories(form, vectors[:_BATCH], _TIMES)
        say(f"  references of {name}")
        for key, candidate in _candidates(name, form, vectors, {} if quick else _ENSEMBLES, solvers, rtols):
            keys[candidate.name] = key
            candidates.append(candidate)
    results = warm_up(candidates, say)
    seconds = in_turns(candidates, 1 if quick else _TURNS, _PATIENCE)
    points = []
    for label, (name, quantity, method, rtol) in keys.items():
        errors = _errors(quantity, results[label], *truth[name])
        finite = errors[np.isfinite(errors)]
        point = {"problem": name, "quantity": quantity, "method": method, "rtol": rtol, "seconds": seconds[label]}
        point |= {"flows": errors.size, "unfinished": int(errors.size - finite.size)}
        point["error"] = float(np.median(finite)) if finite.size else None
        point["largest"] = float(np.max(finite)) if finite.size else None
        points.append(point)
    return {"points": points, "batch": _BATCH, "max_steps": _MAX_STEPS, "times": list(_TIMES)}


def _candidates(
    name: str, form: Any, vectors: np.ndarray, ensembles: dict[str, Any], solvers: dict[str, Any], rtols: Any
) -> Iterator[tuple[Any, ...]]:
    """((problem, quantity, method, rtol), candidate) for every point of one problem."""
    risk = named(name)
    batch, moments = jnp.asarray(vectors[:_BATCH]), (jnp.asarray(form.gram), jnp.asarray(form.moment))
    params = starts(risk.arch, _ENSEMBLE_SEEDS)
    for rtol in rtols:
        for method, solver in solvers.items():
            for quantity, ends in {"limit": (_MAX_TIME, GRADIENT_NORM), "w(t)": (float(_TIMES[-1]), -1.0)}.items():
                run = partial(_finished, _integrate, risk.arch, solver, batch, moments, rtol, *ends, _TIMES)
                label = f"{name}, {quantity}, {method}, rtol = {rtol:g}"
                yield (name, quantity, method, rtol), Candidate(label, run, _BATCH)
        for method, options in ensembles.items():
            if (name, method) in _NOT_SHOWN:
                continue
            run = partial(flows, risk, params, rtol=rtol, max_steps=_MAX_STEPS, **options)
            label = f"{name}, {method}, rtol = {rtol:g}"
            yield (name, "limit", method, rtol), Candidate(label, run, _ENSEMBLE_SEEDS)


def _finished(function: Callable[..., Any], *args: Any) -> Any:
    return jax.block_until_ready(function(*args))


def _errors(quantity: str, result: Any, limits: np.ndarray, paths: np.ndarray) -> np.ndarray:
    """Error of every seed; NaN where it did not finish."""
    if isinstance(result, lf.Flow):
        done = np.isin(result.verdict, [lf.Verdict.CONVERGED, lf.Verdict.AT_SADDLE, lf.Verdict.DEGENERATE])
        return np.where(done, np.linalg.norm(matrix(result.limit) - limits, axis=1), np.nan)
    if quantity == "limit":
        error = np.linalg.norm(result.end - limits[: len(result.end)], axis=1)
    else:
        error = np.max(np.linalg.norm(result.saved - paths, axis=2), axis=1)
    return np.where(result.arrived, error, np.nan)


def section(data: dict[str, Any]) -> str:
    """This part of RESULTS.md."""
    rows = []
    for point in data["points"]:
        if point["rtol"] in (1e-3, 1e-7):
            place = [point["problem"], point["quantity"], point["method"], f"{point['rtol']:g}"]
            errors = [text.error(point["error"]), text.error(point["largest"])]
            rows.append([*place, text.times(point["seconds"]), *errors, f"{point['unfinished']} of {point['flows']}"])
    head = ["problem", "of", "method", "rtol", "time a seed", "median error", "largest error", "seeds unfinished"]
    parts = [
        "## Work and precision",
        "Error of the limit and of w(t) against time a seed. The six integrators run under diffrax on the Gram form, "
        f"{data['batch']} seeds under one vmap, atol = {_ATOL_SHARE:g} rtol, at most {data['max_steps']} steps; the "
        f"ensemble runs {_ENSEMBLE_SEEDS} seeds with its own loop and Hessian (Rodas4), with and without Newton's "
        "method at the end, so its times a seed are not those of the integrator alone. References: CVODE at 1e-10 and "
        "Newton's method for limits, Radau at 1e-12 for w(t).",
        *(text.figure(drawing.name, drawing.title, drawing.caption) for drawing in drawings(data)),
        "<details><summary>Numbers at two tolerances</summary>",
        text.table(head, rows),
        "</details>",
    ]
    return "\n\n".join(parts)


def drawings(data: dict[str, Any]) -> list[Drawing]:
    """A panel a problem and quantity."""
    problems = list(dict.fromkeys(point["problem"] for point in data["points"]))
    methods = list(dict.fromkeys(point["method"] for point in data["points"]))
    with house_style():
        fig, panels = canvas(2, len(problems), 2.9)
        for row, (quantity, label) in enumerate((("limit", "error of the limit"), ("w(t)", "largest error of w(t)"))):
            for column, name in enumerate(problems):
                axes = panels[row * len(problems) + column]
                for method in methods:
                    own = [p for p in data["points"] if (p["problem"], p["quantity"]) == (name, quantity)]
                    _curve(axes, [p for p in own if p["method"] == method], _LOOKS[method], method)
                axes.set(xscale="log", yscale="log", ylim=_error_range(data, quantity), title=name)
                if column == 0:
                    axes.set_ylabel(f"{label}\n(units of filters)")
                if row == 1:
                    axes.set_xlabel("time a seed (s)")
        fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    caption = (
        "Left and down is better; each curve runs over rtol. Crosses at the top: points where no seed finished within "
        "the steps allowed, at the time that they took; hollow markers: where some did not. Expected: explicit methods "
        "take steps of 1/curvature throughout, so to the limit they run out of steps and their cost does not depend on "
        "rtol; implicit ones do not, and high order pays for tight tolerances. Polished limits are exact to rounding "
        "whatever rtol, which only has to pick the right limit; the others cannot be closer than where the gradient is "
        "small enough, |grad L| / smallest curvature, whatever rtol. "
        f"Seen: the fastest to an error of {_GOOD['limit']:g} of the limit and of {_GOOD['w(t)']:g} of w(t) under "
        f"diffrax are, {'; '.join(_fastest(data, name) for name in problems)}."
    )
    return [Drawing("work_precision", "Error against work", fig, caption)]


def _error_range(data: dict[str, Any], quantity: str) -> tuple[float, float]:
    """Limits of the error axis, the same for all problems, with room for the crosses at the top."""
    errors = [point["error"] for point in data["points"] if point["quantity"] == quantity and point["error"]]
    return (min(errors) / 5, max(errors) * 50) if errors else (1e-12, 1.0)


def _fastest(data: dict[str, Any], problem: str) -> str:
    """Which integrator is the first to an error of 1e-6 in w(t) on `problem`, and to the limit."""
    found = []
    for quantity in ("limit", "w(t)"):
        good = [
            point
            for point in data["points"]
            if (point["problem"], point["quantity"]) == (problem, quantity)
            and point["method"] in _SOLVERS
            and point["error"] is not None
            and not point["unfinished"]
            and point["error"] <= _GOOD[quantity]
        ]
        if good:
            best = min(good, key=lambda point: median(point["seconds"]))
            spent = text.times(best["seconds"])
            found.append(f"{best['method']} for {quantity} ({spent} a seed)")
    return f"on {problem} " + (" and ".join(found) or "none within the steps allowed")


def _curve(axes: Any, points: list[dict[str, Any]], style: Any, label: str) -> None:
    """One method; unfinished points are marked apart."""
    done = [p for p in points if p["error"] is not None]
    x, y = [median(p["seconds"]) for p in done], [p["error"] for p in done]
    shape = {"color": style.colour, "marker": style.marker, "markersize": 4.5}
    axes.plot(x, y, linestyle=style.line, label=label, **shape)
    part = [i for i, p in enumerate(done) if p["unfinished"]]
    axes.plot([x[i] for i in part], [y[i] for i in part], linestyle="none", markerfacecolor="white", **shape)
    lost = [median(p["seconds"]) for p in points if p["error"] is None]
    axes.plot(lost, [0.97] * len(lost), "x", color=style.colour, markersize=6, transform=axes.get_xaxis_transform())
