"""What do gradient descent, momentum and Adam leave of what the gradient flow conserves?"""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from experiments.answers import few
from experiments.claims import Claim, cell_by_cell, judge, restricted, status_of
from experiments.computing.flow_comparison import COMPARISON_RTOL, compare_conservation
from experiments.figures import gradient_norm, risk
from experiments.figures.scaling import Line, scaling
from experiments.figures.style import Drawing
from experiments.modules.base import Module
from experiments.modules.flow_vs_descent import balancedness_obeys_its_law
from experiments.networks import architecture, may_conserve
from experiments.questions import QUESTIONS
from experiments.results.layout import named_cells, sweep_axes
from experiments.schema import Configuration
from experiments.sweeps.sweep import sweep_of_toml
from lcnn_flow import ArchitectureError

__all__ = [
    "CONSERVATION",
    "drift_has_order_one",
    "other_steps_miss_the_law",
    "sign_like_steps_do_not_conserve",
    "the_flow_conserves",
]

_GRADIENT_LIKE = ("sgd", "momentum", "nesterov")
"""Optimisers whose steps are sums of past gradients: as the rate tends to 0 they follow the flow."""
_ORDER_TOLERANCE = 0.1
_FLAT = 0.25
"""Order in the learning rate below which a drift does not vanish with it."""
_MISSES = 1e-2
_FLOW_DRIFT = 1e3
"""Times the tolerance of the integration."""

Group = tuple[str, str, list[tuple[float, xr.Dataset]]]


def _groups(dataset: xr.Dataset) -> Iterator[Group]:
    """Groups of cells that differ only in the rate: kind of the optimiser, name, and cells with decreasing rates."""
    axes = sweep_axes(dataset)
    rest = [axis for axis in axes if not str(dataset[axis].attrs.get("path", "")).startswith("dynamics.optimizer")]
    found: dict[tuple[str, ...], list[tuple[float, xr.Dataset]]] = {}
    made = sweep_of_toml(dataset.attrs["configuration"]).cells
    for (_, index), one in zip(named_cells(dataset), made, strict=True):
        cell, descent = dataset.isel(index), one.configuration.descent
        assert descent is not None
        if "flow_drift" not in cell or not bool(cell["flow_drift"].notnull().any()):
            continue
        numbers = descent.optimizer.model_dump(exclude={"kind", "learning_rate"})
        key = (descent.optimizer.kind, ", ".join(str(dataset[axis].values[index[axis]]) for axis in rest), str(numbers))
        found.setdefault(key, []).append((descent.optimizer.learning_rate, cell))
    for (kind, name, _), cells in found.items():
        yield kind, name, sorted(cells, key=lambda pair: -pair[0])


def _drifts(cells: list[tuple[float, xr.Dataset]]) -> list[tuple[float, np.ndarray]]:
    """For every cell its learning rate, and the largest change of the balancedness up to a time that all cells reach.

    Relative to the largest squared norm of a layer; NaN where a descent broke off before.
    """
    until = min(float(cell["learning_time"].isel(time=-1)) for _, cell in cells)
    found = []
    for rate, cell in cells:
        seen = cell["learning_time"].values <= until * (1 + 1e-9)
        balance = cell["balancedness"].transpose("seed", "time", "interface").values[:, seen]
        squares = cell["squared_norms"].transpose("seed", "time", "layer").values[:, seen]
        balance = balance[..., ~np.isnan(balance).all(axis=(0, 1))]
        moved = 2 * np.abs(balance - balance[:, :1]).max(axis=(1, 2))  # stored with the factor 1/2
        found.append((rate, moved / np.nanmax(squares, axis=(1, 2))))
    return found


def _orders(cells: list[tuple[float, xr.Dataset]]) -> np.ndarray:
    """log(d_1/d_2) / log(eta_1/eta_2) of every start, at the two smallest rates."""
    (coarse, first), (fine, second) = _drifts(cells)[-2:]
    order = np.log(first / second) / np.log(coarse / fine)
    return order[np.isfinite(order)]


