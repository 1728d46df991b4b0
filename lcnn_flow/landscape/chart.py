"""One affine chart for all solutions of a problem, and Newton's method in it, on arrays of the host.

    w_l = a_l + B_l z_l,   a_l real unit vectors, B_l their real complements,   x = w_1 (x) ... (x) w_N,

is unique up to nothing: every solution with a_l^T w_l != 0 has one (z, mu), so solutions are compared by coordinates.
The forms a_l are drawn at random, and those that keep all solutions furthest from their hyperplanes are taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from lcnn_flow.landscape.system import TapSums

__all__ = ["Chart", "choose_chart", "closed_under_conjugation", "distinct", "evaluate", "newton", "quadratic_form"]

_DRAWS = 64
_SAME = 1e-7
"""Distance in the chart, relative to 1 + |z|, up to which two solutions are one."""
_STEPS = 4


@dataclass(frozen=True)
class Chart:
    """The forms a_l, (k_l,), and the bases B_l, (k_l, k_l - 1)."""

    forms: tuple[np.ndarray, ...]
    bases: tuple[np.ndarray, ...]

    def coordinates(self, points: np.ndarray) -> np.ndarray:
        """(z, mu) of filters one after the other and mu, (sum k_l + 1, paths): (paths, n + 1)."""
        parts, first, factor = [], 0, np.ones(points.shape[1], complex)
        for form, base in zip(self.forms, self.bases, strict=True):
            w = points[first : first + len(form)]
            value = form @ w
            parts.append((w / value).T @ base)
            first, factor = first + len(form), factor * value
        return np.concatenate([*parts, (points[first] / factor)[:, None]], axis=1)

    def filters(self, coordinates: np.ndarray) -> list[np.ndarray]:
        """w_l, (paths, k_l) each."""
        result, first = [], 0
        for form, base in zip(self.forms, self.bases, strict=True):
            steps = base.shape[1]
            result.append(form[None] + coordinates[:, first : first + steps] @ base.T)
            first += steps
        return result

    def unit_points(self, coordinates: np.ndarray) -> np.ndarray:
        """Unit filters one after the other and mu, (sum k_l + 1, paths)."""
        filters = self.filters(coordinates)
        norms = [np.linalg.norm(w, axis=1) for w in filters]
        mu = coordinates[:, -1] / reduce(np.multiply, norms, np.ones(len(coordinates)))
        return np.concatenate([*((w / norm[:, None]).T for w, norm in zip(filters, norms, strict=True)), mu[None]])


def choose_chart(sizes: Sequence[int], points: np.ndarray, seed: int = 0) -> Chart:
    """The chart in which the smallest |a_l^T w_l| of unit filters in `points`, (sum k_l + 1, paths), is largest."""
    rng, first, forms, bases = np.random.default_rng(seed), 0, [], []
    for size in sizes:
        drawn = rng.normal(size=(_DRAWS, size))
        drawn /= np.linalg.norm(drawn, axis=1)[:, None]
        distance = np.min(np.abs(drawn @ points[first : first + size]), axis=1, initial=1.0)
        form = drawn[np.argmax(distance)]
        turn = np.linalg.qr(np.concatenate([form[:, None], np.eye(size)], axis=1))[0]
        forms.append(form)
        bases.append(turn[:, 1:size])
        first += size
    return Chart(tuple(forms), tuple(bases))


def quadratic_form(sums: TapSums, diagonal: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """diag(d) + A^T G A, (entries, entries)."""
    return np.diag(diagonal) + sums.matrix.T @ gram @ sums.matrix


def newton(chart: Chart, form: np.ndarray, load: np.ndarray, coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Newton's method for T^T (S x - mu U) = 0 from many points.

    Args:
        chart: of the coordinates.
        form: S, (entries, entries).
        load: U, (entries,).
        coordinates: (paths, n + 1).

    Returns:
        Where it ends, and the length of the last step relative to 1 + |z|; infinite where it breaks off.
    """
    now, length = np.array(coordinates, complex), np.full(len(coordinates), np.inf)
    for _ in range(_STEPS):
        value, derivative = evaluate(chart, form, load, now)
        usable = np.all(np.isfinite(derivative), axis=(1, 2)) & np.all(np.isfinite(value), axis=1)
        usable[usable] = np.linalg.svd(derivative[usable], compute_uv=False)[:, -1] > 0
        step = np.full(now.shape, np.nan, complex)
        step[usable] = np.linalg.solve(derivative[usable], value[usable][..., None])[..., 0]
        with np.errstate(invalid="ignore"):
            now = now - step
            length = np.linalg.norm(step, axis=1) / (1 + np.linalg.norm(now, axis=1))
        now = np.where(np.isfinite(length)[:, None], now, 0)
    return now, np.where(np.isfinite(length), length, np.inf)


