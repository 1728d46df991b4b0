"""Families of hard problems: what the library compiles once for, (architecture, kind of loss, rows, dtype)."""

from typing import NamedTuple

import numpy as np

import lcnn_flow as lf

__all__ = ["FAMILIES", "FAST", "Family", "architecture"]


class Family(NamedTuple):
    """Problems of one shape."""

    loss: str
    """A key of `lf.losses.LOSSES`."""
    kernels: tuple
    strides: tuple
    outputs: int | tuple = 1
    """Output positions per sample."""
    samples: int = 10
    p: float | None = None
    """Exponent of the l_p loss, which is static."""
    dtype: str = "float64"
    channels: tuple | None = None

    def __str__(self) -> str:
        loss = self.loss if self.p is None else f"l_{self.p:g}"
        shape = "x".join(str(k).replace(" ", "") for k in self.kernels)
        extra = "" if self.channels is None else f", channels {self.channels}"
        single = ", float32" if self.dtype == "float32" else ""
        return f"{loss} {shape}, strides {self.strides}, {self.samples} samples of {self.outputs}{extra}{single}"


FAMILIES = (
    Family("square", (2, 2), (1, 1)),
    Family("lp", (2, 2), (1, 1), p=6.0),
    Family("generalized_huber", (2, 2), (1, 1), samples=8),
    Family("square", (3, 2), (2, 1), outputs=3, samples=6),
    Family("square", (1, 1), (1, 1), samples=3),
    Family("square", (2, 2, 2), (1, 1, 1)),
    Family("square", (3, 3), (1, 1), samples=5),
    Family("square", (2, 2), (1, 1), samples=2),
    Family("square", (4,), (1,), samples=6),
    Family("square", (2, 1, 2), (1, 1, 1), samples=6),
    Family("square", (2, 2, 2, 2), (1, 1, 1, 1), samples=8),
    Family("square", (2, 2, 2, 2, 2), (2, 1, 1, 1, 1), samples=14),
    Family("square", (2, 1, 2, 1, 2, 1), (1, 1, 1, 1, 1, 1), samples=6),
    Family("square", ((2, 2), (2, 2)), ((1, 1), (1, 1)), outputs=(1, 1), samples=12),
    Family("lp", (2, 2), (1, 1), samples=8, p=1.1),
    Family("lp", (2, 2), (1, 1), samples=8, p=1.5),
    Family("lp", (3, 2), (1, 1), samples=6, p=3.0),
    Family("lp", (2, 2), (1, 1), outputs=2, samples=5, p=4.0),
    Family("lp", (2, 2, 2), (1, 1, 1), samples=8, p=4.0),
    Family("lp", (3, 3), (1, 1), samples=8, p=6.0),
    Family("pseudo_huber", (2, 2), (1, 1), samples=8),
    Family("pseudo_huber", (3, 2), (2, 1), outputs=2, samples=8),
    Family("pseudo_huber", (2, 2, 2), (1, 1, 1), samples=8),
    Family("pseudo_huber", (2, 2), (1, 1), samples=2),
    Family("generalized_huber", (3, 3), (1, 1), samples=8),
    Family("generalized_huber", (2, 2, 2), (2, 1, 1), samples=8),
    Family("generalized_huber", (1, 1, 1), (1, 1, 1), samples=4),
    Family("log_cosh", (2, 2), (1, 1), samples=8),
    Family("log_cosh", (3, 2), (1, 1), outputs=2, samples=6),
    Family("log_cosh", (2, 2, 2, 2), (1, 1, 1, 1), samples=8),
    Family("log_cosh", ((2, 2), (1, 2)), ((1, 1), (1, 1)), outputs=(1, 1), samples=10),
    Family("square", (2, 2), (1, 1), dtype="float32"),
    Family("pseudo_huber", (2, 2, 2), (1, 1, 1), samples=8, dtype="float32"),
    Family("lp", (2, 2), (1, 1), samples=8, p=4.0, dtype="float32"),
    Family("square", (2, 2), (1, 1), samples=8, channels=(1, 2, 1)),
    Family("pseudo_huber", (2, 2), (1, 1), samples=8, channels=(2, 2, 1)),
)
FAST = ((0, ("ensemble",), 12),)
"""Families of the fast lane, the engine that runs each, and how many conditions: 12 are every kind of data once."""


def architecture(family: Family) -> lf.Architecture:
    """With the input that gives the wanted outputs."""
    outputs = np.atleast_1d(family.outputs)
    shape = outputs
    for kernel, stride in zip(reversed(family.kernels), reversed(family.strides), strict=True):
        shape = (shape - 1) * np.broadcast_to(stride, outputs.shape) + np.broadcast_to(kernel, outputs.shape)
    return lf.Architecture(tuple(shape.tolist()), family.kernels, family.strides, channels=family.channels)
