"""Sums of squares, factorisations of matrices and tensors, small networks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .duals import Jet, matvec
from .structure import STARTS, Draw, Start, Structure

__all__ = ["STRUCTURES"]


def half_squares(residuals: Any, axes: int = 1) -> Any:
    """Half the sum of squares of a jet."""
    return (residuals**2).sum(axes) * 0.5


# Sums of squares


def _squares(params: dict, data: dict) -> Any:
    return jnp.sum((data["A"] @ params["x"] - data["b"]) ** 2) / 2


def _squares_jet(z: Jet, data: dict) -> Jet:
    return half_squares(matvec(data["A"], z) - data["b"])


def _draw_squares(rng: np.random.Generator, number: int) -> Draw:
    kind = ("full rank", "rank deficient", "ill-conditioned", "wide")[number % 4]
    if kind == "rank deficient":
        matrix = rng.integers(-3, 4, (6, 2)) @ rng.integers(-3, 4, (2, 4)) * 1.0
    elif kind == "ill-conditioned":
        left, right = (np.linalg.qr(rng.normal(size=(k, 4)))[0] for k in (6, 4))
        matrix = left * np.geomspace(1, 10.0 ** -rng.uniform(1, 6), 4) @ right
    else:
        matrix = rng.normal(size=(6, 4))
        if kind == "wide":
            matrix[3:] = 0
    starts = [rng.normal(size=4), np.zeros(4) if number % 3 else 10.0 ** rng.uniform(-6, 3) * rng.normal(size=4)]
    return Draw({"A": matrix, "b": rng.normal(size=6)}, tuple(map(Start, starts)), kind)


# U V^T = Y


def _factors(params: dict, data: dict) -> Any:
    return jnp.sum((params["U"] @ params["V"].T - data["Y"]) ** 2) / 2


def _balance(params: dict) -> Any:
    difference = params["U"].T @ params["U"] - params["V"].T @ params["V"]
    return [difference[i, j] for i in range(difference.shape[0]) for j in range(i + 1)]


def _factors_jet(k: int, r: int):
    def jet(z: Jet, data: dict) -> Jet:
        total = None
        for i in range(k):
            for j in range(k):
                terms = [z.at(i * r + c) * z.at(k * r + j * r + c) for c in range(r)]
                entry = sum(terms[1:], terms[0]) - data["Y"][..., i, j]
                total = entry**2 if total is None else total + entry**2
        return total * 0.5

    return jet


def _factorisation(k: int, r: int, name: str, declared: bool) -> Structure:
    def draw(rng: np.random.Generator, number: int) -> Draw:
        kind = ("random", "low rank", "symmetric", "zero", "small starts", "balanced starts")[number % 6]
        target = rng.normal(size=(k, k))
        if kind == "low rank":
            target = np.outer(rng.integers(-2, 3, k), rng.integers(1, 3, k)) * 1.0
        elif kind == "symmetric":
            target = np.round(4 * (target + target.T)) / 4
        elif kind == "zero":
            target = np.zeros((k, k))
        starts = []
        for i in range(STARTS):
            u, v = rng.normal(size=(2, k, r)) * (10.0 ** -rng.uniform(1, 4) if kind == "small starts" else 1.0)
            if kind == "balanced starts":
                v = u * 1.0
            if number % 11 == 10 and i:
                u, v = 0 * u, 0 * v
            starts.append(Start(np.concatenate([u.ravel(), v.ravel()])))
        return Draw({"Y": target}, tuple(starts), kind)

    shapes = {"U": (k, r), "V": (k, r)}
    conserved = _balance if declared else None
    return Structure(name, shapes, _factors, _factors_jet(k, r), draw, conserved, r * (r + 1) // 2)


# Tensors of order 3


def _tensor(params: dict, data: dict) -> Any:
    model = jnp.einsum("ir,jr,kr->ijk", params["a"], params["b"], params["c"])
    return jnp.sum((model - data["T"]) ** 2) / 2


def _tensor_jet(r: int):
    def jet(z: Jet, data: dict) -> Jet:
        total = None
        for i in range(2):
            for j in range(2):
                pairs = [z.at(i * r + c) * z.at(2 * r + j * r + c) for c in range(r)]
                for k in range(2):
                    terms = [pairs[c] * z.at(4 * r + k * r + c) for c in range(r)]
                    entry = sum(terms[1:], terms[0]) - data["T"][..., i, j, k]
                    total = entry**2 if total is None else total + entry**2
        return total * 0.5

    return jet


def _tensors(r: int) -> Structure:
    def draw(rng: np.random.Generator, number: int) -> Draw:
        kind = ("random", "low rank")[number % 2]
        target = rng.normal(size=(2, 2, 2))
        if kind == "low rank":
            target = np.einsum("i,j,k->ijk", *rng.integers(1, 4, (3, 2))) * 1.0
        scale = 10.0 ** rng.uniform(-2, 0.3, STARTS)
        return Draw({"T": target}, tuple(Start(s * rng.normal(size=6 * r)) for s in scale), kind)

    return Structure(f"CP rank {r}", {"a": (2, r), "b": (2, r), "c": (2, r)}, _tensor, _tensor_jet(r), draw)


# Networks of one input and one output


def _shallow(params: dict, data: dict) -> Any:
    hidden = jnp.tanh(data["x"][:, None] * params["w"][None, :] + params["b"][None, :])
    return jnp.mean((hidden @ params["v"] - _targets(data)) ** 2) / 2


def _targets(data: dict) -> Any:
    """Those of a teacher are computed with the function: rounded, no network would fit them."""
    t = data["teacher"]
    return data["y"] + t[0] * jnp.tanh(t[1] * data["x"] + t[2])


def _targets_jet(z: Jet, data: dict) -> Jet:
    t = [data["teacher"][..., i : i + 1] for i in range(3)]
    return (_wide(z.at(0)) * 0 + data["x"] * t[1] + t[2]).tanh() * t[0] + data["y"]


def _shallow_jet(z: Jet, data: dict) -> Jet:
    x, total = data["x"], None
    for k in range(2):
        term = (_wide(z.at(2 + k)) * x + _wide(z.at(k))).tanh() * _wide(z.at(4 + k))
        total = term if total is None else total + term
    return half_squares(total - _targets_jet(z, data)) * _one_over(x)


def _deep(params: dict, data: dict) -> Any:
    hidden = jax.nn.softplus(data["x"][:, None] * params["w"][None, :] + params["b"][None, :])
    hidden = jax.nn.softplus(hidden @ params["m"] + params["c"][None, :])
    return jnp.mean((hidden @ params["v"] - _targets(data)) ** 2) / 2


def _deep_jet(z: Jet, data: dict) -> Jet:
    """Parameters in the order b, c, m, v, w."""
    x = data["x"]
    first = [(_wide(z.at(10 + k)) * x + _wide(z.at(k))).softplus() for k in range(2)]
    total = None
    for k in range(2):
        inner = first[0] * _wide(z.at(4 + k)) + first[1] * _wide(z.at(6 + k)) + _wide(z.at(2 + k))
        term = inner.softplus() * _wide(z.at(8 + k))
        total = term if total is None else total + term
    return half_squares(total - _targets_jet(z, data)) * _one_over(x)


def _wide(jet: Jet) -> Jet:
    """With an axis for the data."""
    h = None if jet.h is None else jet.h[..., None, :, :]
    return Jet(jet.v[..., None], jet.g[..., None, :], h)


def _one_over(x: np.ndarray) -> np.ndarray:
    count = np.full(x.shape[:-1], x.shape[-1])
    return 1.0 / count if x.dtype != object else 1 / (count + 0 * x[..., 0])


def _network(name: str, count: int, shapes: dict, function: Any, jet: Any) -> Structure:
    size = sum(int(np.prod(s)) for s in shapes.values())

    def draw(rng: np.random.Generator, number: int) -> Draw:
        kind = ("noise", "smooth", "teacher", "duplicate inputs")[number % 4]
        x, y = np.sort(rng.normal(size=count)), rng.normal(size=count)
        if kind == "duplicate inputs":
            x[1] = x[0]
        teacher = np.array([0.7, 1.1, -0.2]) * (kind == "teacher")
        if kind in ("smooth", "teacher"):
            y = np.sin(rng.uniform(0.5, 2) * x) * (kind == "smooth")
        scale = 10.0 ** rng.uniform(-1, 0.3, STARTS)
        starts = [s * rng.normal(size=size) for s in scale]
        if number % 7 == 6:
            starts[1][1::2] = starts[1][::2]  # both hidden units alike
        return Draw({"x": x, "y": y, "teacher": teacher}, tuple(map(Start, starts)), kind)

    return Structure(name, shapes, function, jet, draw)


_SHALLOW = {"b": (2,), "w": (2,), "v": (2,)}
_DEEP = {"b": (2,), "c": (2,), "m": (2, 2), "v": (2,), "w": (2,)}

STRUCTURES = (
    Structure("squares", {"x": (4,)}, _squares, _squares_jet, _draw_squares),
    _factorisation(2, 2, "U V^T square", False),
    _factorisation(2, 2, "U V^T declared", True),
    _factorisation(3, 1, "U V^T rank 1", False),
    _factorisation(2, 3, "U V^T wide", False),
    _tensors(1),
    _tensors(2),
    _network("tanh, more data", 9, _SHALLOW, _shallow, _shallow_jet),
    _network("tanh, fewer data", 4, _SHALLOW, _shallow, _shallow_jet),
    _network("softplus, deep", 5, _DEEP, _deep, _deep_jet),
)
