"""Roots of filters in the complex plane.

A filter is the polynomial v(z) = sum_i v_i z^i, and the end-to-end filter the product of w_l(z^{S_l}), S_l the spacing
of the taps of layer l: the roots of v are the S_l-th roots of those of all w_l. Where roots of two layers coalesce the
Jacobian of the product has lower rank.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lcnn_flow.errors import PlotError
from lcnn_flow.network.architecture import Architecture
from lcnn_flow.network.dense import Dense
from lcnn_flow.plot.looks import INK, axes_for, look, put_legend
from lcnn_flow.plot.taps import network_and_leading

__all__ = [
    "chordal",
    "coalesced_roots",
    "frame_of",
    "layer_roots",
    "marks_at",
    "name_plane",
    "one_variable",
    "ring_marks",
    "root_marks",
    "roots",
    "unit_circle",
]

_AT_INFINITY = 1e-12
"""A leading coefficient below this, relative to the largest, is rounding: its root is at infinity."""
_FRAME = (1.35, 3.0)
"""Smallest and largest half-width of the frame; roots beyond stand at its border, with their modulus."""


def roots(network: Any, params: Any, ax: Axes | None = None, coalesced: float = 1e-3) -> Axes:
    """Roots of the end-to-end filter and of every layer, with the unit circle.

    Args:
        network: an architecture in one dimension with single channels, or a risk that has one.
        params: filters of the layers, with or without leading axes, such as `flow.limit`; what is NaN is left out.
        ax: where to draw; a new figure if None.
        coalesced: two roots of the product nearer than this in the chordal metric, |a - b| / sqrt((1 + |a|^2)(1 +
            |b|^2)), are marked as one.

    Returns:
        The axes.

    Raises:
        PlotError: filters that are no polynomials of one variable, or do not fit the network.
    """
    arch, leading = one_variable("lf.plot.roots", network, params)
    ax = axes_for("lf.plot.roots", ax)
    spacings = [stride[0] for stride in arch.cumulative_strides]
    layers = [np.asarray(w, float).reshape(int(np.prod(leading)), -1) for w in params]
    root_marks(ax, layers, spacings, coalesced)
    return name_plane(ax)


def name_plane(ax: Axes) -> Axes:
    """Names the axes of the complex plane of roots, and puts the legend below; returns the axes."""
    ax.set(xlabel=r"real part of the root $z$", ylabel=r"imaginary part of the root $z$")
    put_legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    return ax


def root_marks(ax: Axes, layers: Sequence[np.ndarray], spacings: Sequence[int], coalesced: float = 1e-3) -> None:
    """Draws roots of products and of their factors; equal scales on both axes.

    Args:
        ax: where to draw.
        layers: taps of every layer, (points, taps) each; points with NaN are left out.
        spacings: of the taps of every layer in the product.
        coalesced: see `roots`.
    """
    finite = np.all([np.isfinite(w).all(axis=1) & (w != 0).any(axis=1) for w in layers], axis=0)
    by_layer = [[layer_roots(w, s) for w in taps[finite]] for taps, s in zip(layers, spacings, strict=True)]
    products = [_product(list(parts), spacings) for parts in zip(*(w[finite] for w in layers), strict=True)]
    everywhere = _in_one_plane([layer_roots(v, 1) for v in products])
    reach = frame_of(everywhere)
    strength = 1.0 if len(products) == 1 else max(0.15, len(products) ** -0.5)
    unit_circle(ax)
    marks_at(ax, everywhere, reach, "o", 11, INK, "end-to-end filter $v$", strength, hollow=True, named=True)
    for number, found in enumerate(by_layer):
        style = look(number)
        marks_at(ax, _in_one_plane(found), reach, style.marker, 5, style.colour, f"layer {number + 1}", strength)
    doubled = _in_one_plane([coalesced_roots(parts, coalesced) for parts in zip(*by_layer, strict=True)])
    ring_marks(ax, doubled, reach, coalesced)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")


def one_variable(function: str, network: Any, params: Any) -> tuple[Architecture, tuple[int, ...]]:
    """The network whose filters are polynomials of one variable, and the leading axes of `params`.

    Raises:
        PlotError: filters that are no polynomials of one variable, or do not fit the network.
    """
    arch, leading = network_and_leading(function, network, params)
    if isinstance(arch, Dense) or arch.dimension != 1 or arch.channels is not None:
        raise PlotError(f"{function}: filters of {arch!r} are no polynomials of one variable: they have no roots")
    return arch, leading


def unit_circle(ax: Axes) -> None:
    """The unit circle and both axes."""
    angle = np.linspace(0, 2 * np.pi, 361)
    ax.plot(np.cos(angle), np.sin(angle), color="#999999", linewidth=0.9, zorder=1, label="unit circle")
    for line in (ax.axhline, ax.axvline):
        line(0, color="#dddddd", linewidth=0.7, zorder=0)


def ring_marks(ax: Axes, doubled: np.ndarray, reach: float, near: float) -> None:
    """Rings around coalesced roots."""
    marks_at(ax, doubled, reach, "o", 17, "#D55E00", f"coalesced, nearer than {near:g}", hollow=True)


def layer_roots(taps: np.ndarray, spacing: int) -> np.ndarray:
    """Finite roots of w(z^S), (degree * S,)."""
    largest = np.abs(taps).max()
    degree = int(np.flatnonzero(np.abs(taps) > _AT_INFINITY * largest)[-1])
    found = np.roots(taps[degree::-1]).astype(complex)
    turns = np.exp(2j * np.pi * np.arange(spacing) / spacing)
    return (found[:, None] ** (1 / spacing) * turns).reshape(-1)


def _product(taps: list[np.ndarray], spacings: Sequence[int]) -> np.ndarray:
    """Taps of the end-to-end filter of one point."""
    v = np.ones(1)
    for w, spacing in zip(taps, spacings, strict=True):
        spread = np.zeros((w.size - 1) * spacing + 1)
        spread[::spacing] = w
        v = np.convolve(v, spread)
    return v


def chordal(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances |a - b| / sqrt((1 + |a|^2)(1 + |b|^2)) of all pairs, (a, b), between 0 and 1."""
    size_a, size_b = (np.sqrt(1 + np.abs(z) ** 2) for z in (a, b))
    return np.abs(a[:, None] - b[None, :]) / np.outer(size_a, size_b)


