"""Lojasiewicz exponent of a gradient flow: the theta of |grad L| >= C (L - L*)^theta, estimated along a trajectory.

The limit value L* is never guessed: since L(t) - L* = int_t^infinity |grad L|^2, the gap up to the last time T is a
quadrature of recorded gradients, and what is left after T is fitted together with theta. The inequality is
Lojasiewicz's (1963); the method is derived. theta = 1/2 means exponential convergence, theta > 1/2 a power law,
L - L* ~ t^{-1/(2 theta - 1)}.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from lcnn_flow.errors import FlowError

if TYPE_CHECKING:
    from lcnn_flow.flow.result import Trajectory

__all__ = ["LojasiewiczFit", "lojasiewicz_exponent"]

_FLOOR = 1e-9
_SHARES = (1 / 2, 1 / 3)
_LAST = 0.05
_POINTS = 6
_DECADES = 2.5
_RESIDUAL = 1e-2
_ROUNDS = 500


class LojasiewiczFit(NamedTuple):
    """Result of `lojasiewicz_exponent`: numbers and words, for a batch of trajectories arrays of them."""

    exponent: float | Float[np.ndarray, "..."]
    """theta; NaN without a fit. To be believed only where `asymptotic`."""
    residual: float | Float[np.ndarray, "..."]
    """Root mean square residual of the fit, in log |grad L|; NaN without a fit."""
    asymptotic: bool | Bool[np.ndarray, "..."]
    """One power law describes the late part of the trajectory."""
    verdict: str | np.ndarray
    """ "asymptotic" or "not asymptotic"."""
    explanation: str | np.ndarray
    """Why it is not asymptotic, and what would help; empty otherwise."""
    gap: Float[np.ndarray, "... T"]
    """L(t) - L* at the trajectory's times, in units of risk; NaN without a fit, before the largest gradient, and where
    the gradient is rounding."""
    fitted: Bool[np.ndarray, "... T"]
    """The times that the fit log |grad L| = c + exponent * log(gap) uses."""


def lojasiewicz_exponent(trajectory: Trajectory | None) -> LojasiewiczFit:
    """Estimates the Lojasiewicz exponent theta of |grad L| >= C (L - L*)^theta from a trajectory; host side.

    Let g = |grad L|, from where it is largest. Everything after the first fall of g below 1e-9 of that is rounding
    and is dropped; T is the last time left. gap(t) = int_t^T g^2, by a rule that is exact for exponentials. Over the
    late half of the fall of log g, less the last 5% of its points, log g = c + theta log(gap + add) is fitted by least
    squares, with add = 0 and then with the gap at T that the fit itself gives, add = exp((log g(T) - c)/theta), until
    it settles. Where the late half is not straight, a fast mode may still be seen in it: then the late third is
    tried. "asymptotic" means: root mean square residual at most 1e-2, over at least 6 points and 2.5 decades of g. It
    describes the trajectory up to T: near a saddle, the approach to the saddle.

    Exponential convergence spends few points of log-spaced times on its last decades, and integration errors spoil
    them: 400 points and rtol = 1e-10 suffice for most flows.

    Args:
        trajectory: `flow.trajectory` of `gradient_flow`, or of an ensemble, with its leading axes.

    Returns:
        `LojasiewiczFit`: exponent, residual and verdict, with the leading axes of the trajectory.

    Raises:
        FlowError: the flow was computed without `times`.
    """
    if trajectory is None:
        raise FlowError(
            "the flow has no trajectory: write gradient_flow(..., times=log_times(1e-3, 1e6, 400), rtol=1e-10)"
        )
    slope = np.asarray(trajectory.gradient_norm, float)
    time = np.broadcast_to(np.asarray(trajectory.time, float), slope.shape)
    batch, count = slope.shape[:-1], slope.shape[-1]
    fits = [_fit(t, g) for t, g in zip(time.reshape(-1, count), slope.reshape(-1, count), strict=True)]
    columns = [np.asarray(column) for column in zip(*fits, strict=True)]
    return LojasiewiczFit(*(column.reshape(batch + column.shape[1:])[()] for column in columns))


class _Line(NamedTuple):
    """The fit y = c + theta log(tail + add) over a window, and the reason if it is not reliable."""

    window: slice
    reason: str
    theta: float = np.nan
    residual: float = np.nan
    add: float = np.nan


def _fit(time: np.ndarray, slope: np.ndarray) -> LojasiewiczFit:
    """The fit to one trajectory."""
    gap, fitted = np.full(slope.shape, np.nan), np.zeros(slope.shape, bool)
    line = _Line(slice(0, 0), "the flow did not reach the last of its times")
    if np.all(np.isfinite(slope)):
        top = int(np.argmax(slope))
        unit = slope[top]
        small = slope[top:] <= _FLOOR * unit
        end = top + int(np.argmax(small)) if np.any(small) else slope.size
        line = _Line(slice(0, 0), "the gradient is zero throughout")
        if unit > 0:
            t, g = time[top:end], slope[top:end] / unit
            tail = np.cumsum(_squares(t, g)[::-1])[::-1]
            lines = [_line(tail, np.log(g), share) for share in _SHARES]
            line = next((line for line in lines if not line.reason), lines[0])
            fitted[top:end][line.window] = np.isfinite(line.theta)
            gap[top:end] = unit**2 * (np.append(tail, 0.0) + line.add)
    verdict = "not asymptotic" if line.reason else "asymptotic"
    return LojasiewiczFit(line.theta, line.residual, not line.reason, verdict, line.reason, gap, fitted)


def _squares(time: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """The integral of g^2 over every interval if g is exponential there, by the logarithmic mean of the ends."""
    left, right = slope[:-1] ** 2, slope[1:] ** 2
    fall = 2 * np.log(slope[1:] / slope[:-1])
    flat = np.abs(fall) < 1e-4
    return np.diff(time) * np.where(flat, (left + right) / 2, (right - left) / np.where(flat, 1, fall))


def _line(tail: np.ndarray, log_slope: np.ndarray, share: float) -> _Line:
    """The fit over the last `share` of the range of log g."""
    level = share * log_slope[0] + (1 - share) * np.min(log_slope)
    first = int(np.flatnonzero(log_slope >= level)[-1]) + 1
    window = slice(first, log_slope.size - max(1, math.ceil(_LAST * (log_slope.size - first))))
    y, add = log_slope[window], 0.0
    if y.size < _POINTS:
        return _Line(window, f"{y.size} points where the gradient falls last, {_POINTS} are needed: use more times")
    if np.ptp(y) < _DECADES * np.log(10):
        return _Line(window, f"the gradient falls by less than {_DECADES:g} decades in the end: use a later last time")
    for _ in range(_ROUNDS):
        x = np.log(tail[window] + add)
        centred = x - x.mean()
        theta = centred @ y / (centred @ centred)
        left = x.mean() + (log_slope[-1] - y.mean()) / theta
        if not (theta > 0 and left < x[0]):
            break
        if abs(np.exp(left) - add) <= 1e-12 * add:
            residual = float(np.sqrt(np.mean((y - y.mean() - theta * centred) ** 2)))
            straight = residual <= _RESIDUAL
            reason = "" if straight else f"residual {residual:.1e}: use a later last time or a smaller rtol"
            return _Line(window, reason, float(theta), residual, float(add))
        add = np.exp(left)
    return _Line(window, "the fit does not settle: use a later last time or a smaller rtol")
