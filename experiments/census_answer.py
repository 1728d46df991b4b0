"""What the censuses of the cells say first: how many starts ended in certified spurious minima.

The word "certified" is for cells whose census is certified complete; of the others no minimum is called spurious here.
"""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from experiments.results.census import certified_share, certified_spurious, real_points, status_of_census, with_census
from experiments.results.shares import share
from lcnn_flow.landscape import Share

if TYPE_CHECKING:  # modules import this file
    from experiments.modules.base import Module

__all__ = ["answer_with_census", "census_answer"]

_Shares = list[tuple[str, xr.Dataset, Share]]


def answer_with_census(module: "Module", dataset: xr.Dataset) -> str:
    """What a module answers, behind what the censuses say where there are any and it does not say that itself."""
    told = "" if module.tells_census else census_answer(dataset)
    return " ".join(part for part in (told, module.answer(dataset)) if part)


def census_answer(dataset: xr.Dataset) -> str:
    """Starts in certified spurious minima, how many cells have any, and where the census is not complete."""
    counted = with_census(dataset)
    if not counted:
        return ""
    complete: _Shares = [(name, cell, s) for name, cell in counted if (s := certified_share(cell)) is not None]
    parts = [_in_spurious(complete), _elsewhere(complete)] if complete else []
    return " ".join(part for part in (*parts, _not_complete(counted)) if part)


def _in_spurious(complete: _Shares) -> str:
    """The share of the starts over all complete cells, and in the cell that has the most of them."""
    count, total = sum(s.count for _, _, s in complete), sum(s.total for _, _, s in complete)
    if len(complete) == 1:
        return _single(complete[0][1], complete[0][2])
    having = sum(len(certified_spurious(cell)) > 0 for _, cell, _ in complete)
    proved = f"{len(complete)} cells with a complete census"
    if not having:
        return f"There is no spurious minimum in any of {proved}: this is certified."
    worst = max(complete, key=lambda one: one[2].value)
    most = f", most often in the cell {worst[0]}: {share(worst[2].count, worst[2].total)}" if count else ""
    ended = f"{share(count, total)} ended in certified spurious minima{most}"
    return f"{ended}; there are such minima in {having} of {proved}."


def _single(cell: xr.Dataset, found: Share) -> str:
    """Of the only complete cell, the minima by number."""
    minima, spurious = int(cell["census_minima"]), len(certified_spurious(cell))
    proved = f"all {int(cell['census_expected_count'])} complex critical points are accounted for"
    points = f"of {real_points(cell)} real critical points {minima} {'is a minimum' if minima == 1 else 'are minima'}"
    if not spurious:
        return f"There is no spurious minimum: {points}, none above the global one, and {proved}."
    ended = f"{share(found.count, found.total)} ended in certified spurious minima"
    return f"{ended}: {points}, {spurious} of them above the global one, and {proved}."


def _elsewhere(complete: _Shares) -> str:
    """Starts that ended at no critical point of a complete census, which have no limit, or one with v = 0."""
    missing = sum(s.total - int(np.isfinite(cell["census_point"].values).sum()) for _, cell, s in complete)
    if not missing:
        return ""
    return (
        f"{missing} starts ended at none of these points: they have no limit, or one that is not isolated or has v = 0."
    )


def _not_complete(counted: list[tuple[str, xr.Dataset]]) -> str:
    """How many censuses are not complete, by their status, with an example."""
    others = [(name, cell) for name, cell in counted if status_of_census(cell) != "certified_complete"]
    if not others:
        return ""
    words = Counter(status_of_census(cell).replace("_", " ") for _, cell in others)
    statuses = ", ".join(f"{count} {word}" for word, count in words.items())
    name, cell = others[0]
    found = float(cell["census_found"]) if "census_found" in cell else np.nan
    certified = f"{found:.0f} solutions are certified of {int(cell['census_expected_count'])}"
    why = "P without full rank, or P^T y = 0" if np.isnan(found) else certified
    where = f" ({'' if len(counted) == 1 else f'{name}: '}{why})"
    return (
        f"The census is not complete in {len(others)} of {len(counted)} cells, {statuses}{where}: "
        "no minimum there is called spurious by it."
    )
