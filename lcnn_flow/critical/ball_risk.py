"""The empirical risk in ball arithmetic: enclosures of its gradient and Hessian, nothing rounded without a bound.

Data, loss parameters and filters are taken as the exact values of their floats. All filters are polynomials with
one exponent: the taps of layer l sit at flat offsets of the end-to-end filter that add up, in any dimension and with
any strides, so v[t] is the sum of prod_l w_l[a_l] over all taps with offsets summing to t.

    grad L = J^T g,   Hess L = J^T l''(v) J + sum_t g_t Hess v_t,   g = grad l(v),   J = dv/dw.
"""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from flint import arb, arb_mat

from lcnn_flow.critical.ball_losses import BALL_LOSSES, Derivatives, loss_derivatives, slope_and_bend
from lcnn_flow.errors import RiskError
from lcnn_flow.network.filters import tap_offsets
from lcnn_flow.network.forward import patches
from lcnn_flow.risk.empirical import EmpiricalRisk
from lcnn_flow.risk.linear import check_linear

__all__ = ["BallRisk", "PlainRisk", "Polynomial", "plain_risk", "product"]

Polynomial = dict[int, arb]
"""Coefficients by flat offset."""


@dataclass(frozen=True)
class PlainRisk:
    """A single-channel risk as plain arrays of the host, free of jax: may be sent to other processes."""

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


class BallRisk:
    """Gradient and Hessian of a risk at balls of filters, in units 2^e of each layer.

    Args:
        risk: the numbers.
        exponents: e_l, one a layer: filters are passed as w_l / 2^{e_l}, and derivatives are with respect to these.
    """

    def __init__(self, risk: PlainRisk, exponents: list[int]) -> None:
        self.risk = risk
        self.sizes = [len(offsets) for offsets in risk.offsets]
        self.ends = list(itertools.accumulate(self.sizes))
        unit = arb(2) ** sum(exponents)
        rows = [i for i in range(len(risk.targets)) if risk.weights[i] > 0]
        total = sum((arb(float(w)) for w in risk.weights[:: risk.outputs]), arb(0))
        self._weights = [arb(float(risk.weights[i])) / total for i in rows]
        entries = [[arb(float(x)) * unit for x in risk.patches[i]] for i in rows]
        self._patches = arb_mat(entries)
        self._turned = self._patches.transpose()
        self._targets = arb_mat([[arb(float(risk.targets[i]))] for i in rows])
        self._quadratic: tuple[arb_mat, arb_mat] | None = None
        if risk.loss == "square":  # P^T W P and P^T W y: after this the number of rows no longer counts
            weighted = arb_mat(
                [[w * x for x in row] for w, row in zip(self._weights, entries, strict=True)]
            ).transpose()
            self._quadratic = weighted * self._patches, weighted * self._targets

    def layers(self, vector: list[arb]) -> list[list[arb]]:
        """The raveled filters, one list a layer."""
        return [vector[end - size : end] for size, end in zip(self.sizes, self.ends, strict=True)]

    def gradient(self, vector: list[arb]) -> arb_mat:
        """Enclosure of grad L, (n, 1)."""
        _, slope, jacobian, _ = self.first_order(vector, second=False)
        return jacobian.transpose() * slope

    def hessian(self, vector: list[arb]) -> list[list[arb]]:
        """Enclosure of Hess L, (n, n), symmetric."""
        filters, slope, jacobian, curvature = self.first_order(vector, second=True)
        return (jacobian.transpose() * (curvature * jacobian) + self.filter_hessian(filters, slope)).tolist()

    def filters(self, vector: list[arb]) -> list[Polynomial]:
        """The filters by offset."""
        return [
            dict(zip(offsets, w, strict=True))
            for offsets, w in zip(self.risk.offsets, self.layers(vector), strict=True)
        ]

    def filter_hessian(self, filters: Sequence[Polynomial], column: arb_mat, fixed: Collection[int] = ()) -> arb_mat:
        """sum_t column_t Hess v_t, (n, n), in the layers other than the `fixed` ones; 0 in the rows of those."""
        size = self.ends[-1]
        result = arb_mat(size, size)
        free = [layer for layer in range(len(filters)) if layer not in fixed]
        for layer, other in itertools.combinations(free, 2):
            others = product(w for i, w in enumerate(filters) if i not in (layer, other))
            first, second = self.ends[layer] - self.sizes[layer], self.ends[other] - self.sizes[other]
            below, above = self.risk.offsets[layer], self.risk.offsets[other]
            for (i, a), (j, b) in itertools.product(enumerate(below, first), enumerate(above, second)):
                result[i, j] = sum((x * column[t + a + b, 0] for t, x in others.items()), arb(0))
                result[j, i] = result[i, j]
        return result

    def filter_jacobian(self, filters: Sequence[Polynomial], fixed: Collection[int] = ()) -> arb_mat:
        """dv/dw, (taps, n), in the layers other than the `fixed` ones, which count as 1; 0 in the columns of those."""
        rows = []
        for layer, offsets in enumerate(self.risk.offsets):
            others = product(w for i, w in enumerate(filters) if i != layer and i not in fixed)
            shifts = [] if layer in fixed else offsets
            rows += [[others.get(t - a, arb(0)) for t in range(self.risk.taps)] for a in shifts]
            rows += [[arb(0)] * self.risk.taps] * (len(offsets) - len(shifts))
        return arb_mat(rows).transpose()

    def end_to_end(self, filters: Sequence[Polynomial]) -> arb_mat:
        """v, (taps, 1)."""
        v = product(filters)
        return arb_mat([[v.get(t, arb(0))] for t in range(self.risk.taps)])

    def rows(self, filters: Sequence[Polynomial]) -> tuple[arb_mat, list[arb], list[arb]]:
        """P, the residuals P v - y and the weights, which sum to 1 over the samples, of the rows that count."""
        return self._patches, (self._patches * self.end_to_end(filters) - self._targets).entries(), self._weights

    @property
    def is_quadratic(self) -> bool:
        """Whether rows of the data no longer count."""
        return self._quadratic is not None

    def loss_derivatives(self, residual: arb) -> Derivatives:
        """The derivatives of rho on a ball of residuals."""
        return loss_derivatives(self.risk.loss, self.risk.numbers, residual)

    def first_order(self, vector: list[arb], second: bool) -> tuple[list[Polynomial], arb_mat, arb_mat, arb_mat]:
        """Filters by offset, g = grad l(v), J, and with `second` l''(v)."""
        filters = self.filters(vector)
        jacobian = self.filter_jacobian(filters)
        if self._quadratic is not None:
            gram, moment = self._quadratic
            return filters, gram * self.end_to_end(filters) - moment, jacobian, gram
        P, residuals, weights = self.rows(filters)
        both = [slope_and_bend(self.risk.loss, self.risk.numbers, r) for r in residuals]
        slope = self._turned * arb_mat([[w * pair[0]] for w, pair in zip(weights, both, strict=True)])
        bends = [w * pair[1] for w, pair in zip(weights, both, strict=True)] if second else []
        table = [[w * x for x in row] for w, row in zip(bends, P.tolist(), strict=True)] if second else []
        return filters, slope, jacobian, self._turned * arb_mat(table) if second else slope


def product(filters: Iterable[Polynomial]) -> Polynomial:
    """Product of the polynomials; 1 for none."""
    result: Polynomial = {0: arb(1)}
    for factor in filters:
        terms: Polynomial = {}
        for (s, x), (t, y) in itertools.product(result.items(), factor.items()):
            terms[s + t] = terms[s + t] + x * y if s + t in terms else x * y
        result = terms
    return result
