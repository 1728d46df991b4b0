"""Risks of networks by their definition in mpmath, with gradient and Hessian by jets of second order.

Derivatives of losses and activations are taken numerically with many digits, of their textbook formulas: nothing here
shares a formula with the library.
"""

import itertools

import mpmath
import numpy as np

import lcnn_flow as lf


def textbook_loss(loss, x):
    """rho by its textbook formula, in mpmath."""
    n = {name: mpmath.mpf(float(getattr(loss, name))) for name in loss.parameters}
    delta = n.get("delta")
    formulas = {
        "square": lambda: x**2 / 2,
        "lp": lambda: abs(x) ** n["p"] / n["p"],
        "pseudo_huber": lambda: delta**2 * (mpmath.sqrt(1 + (x / delta) ** 2) - 1),
        "generalized_huber": lambda: mpmath.log((2 * mpmath.cosh(n["a"] * x) + n["b"]) / (2 + n["b"])) / n["a"],
        "log_cosh": lambda: mpmath.log(mpmath.cosh(n["a"] * x)) / n["a"],
        "huber": lambda: x**2 / 2 if abs(x) <= delta else delta * abs(x) - delta**2 / 2,
        "cauchy": lambda: delta**2 / 2 * mpmath.log(1 + (x / delta) ** 2),
        "welsch": lambda: delta**2 / 2 * (1 - mpmath.exp(-((x / delta) ** 2))),
        "geman_mcclure": lambda: x**2 / 2 / (1 + (x / delta) ** 2),
        "smooth_quantile": lambda: (mpmath.sqrt(x**2 + delta**2) + (1 - 2 * n["tau"]) * x) / 2,
        "logistic": lambda: mpmath.log(1 + mpmath.exp(-x)),
        "exponential": lambda: mpmath.exp(-x),
    }
    return formulas[loss.name]()


def textbook_activation(activation, x):
    """sigma by its textbook formula, in mpmath."""
    numbers = [mpmath.mpf(p) for p in activation.numbers]
    formulas = {
        "tanh": lambda: mpmath.tanh(x),
        "softplus": lambda: mpmath.log(1 + mpmath.exp(x)),
        "gelu": lambda: x * mpmath.ncdf(x),
        "relu": lambda: max(x, mpmath.mpf(0)),
        "leaky_relu": lambda: x if x > 0 else numbers[0] * x,
        "Power": lambda: x ** int(numbers[0]) if numbers[0] % 1 == 0 else mpmath.sign(x) * abs(x) ** numbers[0],
    }
    return formulas[activation.name]()


class Jet:
    """A number with its gradient (n,) and Hessian (n, n), as arrays of mpmath numbers."""

    def __init__(self, value, gradient, hessian):
        self.value, self.gradient, self.hessian = value, gradient, hessian

    def __add__(self, other):
        return Jet(self.value + other.value, self.gradient + other.gradient, self.hessian + other.hessian)

    def __mul__(self, other):
        crossed = np.outer(self.gradient, other.gradient)
        hessian = self.value * other.hessian + other.value * self.hessian + crossed + crossed.T
        return Jet(self.value * other.value, self.value * other.gradient + other.value * self.gradient, hessian)

    def scaled(self, factor, shift=0):
        return Jet(factor * self.value + shift, factor * self.gradient, factor * self.hessian)

    def through(self, function):
        first, second = (mpmath.diff(function, self.value, order) for order in (1, 2))
        hessian = second * np.outer(self.gradient, self.gradient) + first * self.hessian
        return Jet(function(self.value), first * self.gradient, hessian)


def _variables(vector):
    size, zero = len(vector), mpmath.mpf(0)
    for i, x in enumerate(vector):
        unit = np.array([mpmath.mpf(int(i == j)) for j in range(size)], object)
        yield Jet(x, unit, np.full((size, size), zero, object))


def _total(jets):
    jets = list(jets)
    return Jet(*(sum(getattr(jet, name) for jet in jets) for name in ("value", "gradient", "hessian")))


def _dense(net, layers, x):
    """x -> W x + b per layer."""
    count = 2 if net.bias else 1
    for layer in range(net.depth):
        weights, biases = layers[count * layer], layers[count * layer + 1] if net.bias else None
        if layer > 0 and net.activation is not None:
            x = [a.through(lambda z: textbook_activation(net.activation, z)) for a in x]
        x = [_total(w * a for w, a in zip(row, x, strict=True)) for row in weights]
        if biases is not None:
            x = [a + b for a, b in zip(x, biases, strict=True)]
    return x


