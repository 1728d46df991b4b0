"""Functions with critical points of every kind: degenerate polynomials, manifolds, crossings, saddles.

Turned by `R`: u = R x. Half a Hadamard matrix turns without rounding, so that starts can lie on stable manifolds.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from .duals import Jet, matvec
from .structure import STARTS, Draw, Start, Structure

__all__ = ["HALF_HADAMARD", "STRUCTURES", "turned"]

HALF_HADAMARD = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
_POWERS = (3, 4, 5, 6, 8, 10)


def turned(rng: np.random.Generator, n: int, number: int) -> np.ndarray:
    """An orthogonal matrix, the identity every third time."""
    return np.eye(n) if number % 3 == 0 else np.linalg.qr(rng.normal(size=(n, n)))[0]


# c . (u_1^3, u_1^4, ..., u_1^10) + (a u_2^2 + b u_3^2)/2 after a smooth change of variables


def _degenerate(params: dict, data: dict) -> Any:
    l1, l2, l3 = data["R"] @ jnp.concatenate([params["x"][None], params["y"]]) - data["shift"]
    k = data["bend"]
    u1, u2, u3 = l1 + k[0] * l2**2 + k[1] * l2 * l3, l2 + k[2] * l1**2, l3 + k[3] * l1**2 + k[4] * l1 * l2
    powers = jnp.stack([u1**p for p in _POWERS])
    return data["c"] @ powers + (data["a"][0] * u2**2 + data["a"][1] * u3**2) / 2


def _degenerate_jet(z: Jet, data: dict) -> Jet:
    line = matvec(data["R"], z) - data["shift"]
    l1, l2, l3 = line.at(0), line.at(1), line.at(2)
    k = [data["bend"][..., i] for i in range(5)]
    u1, u2, u3 = l1 + l2**2 * k[0] + l2 * l3 * k[1], l2 + l1**2 * k[2], l3 + l1**2 * k[3] + l1 * l2 * k[4]
    total = (u2**2 * data["a"][..., 0] + u3**2 * data["a"][..., 1]) * 0.5
    for i, p in enumerate(_POWERS):
        total = total + u1**p * data["c"][..., i]
    return total


def _draw_degenerate(rng: np.random.Generator, number: int) -> Draw:
    power = (4, 6, 8, 10, 3)[number % 5]
    bent = number % 4 >= 2
    coefficients = np.zeros(6)
    coefficients[_POWERS.index(power)] = 10.0 ** rng.uniform(-4, 2)
    if power == 3:
        coefficients[1] = coefficients[0] * rng.uniform(0.3, 2)
    if number % 7 == 6:
        coefficients[5] += 10.0 ** rng.uniform(-2, 1)
    turn, shift = turned(rng, 3, number), rng.normal(size=3) * (number % 2)
    starts = []
    for i in range(STARTS):
        u = rng.normal(size=3) * rng.uniform(0.3, 1.5)
        if power == 3 and i == 0:
            u[0] = abs(u[0])
        if i and number % 3 == 0:
            u[0] = 0 if number % 2 else 10.0 ** -rng.uniform(1, 10)
        starts.append(Start(np.linalg.solve(turn, u + shift), "" if bent or power == 3 else "degenerate"))
    bend = rng.normal(size=5) * 0.3 * bent
    data = {"R": turn, "shift": shift, "bend": bend, "c": coefficients, "a": 10.0 ** rng.uniform(-2, 2, 2)}
    return Draw(data, tuple(starts), f"order {power}{', bent' * bent}")


# Squares of submersions: g_j = a_j.x + x.B_j x - c_j, and (x.Q x - 1)^2


def _submersion(params: dict, data: dict) -> Any:
    x = params["x"]
    g = data["A"] @ x + jnp.sum((data["B"] @ x) * x[None, :], axis=1) - data["c"]
    return jnp.sum(data["w"] * g**2)


def _submersion_jet(z: Jet, data: dict) -> Jet:
    total = None
    for j in range(2):
        quadratic = (matvec(data["B"][..., j, :, :], z) * z).sum()
        g = (z * data["A"][..., j, :]).sum() + quadratic - data["c"][..., j]
        term = g**2 * data["w"][..., j]
        total = term if total is None else total + term
    return total


def _draw_submersion(rng: np.random.Generator, number: int) -> Draw:
    kind = ("sphere", "ellipsoid", "two equations", "strongly curved", "sphere in a plane")[number % 5]
    a, b, c, w = rng.normal(size=(2, 4)), np.zeros((2, 4, 4)), rng.normal(size=2), 10.0 ** rng.uniform(-1, 1, 2)
    if kind in ("two equations", "strongly curved"):
        b = rng.normal(size=(2, 4, 4)) * (0.3 if kind == "two equations" else 10.0 ** rng.uniform(0, 1.5))
    else:
        a[0], b[0], c[0] = 0, np.eye(4), 1
        if kind == "ellipsoid":
            q = np.linalg.qr(rng.normal(size=(4, 4)))[0]
            b[0] = q * 10.0 ** rng.uniform(-1, 1, 4) @ q.T
        if kind != "sphere in a plane":
            w[1] = 0
        else:
            c[1] = 0.3 * np.linalg.norm(a[1])
    starts = [Start(rng.normal(size=4)), Start(10.0 ** rng.uniform(-3, 1) * rng.normal(size=4))]
    if number % 11 == 0:
        starts[1] = Start(np.zeros(4))
    return Draw({"A": a, "B": b, "c": c, "w": w}, tuple(starts), kind)


# Crossings and other sets of zeros on which the rank is not constant


def _crossing(params: dict, data: dict) -> Any:
    u = data["R"] @ params["x"]
    c = data["c"]
    x, y, z, w = u[0], u[1], u[2], u[3]
    lines = (x * y * (x + y) * (x - y)) ** 2
    total = c[0] * (x * y) ** 2 + c[1] * x**2 * y**4 + c[2] * (y**2 - x**3) ** 2 + c[3] * lines
    return total + c[4] * (x * y * z) ** 2 + c[5] * z**2 + w**2


def _crossing_jet(v: Jet, data: dict) -> Jet:
    u = matvec(data["R"], v)
    c = [data["c"][..., i] for i in range(6)]
    x, y, z, w = (u.at(i) for i in range(4))
    total = (x * y) ** 2 * c[0] + (x * y**2) ** 2 * c[1] + (y**2 - x**3) ** 2 * c[2]
    total = total + (x * y * (x + y) * (x - y)) ** 2 * c[3]
    return total + (x * y * z) ** 2 * c[4] + z**2 * c[5] + w**2


def _draw_crossing(rng: np.random.Generator, number: int) -> Draw:
    chosen = number % 5
    kind = ("(xy)^2", "x^2 y^4", "cusp", "four lines", "(xyz)^2")[chosen]
    c = np.zeros(6)
    c[chosen], c[5] = 10.0 ** rng.uniform(-1, 1), 0.0 if chosen == 4 else rng.uniform(0.3, 3)
    turn = (np.eye(4), HALF_HADAMARD, np.linalg.qr(rng.normal(size=(4, 4)))[0])[number % 3]
    starts = []
    for i in range(STARTS):
        u = np.round(rng.normal(size=4) * 64) / 64
        if i and number % 4 < 3:
            u[1] = u[0] + (0, 10.0 ** -rng.uniform(1, 12), 0)[number % 4]
            if number % 4 == 2:
                u[:2] = 0
        starts.append(Start(turn.T @ u))
    return Draw({"R": turn, "c": c}, tuple(starts), kind)


# Saddles, simple and of higher order


def _saddle(params: dict, data: dict) -> Any:
    u, c = data["R"] @ params["x"], data["c"]
    x, y, z = u[0], u[1], u[2]
    total = c[0] * x**2 + c[1] * x**3 + c[2] * x * y**2 + c[3] * x**4 + c[4] * x**6 + c[5] * (x**2 + y**2) ** 2
    return total + c[6] * y**2 + c[7] * x**2 * z + z**2 / 2 + u[3] ** 2


def _saddle_jet(v: Jet, data: dict) -> Jet:
    u = matvec(data["R"], v)
    c = [data["c"][..., i] for i in range(8)]
    x, y, z = u.at(0), u.at(1), u.at(2)
    total = x**2 * c[0] + x**3 * c[1] + x * y**2 * c[2] + x**4 * c[3] + x**6 * c[4]
    return total + (x**2 + y**2) ** 2 * c[5] + y**2 * c[6] + x**2 * z * c[7] + z**2 * 0.5 + u.at(3) ** 2


def _draw_saddle(rng: np.random.Generator, number: int) -> Draw:
    kind = ("two wells", "two wells", "bent wells", "monkey", "cubic", "y^2 - x^4")[number % 6]
    strength = 10.0 ** rng.uniform(-1, 1)
    c = np.zeros(8)
    c[6] = 10.0 ** rng.uniform(-1, 1)
    if "wells" in kind:
        c[0], c[3], c[7] = -strength, strength, 0.5 * strength**0.5 * (kind == "bent wells")
    elif kind == "monkey":
        c[1], c[2], c[5], c[6] = strength / 3, -strength, strength / 4, 0
    elif kind == "cubic":
        c[1], c[3] = strength, strength / 2
    else:
        c[3], c[4] = -strength, strength
    turn = (np.eye(4), HALF_HADAMARD, HALF_HADAMARD[[2, 0, 3, 1]])[number % 3]
    starts = []
    for i in range(STARTS):
        u = np.round(rng.normal(size=4) * 64) / 64
        u[0] = 0 if i == 0 else rng.choice([-1, 1]) * 10.0 ** -rng.uniform(3, 12)
        if i == 0 and number % 5 == 4:
            u[:] = 0
        known, place = "", None
        if "wells" in kind:
            known, place = ("saddle", None) if i == 0 else ("side", turn[0] * np.sign(u[0]))
        elif i == 0 and kind != "monkey":
            known = "degenerate"
        starts.append(Start(turn.T @ u, known, place))
    return Draw({"R": turn, "c": c}, tuple(starts), kind)


STRUCTURES = (
    Structure("degenerate", {"x": (), "y": (2,)}, _degenerate, _degenerate_jet, _draw_degenerate),
    Structure("manifolds", {"x": (4,)}, _submersion, _submersion_jet, _draw_submersion),
    Structure("crossings", {"x": (4,)}, _crossing, _crossing_jet, _draw_crossing),
    Structure("saddles", {"x": (4,)}, _saddle, _saddle_jet, _draw_saddle),
)
