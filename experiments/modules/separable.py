"""Where do flows of margin losses go on data that the network can separate, and how fast?"""

from collections.abc import Callable

import numpy as np
import xarray as xr

from experiments.claims import Claim, balancedness_conserved, cell_by_cell, judge, restricted, risk_decreases, status_of
from experiments.computing.margins import largest_margin, margins_along
from experiments.figures.margins import margin_growth, norm_law, risk_law
from experiments.figures.networks import verdicts
from experiments.modules.base import Module, output_channels
from experiments.modules.cells import configured_cells
from experiments.questions import QUESTIONS
from experiments.results.layout import named_cells
from experiments.results.variables import NOT_COMPUTED, WITH_LIMIT
from experiments.schema import Configuration, SyntheticData
from experiments.schema.data import Labels
from experiments.schema.network import Dense
from experiments.sweeps.sweep import sweep_of_toml
from lcnn_flow import Verdict, verdict

Reason = verdict.Reason

__all__ = [
    "SEPARABLE",
    "directions_are_kkt_points",
    "margins_never_fall",
    "margins_reach_the_largest",
    "norm_follows_its_law",
    "others_converge",
    "risk_follows_its_law",
    "separated_flows_diverge",
]

_LATE = 0.5
"""Part of log t, at the end, in which powers are fitted."""
_FALL = 1e-6
"""Fall of the smoothed margin, relative to itself, that is an error of the integration."""
_ALIGNED = 0.99
_NEAR_THE_LARGEST = 0.05
_LEAST_STOP = 1e8


def _separable(cell: xr.Dataset, configuration: Configuration) -> bool | None:
    """Whether some parameters of the network separate the data of a cell; None if that is not known."""
    margin = float(cell["linear_margin"].max())
    if not margin > 0:
        return False if margin == 0 else None
    network, data = configuration.network, configuration.data
    if isinstance(network, Dense):
        return True  # every linear function of one output is attained
    labels = data.targets if isinstance(data, SyntheticData) else None
    own = isinstance(labels, Labels) and labels.flipped == 0 and labels.source.kind in ("planted", "cascade")
    kernels = [size for sizes in network.kernel_sizes for size in (sizes if isinstance(sizes, tuple) else (sizes,))]
    factors = len(kernels) == network.depth and sum(size % 2 == 0 for size in kernels) <= 1  # over the real numbers
    return True if own or (factors and network.strides == 1) else None


def _separated_cells(dataset: xr.Dataset) -> xr.DataArray:
    """For every cell: 1 if the network can separate its data, 0 if not, NaN if that is not known; over the axes."""
    known = xr.full_like(dataset["linear_margin"], np.nan, dtype=float)
    cells = sweep_of_toml(dataset.attrs["configuration"]).cells
    for (_, index), cell in zip(named_cells(dataset), cells, strict=True):
        answer = _separable(dataset.isel(index), cell.configuration)
        known[index] = np.nan if answer is None else float(answer)
    return known


def _flows_where(dataset: xr.Dataset, separable: bool) -> xr.Dataset | None:
    """The results with only the cells whose data are known to be separable, or known not to be."""
    wanted = (_separated_cells(dataset) == float(separable)).broadcast_like(dataset["verdict"])
    return restricted(dataset, wanted)


def _separate(dataset: xr.Dataset) -> xr.DataArray:
    """Which flows were ended because they separate the data."""
    return (dataset["verdict"] == int(Verdict.DIVERGED)) & (dataset["reason"] == int(Reason.SEPARATES))


def separated_flows_diverge(dataset: xr.Dataset) -> Claim | None:
    """Where the network can separate the data, flows separate them and end with the verdict DIVERGED."""
    here = _flows_where(dataset, separable=True)
    if here is None:
        return None
    separate = _separate(here)
    return judge(
        here,
        "On separable data every flow separates them and diverges",
        "verdict DIVERGED, reason SEPARATES, where the network can separate the data",
        status_of(separate, here["verdict"].isin(WITH_LIMIT)),
        here["final_risk"],
        "largest risk at the end {value}",
    )


def others_converge(dataset: xr.Dataset) -> Claim | None:
    """Where no filter separates the data, flows converge."""
    here = _flows_where(dataset, separable=False)
    if here is None:
        return None
    return judge(
        here,
        "On data that no filter separates every flow converges",
        "verdict CONVERGED, where the largest margin of all linear classifiers is 0",
        status_of(here["verdict"] == int(Verdict.CONVERGED), here["verdict"] == int(Verdict.DIVERGED)),
        here["final_gradient_norm"] / here["gradient_tolerance"],
        "largest gradient norm at the end {value} of the tolerance",
    )


