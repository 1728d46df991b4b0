"""Start sets: part of the library for N(k) up to 450, otherwise computed on demand and stored in the user's cache.

A start set belongs to a family, the sorted filter sizes; other orders of layers permute the axes of its tensors.

    python -m lcnn_flow.landscape.start_sets FOLDER     # makes the shipped ones again
"""

import io
import itertools
import sys
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

from lcnn_flow.landscape.chart import choose_chart, distinct, newton, quadratic_form
from lcnn_flow.landscape.counts import generic_count
from lcnn_flow.landscape.monodromy import StartSet, family_sums, find_start_set
from lcnn_flow.numerics.user_files import keep, user_folder

__all__ = ["SHIPPED", "start_set"]

SHIPPED = (
    *((2, 2), (3, 2), (4, 2), (5, 2), (6, 2), (7, 2), (8, 2), (3, 3), (4, 3), (5, 3), (6, 3), (4, 4)),
    *((2, 2, 2), (3, 2, 2), (4, 2, 2), (3, 3, 2), (2, 2, 2, 2)),
)
"""Families that come with the library."""
_FOLDER = Path(__file__).parent / "start_set_files"
_SOUND = 1e-9


def start_set(sizes: tuple[int, ...]) -> StartSet:
    """All solutions of one generic member of the family, for layers in this order."""
    order = sorted(range(len(sizes)), key=lambda layer: -sizes[layer])
    family = tuple(sizes[layer] for layer in order)
    points, diagonal, load = _of_family(family)
    ends = [0, *itertools.accumulate(family)]
    back = np.argsort(order)
    rows = np.concatenate([np.arange(ends[place], ends[place + 1]) for place in back] + [[ends[-1]]])

    def turned(tensor: np.ndarray) -> np.ndarray:
        return tensor.reshape(family).transpose(back).ravel()

    return StartSet(points[rows], turned(diagonal), turned(load))


@cache
def _of_family(family: tuple[int, ...]) -> StartSet:
    name = "_".join(map(str, family)) + ".npz"
    shipped = _FOLDER / name
    if shipped.exists():
        return _read(shipped)
    kept = user_folder("start_sets") / name
    if kept.exists():
        try:
            found = _read(kept)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            found = None
        if found is not None and is_sound(family, found):
            return found
    made = find_start_set(family)
    _keep(made, kept)
    return made


def is_sound(family: tuple[int, ...], found: StartSet) -> bool:
    """Whether these are N(k) distinct solutions."""
    sums, count = family_sums(family), generic_count(family)
    shapes = found.points.shape, found.diagonal.shape, found.load.shape
    if shapes != ((sum(family) + 1, count), (sums.entries,), (sums.entries,)):
        return False
    if not all(np.all(np.isfinite(part)) for part in found):
        return False
    chart = choose_chart(family, found.points)
    form = quadratic_form(sums, found.diagonal, np.zeros((sums.width, sums.width)))
    before = chart.coordinates(found.points)
    after, length = newton(chart, form, found.load, before)
    stayed = np.linalg.norm(after - before, axis=1) <= 1e-6 * (1 + np.linalg.norm(before, axis=1))
    return bool(np.all((length < _SOUND) & stayed)) and len(distinct(after)) == count


def _read(file: Path) -> StartSet:
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
        return StartSet(stored["points"], stored["diagonal"], stored["load"])


def _keep(made: StartSet, file: Path) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, **made._asdict())
    keep(file, content.getvalue(), "a start set")


def main(folder: str) -> None:
    """Computes the start sets that are part of the library."""
    for family in SHIPPED:
        _keep(find_start_set(family), Path(folder) / ("_".join(map(str, family)) + ".npz"))


if __name__ == "__main__":
    import jax

    jax.config.update("jax_enable_x64", True)
    main(sys.argv[1])
