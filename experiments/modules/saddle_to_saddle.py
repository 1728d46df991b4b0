"""How long does gradient flow stay near zero after a small start? Plateau times by initial scale and depth."""

import itertools
from typing import Any

import numpy as np
import xarray as xr

from experiments.claims import (
    Claim,
    balancedness_conserved,
    cell_by_cell,
    energy_identity,
    flow_converges,
    open_question,
    risk_decreases,
)
from experiments.computing.outer import outer_risk
from experiments.figures import risk
from experiments.figures.scaling import Line, scaling
from experiments.figures.style import Drawing
from experiments.modules.base import Module, convolution_of
from experiments.modules.cells import configured_cells
from experiments.questions import QUESTIONS
from experiments.schema import Configuration
from experiments.schema.configuration import Balanced

__all__ = ["SADDLE_TO_SADDLE", "plateau_times", "plateaus_last_as_long_as_the_theory_says", "top_singular_value"]

_SMALL = 1e-2
"""Initial scale from which on the laws are expected."""
_TOLERANCE = 0.1
_LEFT = 0.1
"""Share of the risk, of what the flow loses in all, at whose loss the plateau ends."""


def plateau_times(cell: xr.Dataset) -> np.ndarray:
    """Time at which every flow has lost a tenth of its total loss of risk; NaN if it is not reached; (seeds,).

    Between stored times the loss is interpolated linearly, its logarithm against time: on a plateau of two layers it
    grows exponentially.
    """
    times, values = cell["time"].values, cell["risk"].values
    lost = values[:, :1] - values
    wanted = _LEFT * (values[:, 0] - cell["limit_risk"].values)
    found = np.full(len(values), np.nan)
    for seed in range(len(values)):
        above = np.flatnonzero(lost[seed] >= wanted[seed])
        if not above.size or above[0] == 0 or not wanted[seed] > 0:
            continue
        after = above[0]
        low, high = lost[seed, after - 1], lost[seed, after]
        share = np.log(wanted[seed] / low) / np.log(high / low) if low > 0 else 1.0
        found[seed] = times[after - 1] + share * (times[after] - times[after - 1])
    return found


def top_singular_value(cell: xr.Dataset, configuration: Configuration) -> float:
    """Largest singular value of B_ij = pull_(i + S j) for two layers: the growth rate of small starts."""
    first, second = convolution_of(configuration).kernel_sizes
    strides = convolution_of(configuration).strides
    step = strides[0] if isinstance(strides, tuple) else strides
    pull = cell["pull"].values
    table = pull[np.arange(first)[:, None] + step * np.arange(second)[None, :]]
    return float(np.linalg.svd(table, compute_uv=False)[0])


def _scales(dataset: xr.Dataset) -> dict[tuple[Any, ...], list[tuple[float, xr.Dataset, Configuration]]]:
    """Groups of cells that differ only in their initial scale, the largest scale first."""
    groups: dict[tuple[Any, ...], list[tuple[float, xr.Dataset, Configuration]]] = {}
    for _, cell, configuration in configured_cells(dataset):
        if "risk" not in cell or not isinstance(configuration.initializer, Balanced):
            continue
        rest = configuration.model_copy(update={"initializer": None})
        key = (tuple(convolution_of(configuration).kernel_sizes), repr(rest))
        groups.setdefault(key, []).append((configuration.initializer.std, cell, configuration))
    return {key: sorted(found, key=lambda item: -item[0]) for key, found in groups.items()}


def plateaus_last_as_long_as_the_theory_says(dataset: xr.Dataset) -> Claim | None:
    """Neighbouring scales: longer by log(ratio)/sigma for two layers, as many times longer as ratio^(N-2) for more."""
    rows = []
    for (sizes, _), scales in _scales(dataset).items():
        depth = len(sizes)
        for (large, before, configuration), (small, after, _) in itertools.pairwise(scales):
            if large > _SMALL or depth < 2:
                continue
            first, second = plateau_times(before), plateau_times(after)
            name = f"{depth} layers, std {large:g} to {small:g}"
            if depth == 2:
                wanted = np.log(large / small) / top_singular_value(before, configuration)
                found, words = float(np.nanmedian(second - first)), "longer by"
            else:
                wanted = (large / small) ** (depth - 2)
                found, words = float(np.nanmedian(second / first)), "longer by the factor"
            text = f"{words} {found:.4g}, expected {wanted:.4g}"
            known = np.isfinite(found)
            good = known and abs(found / wanted - 1) <= _TOLERANCE
            rows.append((name, text, "agrees" if good else "disagrees" if known else "undecided"))
    return cell_by_cell(
        "Two layers stay near 0 for log(1/ε)/σ, N ≥ 3 layers for a time like ε^(2−N)",
        f"median over the seeds, between neighbouring scales from ε = {_SMALL:g} down, within {_TOLERANCE:.0%}",
        rows,
        "pairs of scales",
    )


