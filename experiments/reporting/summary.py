"""One row per cell: counts of verdicts and of kinds of limits, medians and quantiles over the seeds."""

import csv
import io
from typing import Any

import numpy as np
import xarray as xr

from experiments.figures import relative_error
from experiments.results.census import certified_share, real_points, status_of_census
from experiments.results.layout import named_cells
from experiments.results.variables import CERTIFICATES, KINDS, NOT_COMPUTED, VERDICTS

__all__ = ["cell_rows", "summary_csv"]


def cell_rows(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """A dictionary per cell: its coordinates, counts of verdicts, and statistics over its seeds."""
    rows = []
    for _, index in named_cells(dataset):
        cell = dataset.isel(index)
        verdict = cell["verdict"].values
        row: dict[str, Any] = {axis: cell[axis].values.item() for axis in index}
        row["seeds"] = int((verdict != NOT_COMPUTED).sum())
        row.update({name: int((verdict == code).sum()) for code, name in VERDICTS.items()})
        kind = cell["kind"].values
        row.update({f"limits_{name}": int((kind == code).sum()) for code, name in KINDS.items()})
        if "orbit" in cell:
            row["distinct_limits"] = int(np.nanmax(cell["orbit"].values, initial=-1)) + 1
        certificate = cell["certificate"].values if "certificate" in cell else np.zeros(0)
        row["certificates_tried"] = int((certificate != NOT_COMPUTED).sum())
        row.update({f"certificates_{name}": int((certificate == code).sum()) for code, name in CERTIFICATES.items()})
        row.update(_census(cell))
        quantities = {
            name: cell[name]
            for name in (
                "final_risk",
                "final_gradient_norm",
                "final_path_length",
                "final_time",
                "steps",
                "optimality_gap",
                "lojasiewicz_exponent",
            )
            if name in cell
        }
        if "true_filter" in cell:
            quantities["filter_error"] = relative_error(cell)
        for name, values in quantities.items():
            row.update(_statistics(name, values.values))
        row["wall_time_s"] = float(cell["wall_time"])
        rows.append(row)
    return rows


def _census(cell: xr.Dataset) -> dict[str, Any]:
    """Status and numbers of the census of a cell, with the share of the starts in certified spurious minima."""
    if "census_status" not in cell:
        return {}
    names = ("census_expected_count", "census_found", "census_minima", "census_spurious_minima")
    numbers = {name: cell[name].values.item() for name in names if name in cell}
    found = certified_share(cell)
    low, high = (np.nan, np.nan) if found is None else found.interval
    shares = {
        "starts_in_spurious_minima": np.nan if found is None else found.count,
        "share_in_spurious_minima": np.nan if found is None else found.value,
        "share_in_spurious_minima_low": low,
        "share_in_spurious_minima_high": high,
    }
    return {"census_status": status_of_census(cell), "census_points": real_points(cell), **numbers, **shares}


def _statistics(name: str, values: np.ndarray) -> dict[str, float]:
    """Median, 10% and 90% quantiles, mean and its standard error over the flows that have a value."""
    values = values[np.isfinite(values)].astype(float)
    if not values.size:
        return {f"{name}_{part}": np.nan for part in ("median", "q10", "q90", "mean", "standard_error")}
    low, median, high = np.quantile(values, [0.1, 0.5, 0.9])
    error = values.std(ddof=1) / np.sqrt(values.size) if values.size > 1 else np.nan
    return {
        f"{name}_median": median,
        f"{name}_q10": low,
        f"{name}_q90": high,
        f"{name}_mean": values.mean(),
        f"{name}_standard_error": error,
    }


def summary_csv(dataset: xr.Dataset) -> str:
    """All rows as comma-separated values."""
    rows = cell_rows(dataset)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.10g}" if isinstance(v, float) else v for k, v in row.items()})
    return buffer.getvalue()
