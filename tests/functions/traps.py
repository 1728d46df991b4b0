"""Traps: functions made to look at their limits, or on the way, like what they are not.

Ridges: starts next to the border of two basins where it is no saddle that divides the flow, but a descending ridge.
Polynomials with a zero of high order that are multiplied out, so that rounding hides them; functions that are flatter
than any power; one-sided flatness; lines of zeros in many directions through one point.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from .duals import Jet, matvec
from .reference_flow import flow_ends
from .shapes import turned
from .structure import STARTS, Draw, Start, Structure

__all__ = ["STRUCTURES"]

_ROUNDS, _POINTS = 8, 12

# Ridges: -s x^2/2 + q x^4/4 + b y^2/2 + e x y^2 + d x^2 y + y^4/20 + z^2/2 + f x y z, x = y = z = 0 the saddle


def _ridge(params: dict, data: dict) -> Any:
    x, y, z = data["R"] @ params["x"]
    c = data["c"]
    bent = c[3] * x * y**2 + c[4] * x**2 * y + y**4 / 20 + z**2 / 2 + c[5] * x * y * z
    return -c[0] * x**2 / 2 + c[1] * x**4 / 4 + c[2] * y**2 / 2 + bent + z**4 / 20


def _ridge_jet(v: Jet, data: dict) -> Jet:
    u = matvec(data["R"], v)
    x, y, z = u.at(0), u.at(1), u.at(2)
    c = [data["c"][..., i] for i in range(6)]
    twenty = 1 / (20 + 0 * c[0])
    total = x**2 * (c[0] * -0.5) + x**4 * (c[1] * 0.25) + y**2 * (c[2] * 0.5) + x * y**2 * c[3] + x**2 * y * c[4]
    return total + (y**4 + z**4) * twenty + z**2 * 0.5 + x * y * z * c[5]


def _draw_ridge(rng: np.random.Generator, number: int) -> Draw:
    kind = ("slow ridge", "saddle")[number % 2]
    c = np.array([1, 1, 0.05 if kind == "slow ridge" else 10.0 ** rng.uniform(-1, 1), *(0.3 * rng.normal(size=3))])
    turn = turned(rng, 3, number + 1)
    begin = np.append(0, rng.uniform(0.5, 2, 2) * rng.choice([-1, 1], 2))
    low, high, way = -1.5, 1.5, turn[0]
    for _ in range(_ROUNDS):
        grid = np.linspace(low, high, _POINTS)
        points = turn.T @ begin + grid[:, None] * way
        data = {"R": np.broadcast_to(turn, (_POINTS, 3, 3)), "c": np.broadcast_to(c, (_POINTS, 6))}
        sides = flow_ends(_RIDGES, data, points, 1e-8, 400).vectors @ turn[0] > 0
        changes = np.flatnonzero(sides[1:] != sides[:-1])
        if not len(changes):
            break
        low, high = grid[changes[0]], grid[changes[0] + 1]
    offsets = 10.0 ** -rng.uniform(1, 6, STARTS) * rng.choice([-1, 1], STARTS)
    starts = [turn.T @ begin + ((low + high) / 2 + x) * way for x in offsets]
    return Draw({"R": turn, "c": c}, tuple(map(Start, starts)), kind)


# p(x) + c_0 exp(-1/x^2) + c_1 max(x, 0)^3 + c_2 (product of lines in the plane of x and y)^2 + c_3 y^2 + z^2

_DEGREE = 12
_LINES = 8


def _flat(params: dict, data: dict) -> Any:
    x, y, z = data["R"] @ params["x"]
    c = data["c"]
    powers = jnp.stack([x**k for k in range(_DEGREE + 1)])
    safe = jnp.where(x == 0, 1.0, x)
    flat = jnp.where(x == 0, 0.0, jnp.exp(-1 / safe**2))
    lines = jnp.prod(data["lines"][:, 0] * x + data["lines"][:, 1] * y)
    return data["p"] @ powers + c[0] * flat + c[1] * jnp.maximum(x, 0.0) ** 3 + c[2] * lines**2 + c[3] * y**2 + z**2


def _flat_jet(v: Jet, data: dict) -> Jet:
    u = matvec(data["R"], v)
    x, y, z = u.at(0), u.at(1), u.at(2)
    c = [data["c"][..., i] for i in range(4)]
    total = x.flat() * c[0] + x.positive() ** 3 * c[1] + y**2 * c[3] + z**2
    power, product = x * 0 + 1, x * 0 + 1
    for k in range(_DEGREE + 1):
        total = total + power * data["p"][..., k]
        power = power * x
    for j in range(_LINES):
        product = product * (x * data["lines"][..., j, 0] + y * data["lines"][..., j, 1])
    return total + product**2 * c[2]


def _draw_flat(rng: np.random.Generator, number: int) -> Draw:
    kind = ("multiplied out", "exp(-1/x^2)", "one-sided", "eight lines")[number % 4]
    c, p, lines = np.array([0, 0, 0, 1.0]), np.zeros(_DEGREE + 1), np.zeros((_LINES, 2))
    turn = turned(rng, 3, number // 4)
    starts = [np.append(rng.uniform(0.3, 1.5), rng.normal(size=2)) for _ in range(STARTS)]
    if kind == "multiplied out":
        order = (4, 6, 8, 10, 12)[number // 4 % 5]
        p[: order + 1] = np.poly(np.ones(order))[::-1] * rng.integers(1, 4)
        starts = [u + np.array([1.0, 0, 0]) for u in starts]
        kind = f"{kind}, order {order}"
        turn = np.eye(3)
    elif kind == "exp(-1/x^2)":
        c[0] = rng.uniform(0.5, 3)
    elif kind == "one-sided":
        c[1], turn = rng.uniform(0.5, 3), np.eye(3)
        starts[1][0] = 0
    else:
        c[2], c[3], turn = 1, 0, np.eye(3)
        angles = [np.cos((1.7 + k) * np.array([0.3, 1.3])) for k in range(4)]
        lines = np.array([[-s * w[1], w[0]] for w in angles for s in (1, -1)])
        starts = [np.append([0, 0], rng.normal()) for _ in range(STARTS)]
    data = {"R": turn, "c": c, "p": p, "lines": lines}
    return Draw(data, tuple(Start(turn.T @ u, "degenerate") for u in starts), kind)


_RIDGES = Structure("ridges", {"x": (3,)}, _ridge, _ridge_jet, _draw_ridge)

STRUCTURES = (_RIDGES, Structure("flat", {"x": (3,)}, _flat, _flat_jet, _draw_flat))