def _convolved(arch, layers, x):
    """x[channel, *place]: the sum over channels and taps, windows of periodic signals wrapped."""
    channels = (1,) * (arch.depth + 1) if arch.channels is None else arch.channels
    x = np.array(x, object).reshape(channels[0], *arch.input_shape)
    for layer in range(arch.depth):
        if layer > 0 and arch.activation is not None:
            flat = [a.through(lambda z: textbook_activation(arch.activation, z)) for a in x.ravel()]
            x = np.array(flat, object).reshape(x.shape)
        shape, kernel, stride = arch.spatial_shapes[layer + 1], arch.kernel_sizes[layer], arch.strides[layer]
        w = layers[layer].reshape(channels[layer + 1], channels[layer], *kernel)
        y = np.empty((channels[layer + 1], *shape), object)
        for c, *place in np.ndindex(y.shape):
            terms = []
            for b, tap in itertools.product(range(channels[layer]), np.ndindex(*kernel)):
                at = [(p * s + t) % d for p, s, t, d in zip(place, stride, tap, x.shape[1:], strict=True)]
                terms.append(w[(c, b, *tap)] * x[(b, *at)])
            y[(c, *place)] = _total(terms)
        x = y
    return list(x.ravel())


def risk_jet(risk, vector):
    """Value, gradient and Hessian of an `EmpiricalRisk` at a list of mpmath numbers; the data are exact floats."""
    net, data, size = risk.network, risk.data, len(vector)
    variables, layers, first = list(_variables(vector)), [], 0
    for shape in net.layer_shapes:
        count = int(np.prod(shape))
        layers.append(np.array(variables[first : first + count], object).reshape(shape))
        first += count
    zeros = np.full(size, mpmath.mpf(0), object), np.full((size, size), mpmath.mpf(0), object)
    weights = np.ones(len(data.inputs)) if data.weights is None else np.asarray(data.weights, float)
    terms, total = [], sum(map(mpmath.mpf, map(float, weights)))
    for x, y, weight in zip(np.asarray(data.inputs), np.asarray(data.targets), weights, strict=True):
        inputs = [Jet(mpmath.mpf(float(a)), *zeros) for a in x.ravel()]
        outputs = (_dense if isinstance(net, lf.Dense) else _convolved)(net, layers, inputs)
        for output, target in zip(outputs, map(float, y.ravel()), strict=True):
            margin = risk.loss.name in ("logistic", "exponential")
            argument = output.scaled(mpmath.mpf(target)) if margin else output.scaled(1, -mpmath.mpf(target))
            share = mpmath.mpf(float(weight)) / total
            terms.append(argument.through(lambda r: textbook_loss(risk.loss, r)).scaled(share))
    if (decay := getattr(risk, "weight_decay", None)) is not None:
        terms += [(w * w).scaled(mpmath.mpf(float(decay)) / 2) for w in variables]
    return _total(terms)


def polished(risk, vector, forms=(), levels=(), steps=6):
    """The critical point near `vector`, by Newton's method in mpmath, with sum_i f_i w_i^2/2 = level for every form.

    The equations are solved in the sense of least squares, which is exact at a solution.
    """
    w = [mpmath.mpf(float(x)) for x in vector]
    for _ in range(steps):
        jet = risk_jet(risk, w)
        rows, right = [list(row) for row in jet.hessian], list(jet.gradient)
        for form, level in zip(forms, levels, strict=True):
            rows.append([mpmath.mpf(float(f)) * x for f, x in zip(form, w, strict=True)])
            right.append(sum(mpmath.mpf(float(f)) * x**2 for f, x in zip(form, w, strict=True)) / 2 - level)
        step = mpmath.lu_solve(mpmath.matrix(rows), mpmath.matrix(right))
        w = [x - d for x, d in zip(w, step, strict=True)]
        if mpmath.norm(step) < mpmath.mpf(10) ** (-mpmath.mp.dps * 0.7):
            return w
    raise ArithmeticError(f"Newton's method does not converge: last step {mpmath.nstr(mpmath.norm(step))}")