def norm_follows_its_law(dataset: xr.Dataset) -> Claim | None:
    """In the late part of the flows |w| grows like the power 1/N of log t."""
    rows = []
    for name, cell, configuration in configured_cells(dataset):
        power = _powers_of_norm(cell)
        if power.size:
            wanted = 1 / configuration.network.depth
            near = np.abs(power / wanted - 1) <= _left_out(cell)
            text = f"power {power.min():.3f} to {power.max():.3f}, 1/N = {wanted:.3f}"
            rows.append((name, text, "agrees" if near.all() else "disagrees"))
    return cell_by_cell(
        "On separable data the norm grows like (log t)^(1/N)",
        f"power of log t in the late half of log t within {_left_out(dataset):.0%} of 1/N, of flows that separate: "
        "log log t / log t in the middle, the size of the next term",
        rows,
    )


def _powers_of_norm(cell: xr.Dataset) -> np.ndarray:
    """Powers of log t like which |w| grows in the late part of the flows of a cell that separate the data."""
    norm = cell["squared_norms"].sum("layer", min_count=1).transpose("seed", "time").values ** 0.5
    return _late_power(cell, np.log(norm), np.log)


def _left_out(dataset: xr.Dataset) -> float:
    """Size of the second term of the laws relative to the first, in the middle of the interval of the fits."""
    middle = (1 + _LATE) / 2 * np.log(float(dataset["time"][-1]))
    return float(np.log(middle) / middle)


def risk_follows_its_law(dataset: xr.Dataset) -> Claim | None:
    """In the late part of the flows that separate the data, the risk falls like the power -1 of t."""
    rows = []
    for name, cell, _ in configured_cells(dataset):
        power = _late_power(cell, np.log(cell["risk"].transpose("seed", "time").values), lambda log_time: log_time)
        if power.size:
            text = f"power {power.min():.3f} to {power.max():.3f}"
            near = np.abs(power + 1) <= _left_out(cell)
            rows.append((name, text, "agrees" if near.all() else "disagrees"))
    return cell_by_cell(
        "On separable data the risk falls like 1/t",
        f"power of t in the late half of log t within {_left_out(dataset):.2f} of −1, of flows that separate",
        rows,
    )


