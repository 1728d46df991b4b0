"""Valleys that lead to infinity, bent valleys, narrow wells and many minima."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .duals import Jet, matvec
from .shapes import turned
from .structure import STARTS, Draw, Start, Structure

__all__ = ["STRUCTURES"]

# Valleys to infinity


def _valley(params: dict, data: dict) -> Any:
    u, c = data["R"] @ params["x"], data["c"]
    x, y, z = u[0], u[1], u[2]
    total = c[0] * jnp.exp(-x) + c[1] * y**2 * jnp.exp(-x) + c[2] / (1 + x**2) + c[3] * (1 - jnp.tanh(x))
    return total + c[4] * jax.nn.softplus(-x) + c[5] * y**2 + z**2


def _valley_jet(v: Jet, data: dict) -> Jet:
    u = matvec(data["R"], v)
    c = [data["c"][..., i] for i in range(6)]
    x, y, z = u.at(0), u.at(1), u.at(2)
    low = (-x).exp()
    total = low * c[0] + y**2 * low * c[1] + (1 + x**2).inverse() * c[2] + (1 - x.tanh()) * c[3]
    return total + (-x).softplus() * c[4] + y**2 * c[5] + z**2


def _draw_valley(rng: np.random.Generator, number: int) -> Draw:
    chosen = number % 5
    kind = ("exp(-x)", "y^2 exp(-x)", "1/(1+x^2)", "1 - tanh(x)", "log(1+exp(-x))")[chosen]
    c = np.zeros(6)
    c[chosen], c[5] = 10.0 ** rng.uniform(-1, 1), 0.0 if chosen == 1 else 10.0 ** rng.uniform(-1, 1)
    turn, starts = turned(rng, 3, number), []
    for i in range(STARTS):
        u = rng.normal(size=3)
        if i and chosen != 2:
            u[0] += rng.uniform(0, 30)
        elif chosen == 2:
            u[0] = abs(u[0]) + 0.1
        starts.append(Start(turn.T @ u, "" if chosen == 1 else "none"))
    return Draw({"R": turn, "c": c}, tuple(starts), kind)


def _logistic(params: dict, data: dict) -> Any:
    return jnp.sum(jax.nn.softplus(-(data["X"] @ params["w"])))


def _logistic_jet(z: Jet, data: dict) -> Jet:
    return (-matvec(data["X"], z)).softplus().sum()


def _draw_logistic(rng: np.random.Generator, number: int) -> Draw:
    kind = ("separable", "not separable")[number % 2]
    x, w = rng.normal(size=(8, 3)), rng.normal(size=3)
    x *= np.sign(x @ w)[:, None]
    if kind == "not separable":
        x[:2] = -x[2:4] * rng.uniform(0.3, 1, (2, 1))
        x[4] = -(x[2:4].sum(axis=0) + x[5:].sum(axis=0))
    scale = 10.0 ** rng.uniform(-2, 1, STARTS)
    known = "none" if kind == "separable" else ""
    return Draw({"X": x}, tuple(Start(s * rng.normal(size=3), known) for s in scale), kind)


# Rosenbrock


def _rosenbrock(params: dict, data: dict) -> Any:
    x, a, b = params["x"], data["a"], data["b"]
    return a * (1 - x[0]) ** 2 + b * (x[1] - x[0] ** 2) ** 2 + b * (x[2] - x[1] ** 2) ** 2


def _rosenbrock_jet(z: Jet, data: dict) -> Jet:
    x, y, w = z.at(0), z.at(1), z.at(2)
    return (1 - x) ** 2 * data["a"] + (y - x**2) ** 2 * data["b"] + (w - y**2) ** 2 * data["b"]


def _draw_rosenbrock(rng: np.random.Generator, number: int) -> Draw:
    data = {"a": np.asarray(rng.uniform(0.3, 3)), "b": np.asarray(10.0 ** rng.uniform(0, 6))}
    return Draw(data, tuple(Start(rng.normal(size=3), "limit", np.ones(3)) for _ in range(STARTS)), "Rosenbrock")


# One coordinate apart from the other: u_i^2 a_i/2 - A_i exp(-((u_i - c_i)/w_i)^2) + B_i cos(k_i u_i)


def _wells(params: dict, data: dict) -> Any:
    u = data["R"] @ params["x"]
    gauss = data["A"] * jnp.exp(-(((u - data["c"]) / data["w"]) ** 2))
    return jnp.sum(data["a"] * u**2 / 2 - gauss + data["B"] * jnp.cos(data["k"] * u))


def _wells_jet(v: Jet, data: dict) -> Jet:
    u = matvec(data["R"], v)
    gauss = (-(((u - data["c"]) * (1 / data["w"])) ** 2)).exp() * data["A"]
    return (u**2 * (data["a"] * 0.5) - gauss + (u * data["k"]).cos() * data["B"]).sum()


def _slope(u: np.ndarray, d: dict, i: int) -> np.ndarray:
    a, depth, c, w, b, k = (d[x][i] for x in ("a", "A", "c", "w", "B", "k"))
    return a * u + 2 * depth * (u - c) / w**2 * np.exp(-(((u - c) / w) ** 2)) - b * k * np.sin(k * u)


def _downhill(u: float, d: dict, i: int) -> float:
    """The first zero of the slope downhill of u: on a fine grid, then by bisection."""
    way = -np.sign(_slope(np.asarray(u), d, i))
    if way == 0:
        return u
    grid = u + way * np.linspace(0, 8, 800_001)
    first = int(np.argmax(way * _slope(grid, d, i) >= 0))
    low, high = grid[first - 1], grid[first]
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if way * _slope(np.asarray(middle), d, i) < 0 else (low, middle)
    return float((low + high) / 2)


def _draw_wells(rng: np.random.Generator, number: int) -> Draw:
    kind = ("wide Gaussians", "slow cosines", "narrow Gaussians", "fast cosines")[number % 4]
    zero = np.zeros(2)
    d = {"R": turned(rng, 2, number), "a": rng.uniform(0.3, 3, 2), "A": zero, "c": zero, "w": zero + 1}
    d |= {"B": zero, "k": zero + 1}
    if "Gaussians" in kind:
        d["w"] = 10.0 ** (rng.uniform(-0.7, 0, 2) if "wide" in kind else rng.uniform(-2.5, -1, 2))
        d["c"] = rng.uniform(-1, 1, 2)
        d["A"] = d["w"] * rng.uniform(0.5, 6, 2)
    else:
        d["k"] = 10.0 ** (rng.uniform(0, 1, 2) if "slow" in kind else rng.uniform(1, 2.5, 2))
        d["B"] = rng.uniform(0.5, 6, 2) / d["k"]
    starts = []
    for _ in range(STARTS):
        u = rng.uniform(-3, 3, 2)
        x = d["R"].T @ u
        end = np.array([_downhill(u[i], d, i) for i in range(2)])
        starts.append(Start(x, "limit", d["R"].T @ end))
    return Draw(d, tuple(starts), kind)


# Gaussians in the plane


def _mixture(params: dict, data: dict) -> Any:
    x = params["x"]
    squares = jnp.sum((x[None, :] - data["c"]) ** 2, axis=1)
    return 0.05 * jnp.sum(x**2) - jnp.sum(data["A"] * jnp.exp(-squares * data["q"]))


def _mixture_jet(z: Jet, data: dict) -> Jet:
    total = (z**2).sum() * 0.05
    for j in range(8):
        squares = ((z - data["c"][..., j, :]) ** 2).sum()
        total = total - (squares * (-data["q"][..., j])).exp() * data["A"][..., j]
    return total


def _draw_mixture(rng: np.random.Generator, number: int) -> Draw:
    data = {"c": rng.uniform(-2, 2, (8, 2)), "A": rng.uniform(-0.3, 1, 8), "q": 10.0 ** rng.uniform(-0.5, 1.5, 8)}
    return Draw(data, tuple(Start(rng.uniform(-2.5, 2.5, 2)) for _ in range(STARTS)), "Gaussians")


STRUCTURES = (
    Structure("valleys", {"x": (3,)}, _valley, _valley_jet, _draw_valley),
    Structure("logistic", {"w": (3,)}, _logistic, _logistic_jet, _draw_logistic),
    Structure("Rosenbrock", {"x": (3,)}, _rosenbrock, _rosenbrock_jet, _draw_rosenbrock),
    Structure("wells", {"x": (2,)}, _wells, _wells_jet, _draw_wells),
    Structure("mixtures", {"x": (2,)}, _mixture, _mixture_jet, _draw_mixture),
)
