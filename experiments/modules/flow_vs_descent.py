"""How far does gradient descent go from the gradient flow of the same start, at the same time?"""

import numpy as np
import xarray as xr

from experiments.answers import few
from experiments.claims import Claim, flow_converges, gradient_vanishes, judge, restricted, status_of
from experiments.computing.flow_comparison import compare_with_flow, law_of_balancedness
from experiments.computing.solved_cell import SolvedCell
from experiments.figures import distance, gradient_norm, risk, sharpness
from experiments.modules.base import Module
from experiments.questions import QUESTIONS
from experiments.results.rates import groups_by_rate
from experiments.schema import Configuration

__all__ = ["FLOW_VS_DESCENT", "balancedness_obeys_its_law", "distance_has_order_one"]

_ORDER_TOLERANCE = 0.1
_LAW_TOLERANCE = 1e-13
"""In float64, relative to the largest squared norm of a layer."""


def _largest_distance(cell: xr.Dataset, times: np.ndarray) -> np.ndarray:
    """Largest distance of each descent of a cell from the flow over `times`; NaN if the descent ended early.

    Between stored steps the distance is interpolated linearly, so that other learning rates are seen at equal times.
    """
    own = cell["learning_time"].values
    return np.asarray([np.interp(times, own, row).max() for row in cell["distance_to_flow"].values])


def _common_times(cells: list[tuple[float, xr.Dataset]]) -> np.ndarray:
    """Stored times of the cell with the largest learning rate, up to a time that all cells reach."""
    until = min(float(cell["learning_time"].isel(time=-1)) for _, cell in cells)
    times = cells[0][1]["learning_time"].values
    return times[times <= until * (1 + 1e-9)]


def distance_has_order_one(dataset: xr.Dataset) -> Claim | None:
    """Median over the seeds of log(d_1/d_2) / log(eta_1/eta_2), of the two smallest learning rates of plain descent."""
    rows, orders = [], []
    for name, cells in groups_by_rate(dataset):
        plain = [(rate, cell) for rate, cell in cells if "law_defect" in cell and _has_law(cell)]
        if len(plain) < 2:
            continue
        (coarse, first), (fine, second) = plain[-2:]
        times = _common_times(plain[-2:])
        gaps = _largest_distance(first, times), _largest_distance(second, times)
        order = np.log(gaps[0] / gaps[1]) / np.log(coarse / fine)
        order = order[np.isfinite(order)]
        if not order.size:
            rows.append((name, "no descent has a distance from its flow", "undecided"))
            continue
        middle = float(np.median(order))
        text = f"order {middle:.3f} from η = {coarse:g} to {fine:g} ({order.min():.2f} to {order.max():.2f})"
        rows.append((name, text, "agrees" if abs(middle - 1) <= _ORDER_TOLERANCE else "disagrees"))
        orders.append(middle)
    if not rows:
        return None
    conclusions = [row[2] for row in rows]
    worst = next((word for word in ("disagrees", "undecided") if word in conclusions), "agrees")
    found = f"median order {min(orders):.3f} to {max(orders):.3f}" if len(orders) > 1 else rows[0][1]
    statement = "The distance of gradient descent from the flow is of order one in the learning rate"
    expected = f"median over the starts of the order within {_ORDER_TOLERANCE:g} of 1, at the two smallest rates"
    return Claim(statement, expected, found, worst, tuple(rows))


def balancedness_obeys_its_law(dataset: xr.Dataset) -> Claim | None:
    """Every one of the first steps changes the balancedness by eta^2/2 (|g_l|^2 - |g_l+1|^2) to rounding."""
    if "law_defect" not in dataset:
        return None
    here = restricted(dataset, dataset["law_defect"].notnull())
    if here is None:
        return None
    double = '"x64": false' not in dataset.attrs["manifest"]
    tolerance = _LAW_TOLERANCE if double else 1e-4
    defect, change = here["law_defect"], float(here["law_change"].median())
    return judge(
        here,
        "Each step changes the balancedness as the law says",
        f"change less η²/2 (‖g_l‖² − ‖g_(l+1)‖²) at most {tolerance:.0e} of the largest ‖w_l‖², step by step",
        status_of(defect <= tolerance, defect > tolerance),
        defect,
        f"largest error {{value}}, where the balancedness itself changes by up to {change:.1e} per step (median)",
    )


def _has_law(cell: xr.Dataset) -> bool:
    """Whether plain gradient descent was run in this cell; other optimisers do not obey the law."""
    return bool(cell["law_defect"].notnull().any())


def _answer(dataset: xr.Dataset) -> str:
    """Median of the largest distances for every rate."""
    parts = []
    for name, cells in groups_by_rate(dataset):
        found = [(rate, _largest_distance(cell, _common_times(cells))) for rate, cell in cells]
        gaps = [(rate, np.nanmedian(gap)) for rate, gap in found if np.isfinite(gap).any()]
        words = ", ".join(f"{gap:.2g} for η = {rate:g}" for rate, gap in gaps)
        parts.append(f"{'' if name == 'all descents' else f'{name}: '}{words}" if words else "")
    shown = few([part for part in parts if part])
    return f"Median over the starts of the largest distance from the flow, at common times: {shown}." if shown else ""


def _per_flow(cell: SolvedCell) -> dict[str, np.ndarray]:
    return compare_with_flow(cell) | law_of_balancedness(cell)


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    descent = configuration.descent
    if descent is not None and descent.records < 3:
        message = "missing; distances are seen at the recorded steps alone: write at most half of dynamics.steps"
        return [("dynamics.record_every", message)]
    return []


FLOW_VS_DESCENT = Module(
    name="flow_vs_descent",
    question=QUESTIONS["flow_vs_descent"],
    theory=(
        "Gradient descent w − η∇L(w) is Euler's method for the gradient flow w' = −∇L(w), at the times t = kη. On "
        "every bounded stretch of time its distance from the flow is of the order η: half the learning rate halves "
        "it. What the flow conserves the descent does not: one step changes the balancedness (‖w_l‖² − ‖w_(l+1)‖²)/2 "
        "by exactly η²/2 (‖g_l‖² − ‖g_(l+1)‖²), g the gradient, so that the drift over a stretch of time is of the "
        "order η too. Momentum m goes 1/(1 − m) times as fast as the flow, and the steps of Adam have no size of "
        "their own: their distance from the flow shows how they differ, and no order is expected of it."
    ),
    axes={
        "dynamics.optimizer.learning_rate": "the order (one compiled program)",
        "dynamics.optimizer": "other optimisers (each compiles anew)",
        "initializer.std": "size of the initial filters",
        "network.activation": "other networks (each compiles anew)",
    },
    figures=(distance, risk, sharpness, gradient_norm),
    answer=_answer,
    claims=(distance_has_order_one, balancedness_obeys_its_law, gradient_vanishes, flow_converges),
    faults=_faults,
    dynamics="descent",
    observables=("sharpness",),
    per_flow=_per_flow,
)