def _late_power(cell: xr.Dataset, logarithm: np.ndarray, abscissa: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Slopes of a logarithm, (seeds, times), against a function of log t, for flows that separate the data."""
    times = cell["time"].values
    late = (times > 0) & (np.log(np.maximum(times, 1.0)) >= _LATE * np.log(times[-1]))
    chosen = logarithm[_separate(cell).values][:, late]
    chosen = chosen[np.isfinite(chosen).all(axis=1)]
    return np.polyfit(abscissa(np.log(times[late])), chosen.T, 1)[0] if len(chosen) else np.zeros(0)


def margins_never_fall(dataset: xr.Dataset) -> Claim | None:
    """The smoothed normalised margin does not decrease along a flow once it is positive."""
    here = restricted(dataset, dataset["smoothed_margin"].notnull().any("time"))
    if here is None:
        return None
    margin = here["smoothed_margin"]
    fall = (-margin.diff("time") / margin.isel(time=slice(0, -1)).values).max("time").clip(min=0)
    return judge(
        here,
        "Once all margins are positive, the smoothed normalised margin never falls",
        f"fall from one stored time to the next at most {_FALL:.0e} of the margin",
        status_of(fall <= _FALL, fall > _FALL),
        fall,
        "largest fall {value}",
    )


def directions_are_kkt_points(dataset: xr.Dataset) -> Claim | None:
    """At a Karush-Kuhn-Tucker point of the margin problem w is a positive multiple of minus the gradient."""
    here = restricted(dataset, _separate(dataset))
    if here is None:
        return None
    missing = 1 - here["alignment"].isel(time=-1)
    return judge(
        here,
        "The direction tends to that of a KKT point of the margin problem",
        f"cosine between w and −∇L at the last stored time at least {_ALIGNED:g}, of flows that separate",
        status_of(missing <= 1 - _ALIGNED, missing > 1 - _ALIGNED),
        missing,
        "1 less the cosine at most {value}",
    )


def margins_reach_the_largest(dataset: xr.Dataset) -> Claim | None:
    """Normalised margins of dense networks reach the largest one, which follows from the support vectors."""
    if not bool(dataset["largest_normalized_margin"].notnull().any()):
        return None
    largest = dataset["largest_normalized_margin"]
    here = restricted(dataset, _separate(dataset) & (largest > 0))
    if here is None:
        return None
    share = here["normalized_margin"].isel(time=-1) / largest
    within = (share >= 1 - _NEAR_THE_LARGEST) & (share <= 1 + _FALL)
    return judge(
        here,
        "Dense networks find the largest margin",
        f"normalised margin at the last stored time within {_NEAR_THE_LARGEST:.0%} below γ / N^(N/2), γ the margin of "
        "the support vectors, and never above",
        status_of(within, ~within),
        1 - share,
        "below it by at most {value} of it",
    )


def _answer(dataset: xr.Dataset) -> str:
    """How many flows diverge on separable data, with which powers, and how many converge on other data."""
    parts = []
    if (here := _flows_where(dataset, separable=True)) is not None:
        text = f"{_share(here, _separate(here))} on separable data separate them and diverge"
        powers: dict[int, list[float]] = {}
        for _, cell, configuration in configured_cells(here):
            powers.setdefault(configuration.network.depth, []).extend(_powers_of_norm(cell))
        known = [(depth, found) for depth, found in powers.items() if found]
        laws = [f"{np.median(found):.2f} with {depth} layers (1/N = {1 / depth:.2f})" for depth, found in known]
        parts.append(f"{text}, their norms growing like log t to the power {' and '.join(laws)}" if laws else text)
    if (here := _flows_where(dataset, separable=False)) is not None:
        converged = here["verdict"] == int(Verdict.CONVERGED)
        parts.append(f"{_share(here, converged)} on data that no filter separates converge")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _share(dataset: xr.Dataset, flows: xr.DataArray) -> str:
    """ "all 24 flows" or "20 of 24 flows" of those that count."""
    counts = dataset["verdict"] != NOT_COMPUTED
    total, found = int(counts.sum()), int((flows & counts).sum())
    return f"all {total} flows" if found == total else f"{found} of {total} flows"


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    found = []
    if configuration.loss.kind not in ("logistic", "exponential"):
        message = f'found "{configuration.loss.kind}"; margins are those of kind = "logistic" or "exponential"'
        found.append(("loss.kind", message))
    times = configuration.flow.times
    if times is None or times.stop < _LEAST_STOP:
        message = f"the norm grows with log t: write times that reach at least stop = {_LEAST_STOP:g}"
        found.append(("flow.times", message))
    if output_channels(configuration) > 1:
        found.append(("network", "write one output channel, or widths that end in 1: a margin belongs to one filter"))
    return found


SEPARABLE = Module(
    name="separable",
    question=QUESTIONS["separable"],
    theory=(
        "Let z_i be the margins y_i f(x_i) and N the number of layers. Where a network separates the data, the risk of "
        "a margin loss has no minimum: once it is below that of every critical point, the flow is not bounded. Its "
        "norm then grows like (log t)^(1/N), the risk falls like 1/t up to powers of log t, the smoothed normalised "
        "margin q/‖w‖^N, with q = ρ⁻¹(L/min_i w_i), never falls, and every limit of w/‖w‖ is the direction of a "
        "Karush-Kuhn-Tucker point of: minimise ‖w‖²/2 subject to z_i ≥ 1 (Lyu and Li 2020). It need not be a minimum; "
        "of dense linear networks of one output it is the largest margin, that of the support vectors (Ji and "
        "Telgarsky 2019). The direction gets there like 1/log t, and what is conserved of the start fades with the "
        "growing norm alone: a small start shows the laws earlier. Where no filter separates the data, margin losses "
        "grow along all of them and flows converge."
    ),
    axes={
        "data.targets.flipped": "share of wrong labels, which no filter may separate",
        "loss": "logistic or exponential",
        "network": "other depths, convolutional or dense (each compiles anew)",
        "initializer.std": "initial scale",
    },
    figures=(norm_law, margin_growth, risk_law, verdicts),
    answer=_answer,
    claims=(
        separated_flows_diverge,
        others_converge,
        norm_follows_its_law,
        risk_follows_its_law,
        margins_never_fall,
        directions_are_kkt_points,
        margins_reach_the_largest,
        risk_decreases,
        balancedness_conserved,
    ),
    faults=_faults,
    per_cell=largest_margin,
    per_flow=margins_along,
    linear=True,
    dynamics="flow",
)