def evaluate(
    chart: Chart, form: np.ndarray, load: np.ndarray, coordinates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The equations (paths, n + 1) and their derivative (paths, n + 1, n + 1) at many points."""
    filters, mu, count = chart.filters(coordinates), coordinates[:, -1], len(coordinates)
    layers = range(len(filters))
    tangents = np.concatenate(
        [_columns(count, filters, chart.bases, (m,)) for m in layers] + [_columns(count, filters, (), ())], 2
    )
    x = tangents[:, :, -1]
    force = x @ form - mu[:, None] * load[None]
    value = np.einsum("pri,pr->pi", tangents, force)
    derivative = np.swapaxes(tangents, 1, 2) @ (form[None] @ tangents)
    derivative[:, :, -1] = -np.einsum("pri,r->pi", tangents, load)
    derivative[:, -1, :-1] += value[:, :-1]
    places = np.cumsum([0] + [base.shape[1] for base in chart.bases])
    for m in layers:
        for other in range(m):
            both = np.einsum("pri,pr->pi", _columns(count, filters, chart.bases, (other, m)), force)
            block = both.reshape(count, chart.bases[other].shape[1], chart.bases[m].shape[1])
            rows, columns = slice(*places[other : other + 2]), slice(*places[m : m + 2])
            derivative[:, rows, columns] += block
            derivative[:, columns, rows] += np.swapaxes(block, 1, 2)
    return value, derivative


def _columns(count: int, filters: list[np.ndarray], bases: Sequence[np.ndarray], free: tuple[int, ...]) -> np.ndarray:
    """Derivatives of x in the coordinates of the `free` layers: (paths, entries, columns)."""
    result = np.ones((count, 1, 1), complex)
    for layer, w in enumerate(filters):
        factor = bases[layer][None] if layer in free else w[:, :, None]
        product = result[:, :, None, :, None] * factor[:, None, :, None, :]
        result = product.reshape(count, result.shape[1] * factor.shape[1], result.shape[2] * factor.shape[2])
    return result


def distinct(coordinates: np.ndarray) -> np.ndarray:
    """The rows, in their order, without those that are the same solution as an earlier row."""
    count = len(coordinates)
    if not count:
        return np.zeros(0, int)
    size = 1 + np.linalg.norm(coordinates, axis=1)
    weights = np.random.default_rng(5).normal(size=(2, coordinates.shape[1]))
    weights /= np.linalg.norm(weights[0] + 1j * weights[1])
    key = (coordinates @ (weights[0] + 1j * weights[1])).real
    order = np.argsort(key, kind="stable")
    repeated = np.zeros(count, bool)
    for apart in range(1, count):
        first, second = order[:-apart], order[apart:]
        bound = _SAME * np.minimum(size[first], size[second])
        near = key[second] - key[first] <= bound
        if not near.any():
            break
        first, second, bound = first[near], second[near], bound[near]
        same = np.linalg.norm(coordinates[first] - coordinates[second], axis=1) <= bound
        repeated[np.maximum(first, second)[same]] = True
    return np.flatnonzero(~repeated)


def closed_under_conjugation(coordinates: np.ndarray) -> np.ndarray:
    """The distinct rows and their conjugates, which are solutions too because the equations are real."""
    both = np.concatenate([coordinates, np.conj(coordinates)])
    return both[distinct(both)]
