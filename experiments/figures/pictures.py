"""Photographs: sharp, blurred, and filtered by the learned and by the least-squares filter."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from numpy.lib.stride_tricks import sliding_window_view

from experiments.figures.filters import learned_filter
from experiments.figures.series import cells, left_out
from experiments.figures.style import Drawing, canvas
from experiments.results.limits import lowest_flow

__all__ = ["error_of", "filtered", "filters_in_two_dimensions", "photographs", "pictures_of"]

_MOST = 4


def filtered(picture: np.ndarray, taps: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A picture filtered by an end-to-end filter; only the part without boundary effects."""
    height, width = picture.shape[0] - shape[0] + 1, picture.shape[1] - shape[1] + 1
    reach = tuple(size - length + 1 for size, length in zip(picture.shape, shape, strict=True))
    assert reach == (height, width)
    return np.einsum("ijkl,kl->ij", sliding_window_view(picture, shape), taps.reshape(shape))


def pictures_of(cell: xr.Dataset) -> dict[str, np.ndarray] | None:
    """Pictures by name: sharp, blurred, learned (by the lowest limit) and least squares; None without a limit."""
    seed = lowest_flow(cell)
    if "sharp" not in cell or seed is None:
        return None
    sharp, blurred = (_whole(cell[name].values) for name in ("sharp", "blurred"))
    margin = [(b - s) // 2 for b, s in zip(blurred.shape, sharp.shape, strict=True)]
    shape = (2 * margin[0] + 1, 2 * margin[1] + 1)
    learned, best = (
        taps[np.isfinite(taps)] for taps in (learned_filter(cell.isel(seed=seed)).values, cell["least_squares"].values)
    )
    middle = blurred[margin[0] : blurred.shape[0] - margin[0], margin[1] : blurred.shape[1] - margin[1]]
    return {
        "sharp": sharp,
        "blurred": middle,
        "learned": filtered(blurred, learned, shape),
        "least squares": filtered(blurred, best, shape),
    }


def error_of(pictures: dict[str, np.ndarray], name: str) -> float:
    """Root mean square difference from the sharp picture, in standard deviations of the photograph."""
    return float(np.sqrt(np.mean((pictures[name] - pictures["sharp"]) ** 2)))


def photographs(dataset: xr.Dataset) -> Drawing | None:
    """A row per cell: four pictures with their errors."""
    found = [(one, made) for one in cells(dataset, _MOST) if (made := pictures_of(one.data)) is not None]
    if not found:
        return None
    figure, axes = canvas(len(found), 4, 2.15)
    for number, (one, made) in enumerate(found):
        low, high = made["sharp"].min(), made["sharp"].max()
        for panel, (name, picture) in zip(axes[4 * number : 4 * number + 4], made.items(), strict=True):
            panel.imshow(picture, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            words = name if name == "sharp" else f"{name}: error {error_of(made, name):.3f}"
            _bare(panel, words)
        axes[4 * number].set_ylabel(one.label)
    return Drawing(
        "photographs",
        "Before and after",
        figure,
        "A part of the photograph that was not learned from: sharp, blurred with noise, and what the filter of the "
        "lowest limit and the least-squares filter make of the blurred one. Errors are root mean squares relative to "
        "the standard deviation of the photograph. The learned filter is expected to come close to least squares, "
        "which is free to choose every tap." + left_out(dataset, _MOST),
    )


def filters_in_two_dimensions(dataset: xr.Dataset) -> Drawing | None:
    """A row per cell: the learned filter, the least-squares filter, and their difference, as pictures."""
    found = [one for one in cells(dataset, _MOST) if pictures_of(one.data) is not None]
    if not found:
        return None
    figure, axes = canvas(len(found), 3, 2.4)
    for number, one in enumerate(found):
        seed = lowest_flow(one.data)
        sharp, blurred = (_whole(one.data[name].values) for name in ("sharp", "blurred"))
        shape = tuple(b - s + 1 for b, s in zip(blurred.shape, sharp.shape, strict=True))
        learned, best = (
            taps[np.isfinite(taps)].reshape(shape)
            for taps in (learned_filter(one.data.isel(seed=seed)).values, one.data["least_squares"].values)
        )
        size = float(np.abs(best).max())
        row = axes[3 * number : 3 * number + 3]
        shown = {"learned": learned, "least squares": best, "difference": learned - best}
        images = [
            panel.imshow(taps, cmap="RdBu_r", vmin=-size, vmax=size, interpolation="nearest")
            for panel, taps in zip(row, shown.values(), strict=True)
        ]
        for panel, words in zip(row, shown, strict=True):
            _bare(panel, words)
        figure.colorbar(images[-1], ax=row, shrink=0.8, label="tap")
        row[0].set_ylabel(one.label)
    return Drawing(
        "filters_in_two_dimensions",
        "The learned filter beside least squares",
        figure,
        "End-to-end filter of the lowest limit, the least-squares filter, and their difference, on one scale. The "
        "learned one is a product of the layers' filters and cannot take every shape." + left_out(dataset, _MOST),
    )


def _whole(picture: np.ndarray) -> np.ndarray:
    """The filter without the rows and columns of NaN that pad the filters of smaller cells."""
    known = np.isfinite(picture)
    return picture[known.any(axis=1)][:, known.any(axis=0)]


def _bare(panel: Axes, title: str) -> None:
    panel.set_title(title, fontsize=8.5)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.grid(visible=False)
