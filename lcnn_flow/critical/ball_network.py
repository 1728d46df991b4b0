"""The empirical risk of a network with an activation in ball arithmetic: enclosures of its gradient and Hessian.

With z_l = W_l a_{l-1} + b_l, a_l = sigma(z_l), primes for derivatives with respect to all n parameters w (Z_l' is a
matrix with a row per neuron, A_l' = diag(sigma'(z_l)) Z_l'), and lambda_l the derivative of one sample's loss in z_l,

    Z_l' = W_l A_{l-1}' + E_l(a_{l-1}),   E_l(a)[o, p] = sum of a_i over the terms (o, p, i) of layer l,
    lambda_{l-1} = diag(sigma'(z_{l-1})) mu_l,   mu_l = W_l^T lambda_l,
    grad = Z_N'^T rho',
    Hess = Z_N'^T diag(rho'') Z_N' + sum_{l>1} (Z_{l-1}'^T diag(mu_l sigma''(z_{l-1})) Z_{l-1}' + C_l + C_l^T),
    C_l = B_l^T A_{l-1}',   B_l[i, p] = sum of lambda_{l,o} over the terms (o, p, i).

Data, numbers of loss and activation, and parameters are taken as the exact values of their floats. Derived.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from flint import arb, arb_mat

from lcnn_flow.critical.ball_activations import BALL_ACTIVATIONS, Curve
from lcnn_flow.critical.ball_losses import BALL_LOSSES
from lcnn_flow.critical.ball_points import AtPoints
from lcnn_flow.critical.plain_network import ONE, PlainLayer, PlainNetwork

__all__ = ["BallNetwork"]

Rows = list[list[arb]]


class BallNetwork(AtPoints["NetworkPoint"]):
    """Gradient and Hessian of a risk at balls of parameters, in the unit 2^e of all of them.

    Args:
        risk: the numbers.
        exponent: e: parameters are passed as w / 2^e, and derivatives are with respect to these.
    """

    def __init__(self, risk: PlainNetwork, exponent: int) -> None:
        super().__init__(risk.sizes, lambda vector: NetworkPoint(self, vector))
        self.risk = risk
        self.unit = arb(2) ** exponent
        self.numbers = {name: arb(x) for name, x in risk.numbers.items()}
        self.activation_numbers = [arb(x) for x in risk.activation_numbers]
        self.decay = arb(risk.decay)
        kept = [i for i, weight in enumerate(risk.weights) if weight > 0]
        self.inputs, self.signs, self.targets = (
            [[arb(float(x)) for x in table[i]] for i in kept] for table in (risk.inputs, risk.signs, risk.targets)
        )
        weights = [arb(float(risk.weights[i])) for i in kept]
        total = sum(weights, arb(0))
        self.weights = [w / total for w in weights]

    def gradient(self, vector: list[arb]) -> arb_mat:
        """Enclosure of grad L, (n, 1)."""
        return self.at(vector).gradient()

    def hessian(self, vector: list[arb]) -> Rows:
        """Enclosure of Hess L, (n, n), symmetric."""
        return self.at(vector).hessian()


@dataclass
class _Layer:
    """What the forward pass of one sample knows at the output of a layer."""

    rows: Rows
    """Z', (outputs, n)."""
    curves: list[Curve]
    """sigma, sigma', sigma'' at z; empty for the last layer."""
    tangents: Rows
    """A', (outputs, n); empty for the last layer."""


@dataclass
class _Sample:
    """One sample after the forward pass."""

    layers: list[_Layer]
    slopes: list[arb]
    """The derivative of its share of L in the outputs."""
    bends: list[arb]
    """The second derivative."""


