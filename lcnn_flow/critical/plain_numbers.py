"""A risk as plain numbers, for arithmetic on the host and in worker processes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lcnn_flow.critical.ball_losses import BALL_LOSSES
from lcnn_flow.critical.plain_network import PlainNetwork, plain_network
from lcnn_flow.errors import RiskError
from lcnn_flow.losses.classification import MarginLoss
from lcnn_flow.network.filters import tap_offsets
from lcnn_flow.network.forward import patches
from lcnn_flow.risk.base import check_single
from lcnn_flow.risk.empirical import EmpiricalRisk

__all__ = ["PlainRisk", "has_one_filter", "plain_numbers_of", "plain_risk"]


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
    """(rows, taps); times the labels for a margin loss."""
    targets: np.ndarray
    """(rows,); 0 for a margin loss."""
    weights: np.ndarray
    """(rows,), those of the samples; they count relative to their sum over samples."""
    outputs: int
    """Rows per sample."""
    decay: float = 0.0
    """lambda: the risk has the summand (lambda/2) |w|^2."""

    @property
    def num_conserved(self) -> int:
        """Number of quantities that gradient flow conserves."""
        return 0 if self.decay else len(self.offsets) - 1


def has_one_filter(risk: EmpiricalRisk) -> bool:
    """Whether the outputs are one convolution with a filter without channels: what `plain_risk` is for."""
    return risk.network.is_linear and risk.network.convolution().channels is None


def plain_numbers_of(risk: EmpiricalRisk) -> PlainRisk | PlainNetwork:
    """The numbers of a risk, in the form for linear networks of a single channel or in that for all networks.

    Raises:
        RiskError: a custom loss, a batch of risks, or a minibatch.
    """
    if has_one_filter(risk):
        return plain_risk(risk)
    _check(risk)
    return plain_network(risk)


def plain_risk(risk: EmpiricalRisk) -> PlainRisk:
    """The numbers of the risk of a linear network with a single channel, with or without weight decay.

    Raises:
        RiskError: an activation, channels, a custom loss, a batch of risks, or a minibatch.
    """
    if not has_one_filter(risk):
        raise RiskError(f"a patch matrix is for linear networks without channels, and this is {risk.network!r}")
    _check(risk)
    arch, loss = risk.network.convolution(), risk.loss
    windows = np.asarray(patches(arch, risk.data.inputs), float)
    samples, outputs, taps = windows.shape
    rows, targets = windows.reshape(-1, taps), np.asarray(risk.data.targets, float).reshape(-1)
    if isinstance(loss, MarginLoss):  # rho is taken of label times output
        rows, targets = targets[:, None] * rows, np.zeros_like(targets)
    weights = np.ones(samples) if risk.data.weights is None else np.asarray(risk.data.weights, float)
    decay = getattr(risk, "weight_decay", None)
    return PlainRisk(
        offsets=tap_offsets(arch),
        taps=taps,
        loss=loss.name,
        numbers={name: float(getattr(loss, name)) for name in loss.parameters},
        patches=rows,
        targets=targets,
        weights=np.repeat(weights, outputs),
        outputs=outputs,
        decay=0.0 if decay is None else float(decay),
    )


def _check(risk: EmpiricalRisk) -> None:
    """Raises RiskError for losses without ball arithmetic, and for what is not one risk of all samples."""
    check_single("certify", risk, "risk.condition(i) for each i")
    if risk.loss.name not in BALL_LOSSES:
        known = ", ".join(BALL_LOSSES)
        raise RiskError(f"no ball arithmetic for the loss {risk.loss.name!r}: use one of {known}")
    if risk.data is None or risk.share is not None:
        raise RiskError("certify: this risk is that of a minibatch: pass the risk of all samples")
