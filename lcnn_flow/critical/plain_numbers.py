"""A risk as plain numbers, for arithmetic on the host and in worker processes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lcnn_flow.critical.ball_losses import BALL_LOSSES
from lcnn_flow.errors import RiskError
from lcnn_flow.network.filters import tap_offsets
from lcnn_flow.network.forward import patches
from lcnn_flow.risk.empirical import EmpiricalRisk
from lcnn_flow.risk.linear import check_linear

__all__ = ["PlainRisk", "plain_risk"]


@dataclass(frozen=True, eq=False)
class PlainRisk:
    """A single-channel risk as plain arrays of the host, free of jax: may be sent to other processes.

    It equals itself alone.
    """

    offsets: tuple[tuple[int, ...], ...]
    """Flat offset of every tap of every layer in the end-to-end filter."""
    taps: int
    """Entries of the end-to-end filter."""
    loss: str
    numbers: Mapping[str, float]
    patches: np.ndarray
    """(rows, taps)."""
    targets: np.ndarray
    """(rows,)."""
    weights: np.ndarray
    """(rows,), those of the samples; they count relative to their sum over samples."""
    outputs: int
    """Rows a sample."""


def plain_risk(risk: EmpiricalRisk) -> PlainRisk:
    """The numbers of a single-channel risk with one of the named losses.

    Raises:
        RiskError: not a linear network, channels, a custom loss, or a batch of risks.
    """
    arch = check_linear("certify", risk).arch
    if arch.channels is not None:
        raise RiskError("ball arithmetic is for single-channel networks: this architecture has channels")
    if risk.loss.name not in BALL_LOSSES:
        raise RiskError(f"no ball arithmetic for the loss {risk.loss.name!r}: known are {', '.join(BALL_LOSSES)}")
    if risk.num_conditions is not None:
        raise RiskError("a batch of risks: pass one of them, risk.condition(i)")
    windows = np.asarray(patches(arch, risk.data.inputs), float)
    samples, outputs, taps = windows.shape
    weights = np.ones(samples) if risk.data.weights is None else np.asarray(risk.data.weights, float)
    return PlainRisk(
        offsets=tap_offsets(arch),
        taps=taps,
        loss=risk.loss.name,
        numbers={name: float(getattr(risk.loss, name)) for name in risk.loss.parameters},
        patches=windows.reshape(-1, taps),
        targets=np.asarray(risk.data.targets, float).reshape(-1),
        weights=np.repeat(weights, outputs),
        outputs=outputs,
    )
