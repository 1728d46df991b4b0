"""The other ways to the same limits: diffrax alone, layer by layer, scipy, CVODE, gradient descent.

Every peer is a function (risk, starts) -> ends, both (seeds, parameters), that stops at |grad L| <= `GRADIENT_NORM`.
Relative and absolute tolerances are 1e-6 for all of them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

import lcnn_flow as lf
from benchmarks.diffrax_flow import arrive, gram_gradient
from benchmarks.numpy_risk import NumpyRisk
from benchmarks.problems import GRADIENT_NORM
from benchmarks.references import cvode

__all__ = [
    "cvode_numpy",
    "gradient_descent",
    "kvaerno5_gram",
    "kvaerno5_layers_in_turn",
    "kvaerno5_layers_together",
    "numpy_form",
    "scipy_method",
]

_TOLERANCE = 1e-6
_MAX_TIME = 1e6
_MAX_STEPS = 16384
_MOST_DESCENT_STEPS = 1_000_000


def numpy_form(risk: lf.EmpiricalRisk) -> NumpyRisk:
    """The same risk without the library."""
    arch = risk.arch
    kernel_sizes, strides = [k[0] for k in arch.kernel_sizes], [s[0] for s in arch.strides]
    return NumpyRisk(kernel_sizes, strides, np.asarray(risk.data.inputs), np.asarray(risk.data.targets))


def _moments(risk: lf.EmpiricalRisk) -> Any:
    form = numpy_form(risk)
    return jnp.asarray(form.gram), jnp.asarray(form.moment)


def _one_flow(gradient: Callable[..., Any], start: Any, args: Any) -> Any:
    solver = diffrax.Kvaerno5()
    return arrive(
        gradient, solver, start, args, _TOLERANCE, _TOLERANCE, _MAX_TIME, GRADIENT_NORM, max_steps=_MAX_STEPS
    ).end


@partial(jax.jit, static_argnums=0)
def _gram_flows(arch: Any, starts: Any, moments: Any) -> Any:
    gradient = gram_gradient(arch)
    return jax.vmap(lambda start: _one_flow(gradient, start, moments))(starts)


def kvaerno5_gram(risk: lf.EmpiricalRisk, starts: Any) -> np.ndarray:
    """diffrax's Kvaerno5 on the Gram form of the risk, all seeds under one vmap."""
    return np.asarray(_gram_flows(risk.arch, starts, _moments(risk)))


def _layer_flow(start: Any, data: Any) -> Any:
    arch, inputs, targets = data
    risk: Any = lf.EmpiricalRisk(arch, lf.losses.Square(), lf.Dataset(inputs, targets), form="layers")
    return _one_flow(lambda w, _: risk.gradient(w), start, None)


@partial(jax.jit, static_argnums=(0, 2))
def _layer_flows(arch: Any, starts: Any, together: bool, inputs: Any, targets: Any) -> Any:
    flow = partial(_layer_flow, data=(arch, inputs, targets))
    return jax.vmap(flow)(starts) if together else jax.lax.map(flow, starts)


def kvaerno5_layers_together(risk: lf.EmpiricalRisk, starts: Any) -> np.ndarray:
    """diffrax's Kvaerno5 on the data, a convolution a layer, all seeds under one vmap."""
    return np.asarray(_layer_flows(risk.arch, starts, True, risk.data.inputs, risk.data.targets))


def kvaerno5_layers_in_turn(risk: lf.EmpiricalRisk, starts: Any) -> np.ndarray:
    """The same, one seed after the other (lax.map)."""
    return np.asarray(_layer_flows(risk.arch, starts, False, risk.data.inputs, risk.data.targets))


@partial(jax.jit, static_argnums=0)
def _descend(arch: Any, starts: Any, steps: Any, moments: Any) -> Any:
    gradient = gram_gradient(arch)

    def one(start: Any, step: Any) -> Any:
        def going(state: Any) -> Any:
            _, slope, count = state
            return (jnp.linalg.norm(slope) > GRADIENT_NORM) & (count < _MOST_DESCENT_STEPS)

        def move(state: Any) -> Any:
            w, slope, count = state
            w = w - step * slope
            return w, gradient(w, moments), count + 1

        return jax.lax.while_loop(going, move, (start, gradient(start, moments), 0))[0]

    return jax.vmap(one)(starts, steps)


def gradient_descent(risk: lf.EmpiricalRisk, starts: Any, steepest: Any) -> np.ndarray:
    """Gradient descent at half the stable step: 1/lambda, lambda the largest curvature along the seed's flow."""
    return np.asarray(_descend(risk.arch, starts, 1 / jnp.asarray(steepest), _moments(risk)))


def scipy_method(method: str, risk: NumpyRisk, starts: np.ndarray) -> np.ndarray:
    """A method of scipy's solve_ivp with hand-written numpy gradient and Hessian, on the Gram form."""

    def arrival(t: float, w: np.ndarray) -> Any:
        return np.linalg.norm(risk.gradient(w)) - GRADIENT_NORM

    def field(t: float, w: np.ndarray) -> Any:
        return -risk.gradient(w)

    def jacobian(t: float, w: np.ndarray) -> Any:
        return -risk.hessian(w)

    arrival.terminal = True  # pyright: ignore[reportFunctionMemberAccess]  (scipy asks for it)
    options: dict[str, Any] = {"rtol": _TOLERANCE, "atol": _TOLERANCE, "jac": jacobian, "events": arrival}
    return np.array([solve_ivp(field, (0.0, _MAX_TIME), start, method, **options).y[:, -1] for start in starts])


def cvode_numpy(risk: NumpyRisk, starts: np.ndarray) -> np.ndarray:
    """CVODE's BDF (SUNDIALS, in C) with the same numpy callbacks."""
    return np.array([cvode(risk, start, _TOLERANCE, _TOLERANCE, GRADIENT_NORM)[-1] for start in starts])