def plateaus_on_the_way(dataset: xr.Dataset) -> Claim | None:
    """Number of further plateaus of the flows with the smallest initial scale."""
    rows = []
    for (sizes, _), scales in _scales(dataset).items():
        _, cell, _ = scales[-1]
        counts = [_steps(values) for values in cell["risk"].values if np.isfinite(values).all()]
        if counts:
            ends = " to ".join(str(count) for count in sorted({min(counts), max(counts)}))
            rows.append((f"{len(sizes)} layers", f"{ends} steps down of a tenth of the risk or more"))
    if not rows:
        return None
    return open_question("Further plateaus of the smallest starts", "; ".join(": ".join(row) for row in rows), rows)


def _steps(values: np.ndarray) -> int:
    """Number of decreases of the risk between levels; on a level it changes by less than 1% over 5% of a decade."""
    lost = (values[0] - values) / max(values[0] - values[-1], np.finfo(float).tiny)
    moving = np.diff(lost) > 0.01
    ends = np.flatnonzero(np.diff(np.concatenate([[0], moving.astype(int), [0]])))
    return int(sum(lost[b] - lost[a] >= _LEFT for a, b in zip(ends[::2], ends[1::2], strict=True)))


def saddle_answer(dataset: xr.Dataset) -> str:
    """Median plateau times at the smallest scale."""
    parts = []
    for (sizes, _), scales in _scales(dataset).items():
        (large, first, _), (small, last, _) = scales[0], scales[-1]
        times = [float(np.nanmedian(plateau_times(cell))) for cell in (first, last)]
        parts.append(f"{len(sizes)} layers {times[0]:.3g} at std {large:g} and {times[1]:.3g} at std {small:g}")
    return f"Median time until a tenth of the risk is lost: {'; '.join(parts)}." if parts else "No trajectories."


def plateau_figure(dataset: xr.Dataset) -> Drawing | None:
    """Plateau times against the initial scale, with the laws of the theory through the smallest one."""
    lines = []
    for (sizes, _), scales in _scales(dataset).items():
        std = np.array([s for s, _, _ in scales])
        times = np.array([float(np.nanmedian(plateau_times(cell))) for _, cell, _ in scales])
        if len(sizes) == 2:
            _, cell, configuration = scales[-1]
            expected = times[-1] + np.log(std[-1] / std) / top_singular_value(cell, configuration)
        else:
            expected = times[-1] * (std[-1] / std) ** (len(sizes) - 2)
        lines.append(Line(f"{len(sizes)} layers", std, times, np.where(expected > 0, expected, np.nan)))
    if not lines:
        return None
    return scaling(
        "plateau_times",
        "Time near zero",
        "initial scale ε (std of the balanced start)",
        "flow time until a tenth of the risk is lost",
        [("", lines)],
        "Median over the seeds. Dashed: the laws of the theory through the smallest scale, log(1/ε)/σ + const for two "
        "layers, const · ε^(2−N) for N of them. They are expected where ε is small.",
    )


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    faults = []
    if configuration.flow.times is None:
        faults.append(("flow.times", "missing; plateaus are seen along the flow, give times that reach beyond them"))
    if not isinstance(configuration.initializer, Balanced):
        faults.append(("initializer.kind", 'the laws are those of balanced starts: write kind = "balanced"'))
    if convolution_of(configuration).channels is not None or len(convolution_of(configuration).kernel_sizes) < 2:
        faults.append(("network", "write two layers or more, of a single channel"))
    return faults


SADDLE_TO_SADDLE = Module(
    name="saddle_to_saddle",
    question=QUESTIONS["saddle_to_saddle"],
    theory=(
        "At 0 all filters vanish, a saddle. Near it L = L(0) − b · v + …, with the pull b = −dl/dv, a form of degree N "
        "in the filters. Two layers: the flow is linear, w_1' = B w_2, w_2' = Bᵀ w_1, and grows like e^(σt), σ the "
        "largest singular value of B, so that a start of scale ε leaves after log(1/ε)/σ, up to a constant. N ≥ 3 "
        "layers: the flow is homogeneous of degree N − 1, w(t) = ε u(ε^(N−2) t), so that it leaves after a time like "
        "ε^(2−N). What follows, further saddles or none, is open."
    ),
    axes={
        "initializer.std": "initial scale (one compiled program for each network)",
        "network.kernel_sizes": "depth (each compiles anew)",
    },
    figures=(plateau_figure, risk),
    answer=saddle_answer,
    claims=(
        plateaus_last_as_long_as_the_theory_says,
        plateaus_on_the_way,
        risk_decreases,
        flow_converges,
        balancedness_conserved,
        energy_identity,
    ),
    faults=_faults,
    per_cell=outer_risk,
    linear=True,
    convolution=True,
    dynamics="flow",
)
