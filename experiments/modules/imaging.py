"""Can a linear convolutional network learn to deblur a photograph? Pictures, and the filter beside least squares."""

import numpy as np
import xarray as xr

from experiments.claims import (
    Claim,
    balancedness_conserved,
    bound_holds,
    cell_by_cell,
    flow_converges,
    gradient_vanishes,
    open_question,
)
from experiments.computing.deblurring import shown_part
from experiments.computing.outer import outer_risk
from experiments.computing.solved_cell import SolvedCell
from experiments.figures.pictures import error_of, filters_in_two_dimensions, photographs, pictures_of
from experiments.modules.base import Module
from experiments.modules.cells import configured_cells
from experiments.questions import QUESTIONS
from experiments.schema import Configuration, DeblurringData

__all__ = ["IMAGING", "filter_sharpens_what_it_was_not_shown", "least_squares_is_a_lower_bound"]

_ROUNDING = 1e-9


def filter_sharpens_what_it_was_not_shown(dataset: xr.Dataset) -> Claim | None:
    """The filtered picture is nearer to the sharp one than the blurred picture, on a part without samples."""
    rows = []
    for name, cell, _ in configured_cells(dataset):
        if (made := pictures_of(cell)) is not None:
            before, after = error_of(made, "blurred"), error_of(made, "learned")
            text = f"error {before:.4f} before, {after:.4f} after"
            rows.append((name, text, "agrees" if after < before else "disagrees"))
    return cell_by_cell(
        "The learned filter sharpens a part of the photograph that it was not shown",
        "root mean square difference from the sharp picture below that of the blurred one",
        rows,
    )


def least_squares_is_a_lower_bound(dataset: xr.Dataset) -> Claim | None:
    """No limit has a lower risk than the least-squares filter, which is the optimum over all end-to-end filters."""
    rows = []
    for name, cell, _ in configured_cells(dataset):
        gap, limit = cell["optimality_gap"].values, cell["limit_risk"].values
        known = np.isfinite(gap)
        if known.any():
            least = float((gap[known] / np.maximum(limit[known], np.finfo(float).tiny)).min())
            rows.append((name, f"least gap {least:.2e} of the risk", "agrees" if least >= -_ROUNDING else "disagrees"))
    return cell_by_cell("No limit lies below least squares over all filters", "gaps to the optimum of 0 or more", rows)


def price_of_the_product_is_open(dataset: xr.Dataset) -> Claim:
    """The fraction of the gain of the least-squares filter that the learned filter reaches."""
    rows = []
    for name, cell, _ in configured_cells(dataset):
        if (made := pictures_of(cell)) is not None:
            before, after, best = (error_of(made, which) for which in ("blurred", "learned", "least squares"))
            rows.append((name, f"{(before - after) / (before - best):.1%} of the gain of least squares ({best:.4f})"))
    words = "; ".join(f"{name}: {text}" for name, text in rows[:3]) or "nothing was computed"
    return open_question("What it costs that the filter is a product of the layers' filters", words, rows)


def imaging_answer(dataset: xr.Dataset) -> str:
    """Errors of the blurred picture and of both filtered pictures for every cell."""
    parts = []
    for name, cell, _ in configured_cells(dataset):
        if (made := pictures_of(cell)) is not None:
            errors = [f"{which} {error_of(made, which):.3f}" for which in ("blurred", "learned", "least squares")]
            parts.append(f"{'' if name == 'single cell' else f'{name}: '}{', '.join(errors)}")
    return f"Error of the picture that was not learned from: {'; '.join(parts)}." if parts else "No flow was computed."


def _per_cell(cell: SolvedCell) -> dict[str, np.ndarray]:
    """The pictures, and the least-squares filter: the one of least norm if the patches do not have full rank."""
    data = cell.configuration.data
    assert isinstance(data, DeblurringData)
    outer = outer_risk(cell)
    best = np.linalg.lstsq(outer["curvature"], outer["pull"])[0]
    return {"least_squares": best} | shown_part(data, cell.risk.arch)


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    if not isinstance(configuration.data, DeblurringData):
        return [("data.kind", f'found "{configuration.data.kind}"; this module needs data of the kind "deblurring"')]
    if configuration.loss.kind != "square":
        return [("loss.kind", f'found "{configuration.loss.kind}"; least squares is that of the loss "square"')]
    return []


IMAGING = Module(
    name="imaging",
    question=QUESTIONS["imaging"],
    theory=(
        "A blur is a convolution, and the best linear way back, for pictures and noise of known statistics, is "
        "one too: the least-squares filter on many windows approaches it. A linear convolutional network reaches only "
        "products of its layers' filters, so that its risk is never below least squares; in two dimensions few "
        "polynomials are products, but separable ones, such as those of Gaussian blurs, nearly are. Flows converge; "
        "which of the critical points they find is open."
    ),
    axes={
        "data.noise": "noise on the blurred photograph (one compiled program)",
        "data.blur": "width of the blur in pixels",
        "network.kernel_sizes": "depth and sizes (each compiles anew)",
    },
    figures=(photographs, filters_in_two_dimensions),
    answer=imaging_answer,
    claims=(
        filter_sharpens_what_it_was_not_shown,
        least_squares_is_a_lower_bound,
        price_of_the_product_is_open,
        flow_converges,
        gradient_vanishes,
        balancedness_conserved,
        bound_holds,
    ),
    faults=_faults,
    per_cell=_per_cell,
    linear=True,
    dynamics="flow",
)