def the_flow_conserves(dataset: xr.Dataset) -> Claim | None:
    """The flow from the same start changes the balancedness only by its integration error."""
    if "flow_drift" not in dataset:
        return None
    here = restricted(dataset, dataset["flow_drift"].notnull())
    if here is None:
        return None
    precision = "float32" if '"x64": false' in dataset.attrs["manifest"] else "float64"
    tolerance = _FLOW_DRIFT * COMPARISON_RTOL[precision]
    drift = here["flow_drift"]
    return judge(
        here,
        "The flow conserves the balancedness",
        f"change at most {tolerance:.0e} of the largest ‖w_l‖², the error of the integration",
        status_of(drift <= tolerance, drift > tolerance),
        drift,
        "largest change {value}",
    )


def drift_has_order_one(dataset: xr.Dataset) -> Claim | None:
    """Median order of the drift in the learning rate, of plain descent and of momentum."""
    rows = []
    for kind, name, cells in _groups(dataset):
        if kind in _GRADIENT_LIKE and len(cells) > 1:
            order = _orders(cells)
            word = "agrees" if order.size and abs(np.median(order) - 1) <= _ORDER_TOLERANCE else "disagrees"
            rows.append((_called(kind, name), _range_of(order), word if order.size else "undecided"))
    return cell_by_cell(
        "The drift of plain descent and of momentum is of order one in the learning rate",
        f"median over the starts of the order within {_ORDER_TOLERANCE:g} of 1, at the two smallest rates",
        rows,
        "optimisers",
    )


def sign_like_steps_do_not_conserve(dataset: xr.Dataset) -> Claim | None:
    """The drift of optimisers that scale every entry of the gradient does not vanish with the learning rate."""
    rows = []
    for kind, name, cells in _groups(dataset):
        if kind not in _GRADIENT_LIKE and len(cells) > 1:
            order = _orders(cells)
            word = "agrees" if order.size and np.median(order) <= _FLAT else "disagrees"
            last = float(np.nanmedian(_drifts(cells)[-1][1]))
            text = f"{_range_of(order)}; drift {last:.2g} at η = {cells[-1][0]:g}"
            rows.append((_called(kind, name), text, word if order.size else "undecided"))
    return cell_by_cell(
        "The drift of optimisers that scale every entry of the gradient does not vanish with the learning rate",
        f"median over the starts of the order at most {_FLAT:g}, at the two smallest rates",
        rows,
        "optimisers",
    )


def other_steps_miss_the_law(dataset: xr.Dataset) -> Claim | None:
    """Steps of other optimisers than plain descent do not change the balancedness as its law says."""
    rows = []
    for kind, name, cells in _groups(dataset):
        if kind != "sgd":
            miss = [float(np.nanmedian(cell["law_miss"].values)) for _, cell in cells]
            text = f"median error {min(miss):.2g} to {max(miss):.2g} of the change"
            rows.append((_called(kind, name), text, "agrees" if min(miss) > _MISSES else "disagrees"))
    return cell_by_cell(
        "Steps of other optimisers do not obey the law of plain descent",
        f"largest error of the law above {_MISSES:g} of the largest change per step, in the median over the starts",
        rows,
        "optimisers",
    )


def _called(kind: str, name: str) -> str:
    return f"{kind}, {name}" if name else kind


def _range_of(order: np.ndarray) -> str:
    if not order.size:
        return "no start has a drift"
    return f"order {np.median(order):.3f} ({order.min():.2f} to {order.max():.2f})"


