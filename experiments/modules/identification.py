"""Which loss finds an unknown filter best? Targets come from a planted filter, with noise and outliers.

Only the end-to-end filter can be identified: factors can be moved between layers without changing the
network.
"""

import tomllib

import numpy as np
import xarray as xr

from experiments.answers import identification_answer
from experiments.claims import PAPER_CLAIMS, Claim
from experiments.figures import (
    balancedness_drift,
    excess_risk,
    filter_error,
    filters,
    fit,
    gradient_norm,
    path_length,
    relative_error,
    risk,
    roots,
    spectrum,
)
from experiments.modules.base import Module
from experiments.modules.convergence import CONVERGENCE
from experiments.questions import QUESTIONS
from experiments.results.layout import sweep_axes
from experiments.schema import Configuration, SyntheticData

__all__ = ["IDENTIFICATION", "bounded_influence_helps"]

_BOUNDED = ("pseudo_huber", "generalized_huber", "log_cosh", "huber", "cauchy", "welsch", "geman_mcclure")


def bounded_influence_helps(dataset: xr.Dataset) -> Claim | None:
    """Losses with bounded rho' have a smaller median filter error than the square loss, if both were run."""
    statement = "Under outliers, losses of bounded influence find the filter better than the square loss"
    expected = "median error over the seeds below that of the square loss, for each of them, on these data"
    labels = [str(v) for v in dataset["loss"].values] if "loss" in sweep_axes(dataset) else []
    robust = [label for label in labels if label.startswith(_BOUNDED)]
    dataset = _with_outliers(dataset)
    if "true_filter" not in dataset or "square" not in labels or not robust or not dataset["verdict"].size:
        return None
    error = relative_error(dataset).sel(loss=["square", *robust])
    others = [d for d in error.dims if d != "loss"]
    if not bool(error.notnull().any(others).all()):
        return Claim(statement, expected, "some of these losses were not computed", "undecided")
    median = error.median(others, skipna=True)
    square = float(median.sel(loss="square"))
    rows = []
    for label in robust:
        value = float(median.sel(loss=label))
        rows.append((label, f"{value:.3g}, square {square:.3g}", "agrees" if value < square else "disagrees"))
    better = sum(row[2] == "agrees" for row in rows)
    observed = f"{better} of {len(rows)} losses; square {square:.3g}, others {float(median[1:].min()):.3g} to "
    observed += f"{float(median[1:].max()):.3g}"
    return Claim(statement, expected, observed, "agrees" if better == len(rows) else "disagrees", tuple(rows))


def _with_outliers(dataset: xr.Dataset) -> xr.Dataset:
    """The results with only the cells whose targets have outliers, which the claim is about."""
    outliers = tomllib.loads(dataset.attrs["configuration"])["data"].get("outliers", {})
    for axis in sweep_axes(dataset):
        if dataset[axis].attrs.get("path") == "data.outliers.fraction":
            return dataset.isel({axis: np.flatnonzero(dataset[axis].values > 0)})
    return dataset if outliers.get("fraction", 0) > 0 else dataset.isel(seed=slice(0))


def _faults(configuration: Configuration) -> list[tuple[str, str]]:
    data = configuration.data
    if isinstance(data, SyntheticData) and data.targets.kind == "unrelated":
        return [
            (
                "data.targets.kind",
                'found "unrelated"; identification needs a true filter: planted, cascade, filter',
            )
        ]
    if not isinstance(data, SyntheticData):
        return [("data.kind", 'found "file"; identification needs a true filter; use module = "convergence"')]
    return []


IDENTIFICATION = Module(
    name="identification",
    question=QUESTIONS["identification"],
    theory=CONVERGENCE.theory
    + " Where the flow ends is another matter: a loss whose derivative is bounded limits the influence of "
    "outliers, so its minimiser is expected nearer to the true filter than that of the square loss; losses "
    "that grow faster than the square are expected to do worse. Only the end-to-end filter is compared, "
    "because factors can be moved between the layers.",
    axes={
        "loss": "which losses are compared",
        "data.noise": "noise in the targets",
        "data.outliers.fraction": "outliers",
    },
    figures=(
        filters,
        filter_error,
        fit,
        roots,
        spectrum,
        risk,
        excess_risk,
        gradient_norm,
        path_length,
        balancedness_drift,
    ),
    answer=identification_answer,
    claims=(*PAPER_CLAIMS, bounded_influence_helps),
    faults=_faults,
    linear=True,
)