class NetworkPoint:
    """The risk at balls of parameters; the forward passes are made once."""

    def __init__(self, balls: BallNetwork, vector: list[arb]) -> None:
        self._balls, self.vector = balls, vector
        self._parameters = [balls.unit * x for x in vector]
        self._matrices = [_matrix(layer, self._parameters) for layer in balls.risk.layers]

    @functools.cached_property
    def _samples(self) -> list[_Sample]:
        balls = self._balls
        table = zip(balls.inputs, balls.signs, balls.targets, balls.weights, strict=True)
        return [self._forward(*row) for row in table]

    def gradient(self) -> arb_mat:
        """Enclosure of grad L, (n, 1)."""
        rows = [row for sample in self._samples for row in sample.layers[-1].rows]
        slopes = arb_mat([[x] for sample in self._samples for x in sample.slopes])
        decay = arb_mat([[self._balls.decay * x] for x in self._parameters])
        return self._balls.unit * (arb_mat(rows).transpose() * slopes + decay)

    def hessian(self) -> Rows:
        """Enclosure of Hess L, (n, n), symmetric."""
        squares, factors, left, right = [], [], [], []
        for sample in self._samples:
            squares += sample.layers[-1].rows
            factors += sample.bends
            for rows, bends, crossed, tangents in self._backward(sample):
                squares += rows
                factors += bends
                left += crossed
                right += tangents
        scaled = arb_mat([[f * x for x in row] for f, row in zip(factors, squares, strict=True)])
        total = arb_mat(squares).transpose() * scaled
        if left:
            mixed = arb_mat(left).transpose() * arb_mat(right)
            total += mixed + mixed.transpose()
        unit, size = self._balls.unit**2, len(self.vector)
        result = (unit * total).tolist()
        for i in range(size):
            result[i][i] += unit * self._balls.decay
            for j in range(i):  # the same number, twice enclosed
                result[j][i] = result[i][j]
        return result

    def _forward(self, inputs: list[arb], signs: list[arb], targets: list[arb], weight: arb) -> _Sample:
        balls, size = self._balls, len(self.vector)
        curve = functools.partial(BALL_ACTIVATIONS[balls.risk.activation], balls.activation_numbers)
        values, tangents, found = inputs, [], []
        last = len(balls.risk.layers) - 1
        outputs: list[arb] = []
        for index, layer in enumerate(balls.risk.layers):
            rows = (self._matrices[index] * arb_mat(tangents)).tolist() if tangents else _zeros(layer.outputs, size)
            outputs = [arb(0)] * layer.outputs
            for o, p, i in layer.terms:
                value = arb(1) if i == ONE else values[i]
                outputs[o] += self._parameters[p] * value
                rows[o][p] += value
            curves = [curve(z) for z in outputs] if index < last else []
            values = [value for value, _, _ in curves]
            tangents = [[first * x for x in row] for (_, first, _), row in zip(curves, rows, strict=False)]
            found.append(_Layer(rows, curves, tangents))
        slopes, bends = [], []
        for output, sign, target in zip(outputs, signs, targets, strict=True):
            first, second, _, _ = BALL_LOSSES[balls.risk.loss](balls.numbers, sign * output - target, True, False)
            slopes.append(weight * sign * first)
            bends.append(weight * sign**2 * second)
        return _Sample(found, slopes, bends)

    def _backward(self, sample: _Sample) -> list[tuple[Rows, list[arb], Rows, Rows]]:
        """For every layer after the first one: Z' of the layer below, mu sigma'', B and A' of the layer below."""
        size, slopes, found = len(self.vector), sample.slopes, []
        for index in range(len(sample.layers) - 1, 0, -1):
            layer, below = self._balls.risk.layers[index], sample.layers[index - 1]
            crossed = _zeros(layer.inputs, size)
            for o, p, i in layer.terms:
                if i != ONE:
                    crossed[i][p] += slopes[o]
            pulled = (self._matrices[index].transpose() * arb_mat([[x] for x in slopes])).entries()
            bends = [mu * second for mu, (_, _, second) in zip(pulled, below.curves, strict=True)]
            slopes = [mu * first for mu, (_, first, _) in zip(pulled, below.curves, strict=True)]
            found.append((below.rows, bends, crossed, below.tangents))
        return found


def _matrix(layer: PlainLayer, parameters: Sequence[arb]) -> arb_mat:
    """W, (outputs, inputs)."""
    rows = _zeros(layer.outputs, layer.inputs)
    for o, p, i in layer.terms:
        if i != ONE:
            rows[o][i] += parameters[p]
    return arb_mat(rows)


def _zeros(rows: int, columns: int) -> Rows:
    return [[arb(0)] * columns for _ in range(rows)]