def coalesced_roots(parts: Sequence[np.ndarray], near: float) -> np.ndarray:
    """Roots, of any layers together, that another one is near to."""
    z = np.concatenate(parts)
    distance = chordal(z, z) + np.eye(z.size)
    return z[distance.min(axis=1, initial=1.0) < near]


def _in_one_plane(found: Sequence[np.ndarray]) -> np.ndarray:
    """The roots of all points."""
    return np.concatenate([*found, np.zeros(0, complex)])


def frame_of(found: np.ndarray) -> float:
    """Half-width of the frame."""
    smallest, largest = _FRAME
    return float(np.clip(1.15 * np.max(np.abs(found), initial=0.0), smallest, largest))


def marks_at(
    ax: Axes,
    found: np.ndarray,
    reach: float,
    marker: str,
    size: float,
    colour: str,
    label: str,
    strength: float = 1.0,
    hollow: bool = False,
    named: bool = False,
) -> None:
    """Marks at roots; those beyond the frame are moved to its border, with the modulus beside them where `named`."""
    if not found.size:
        return
    modulus = np.abs(found)
    border = 0.93 * reach
    beyond = modulus > reach
    shown = np.where(beyond, border * found / np.where(beyond, modulus, 1), found)
    style: dict[str, Any] = {"linestyle": "", "marker": marker, "markersize": size, "alpha": strength, "label": label}
    ax.plot(np.real(shown), np.imag(shown), color=colour, markerfacecolor="none" if hollow else colour, **style)
    for place, value in zip(shown[beyond & named], modulus[beyond & named], strict=True):
        where = (float(place.real), float(place.imag))
        side = "left" if where[0] < 0 else "right"
        ax.annotate(f"|z| = {value:.3g}", where, (0, 9), textcoords="offset points", ha=side, fontsize=8)