def _answer(dataset: xr.Dataset) -> str:
    """Median drifts of every optimiser at the largest and at the smallest rate, and the drift of the flow."""
    parts = []
    for kind, name, cells in _groups(dataset):
        ends = [(rate, float(np.nanmedian(drift))) for rate, drift in _drifts(cells)]
        words = " to ".join(f"{drift:.2g} at η = {rate:g}" for rate, drift in dict.fromkeys((ends[0], ends[-1])))
        parts.append(f"{_called(kind, name)} {words}")
    if not parts:
        return "No descent was computed."
    flow = float(dataset["flow_drift"].max())
    words = f"Median drift of the balancedness up to a common time: {few(parts)}"
    return f"{words}; the flow moves it by at most {flow:.1g}."


def drift_figure(dataset: xr.Dataset) -> Drawing | None:
    """Drift up to a common time against the learning rate, both logarithmic, with the slope 1."""
    shown: dict[str, list[Line]] = {}
    for kind, name, cells in _groups(dataset):
        drifts = _drifts(cells)
        rates = np.array([rate for rate, _ in drifts])
        middle = np.array([np.nanmedian(drift) for _, drift in drifts])
        expected = middle[-1] * rates / rates[-1] if kind in _GRADIENT_LIKE else None
        shown.setdefault(name, []).append(Line(kind, rates, middle, expected))
        if kind == "sgd":
            flow = np.array([np.nanmedian(cell["flow_drift"].values) for _, cell in cells])
            shown[name].append(Line("flow", rates, np.maximum(flow, 1e-17)))
    if not shown:
        return None
    return scaling(
        "drift",
        "Drift of the balancedness",
        "learning rate η",
        r"largest change of $\|w_l\|^2 - \|w_{l+1}\|^2$",
        list(shown.items()),
        "Largest change of the balancedness up to the time, in sums of learning rates, that all rates reach, relative "
        "to the largest ‖w_l‖², medians over the starts; for the flow the error of its integration. The theory expects "
        "the dashed slope 1 of plain descent and of momentum, and a drift that stays of Adam and its like.",
    )


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    descent, found = configuration.descent, []
    assert descent is not None
    if descent.batch_size is not None:
        found.append(("dynamics.batch_size", "the law is that of full gradients: leave it out"))
    if descent.records < 3:
        message = "missing; the drift is seen at the recorded steps alone: write at most half of dynamics.steps"
        found.append(("dynamics.record_every", message))
    try:
        network = architecture(configuration)
    except ArchitectureError:
        return found  # a fault of its own
    if not may_conserve(network) or network.bias or network.depth < 2:
        message = "its flow conserves no balance of layers: write two layers or more, without biases, linear or relu"
        found.append(("network", message))
    return found


CONSERVATION = Module(
    name="conservation",
    question=QUESTIONS["conservation"],
    theory=(
        "The gradient flow conserves the balancedness (‖w_l‖² − ‖w_(l+1)‖²)/2, because all layers are rescaled into "
        "each other. A step of plain descent changes it by exactly η²/2 (‖g_l‖² − ‖g_(l+1)‖²), g the gradient: up to a "
        "fixed time, a sum of learning rates, that adds up to a drift of the order η. A step of momentum is a sum of "
        "past gradients, taken at other points: it obeys no such law, but as η tends to 0 it follows the flow, "
        "1/(1 − m) times as fast, so that its drift is of the order η too. Adam and its like divide every entry of the "
        "gradient by its size; what they follow as η tends to 0 is no gradient flow and conserves no balancedness."
    ),
    axes={
        "dynamics.optimizer": "optimisers and their learning rates (one compiled program per kind)",
        "initializer.std": "initial scale",
        "network.kernel_sizes": "other depths (each compiles anew)",
    },
    figures=(drift_figure, risk, gradient_norm),
    answer=_answer,
    claims=(
        the_flow_conserves,
        balancedness_obeys_its_law,
        drift_has_order_one,
        other_steps_miss_the_law,
        sign_like_steps_do_not_conserve,
    ),
    faults=_faults,
    dynamics="descent",
    per_flow=compare_conservation,
)
