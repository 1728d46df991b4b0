"""Any optimiser of optax on a risk, as one program: trajectory, end, and a verdict on the end."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from lcnn_flow.descent.course import Course, run_course
from lcnn_flow.descent.ending import Ending, first_look, judged, scale_record
from lcnn_flow.descent.result import Descent, as_descent
from lcnn_flow.descent.settings import DescentSettings, descent_settings
from lcnn_flow.dynamics.field import start_scales
from lcnn_flow.dynamics.settings import Number
from lcnn_flow.flow.single import refuse_false_symmetry
from lcnn_flow.network.parameters import as_params, ravel
from lcnn_flow.numerics.arrays import is_concrete
from lcnn_flow.numerics.compiling import quick_to_compile
from lcnn_flow.risk.base import RiskLike, check_single
from lcnn_flow.risk.function import as_risk

__all__ = ["gradient_descent", "take_steps"]


def gradient_descent(
    risk: RiskLike | Callable[..., Any],
    params: PyTree,
    optimiser: Callable[..., Any] | optax.GradientTransformation,
    numbers: Mapping[str, Any] | None = None,
    *,
    steps: int,
    record_every: int | None = None,
    batch_size: int | None = None,
    key: PRNGKeyArray | None = None,
    record: Mapping[str, Callable[..., Any]] | None = None,
    gradient_rtol: Number | None = None,
    gradient_atol: Number | None = None,
    norm_bound: Number | None = None,
) -> Descent:
    """Minimises a risk by an optimiser of optax; works under jit, vmap and differentiation of the trajectory.

    A factory and its numbers, `optax.adam, {"learning_rate": 1e-3}`, are one program for all numbers, because floating
    numbers are arguments of it. Integers, booleans, functions (schedules, compiled once per object) and other objects
    are part of the program, and so is a ready-made `optax.GradientTransformation`. Optimisers such as `optax.lbfgs`
    that need value, grad and value_fn receive them, computed on the minibatch if there is one. The optimiser receives
    the user's tree of parameters, with None in place of fixed values.

    If the final gradient is below tolerance and the last update is small, the end is judged by the tests for flows, and
    the verdict CONVERGED, AT_SADDLE or DEGENERATE describes the point. Otherwise the verdict is STEP_LIMIT, DIVERGED
    (the parameters exceeded the norm bound), NOT_FINITE or UNDECIDED. With minibatches an end that is
    neither DIVERGED nor NOT_FINITE is UNDECIDED.

    Args:
        risk: an `EmpiricalRisk`, a `Risk`, or any differentiable function of params.
        params: initial parameters, as for `gradient_flow`; results have the same tree.
        optimiser: a function that returns an optax.GradientTransformation, such as `optax.adam`, or a ready-made one.
        numbers: arguments of the function, by name.
        steps: number of steps.
        record_every: number of steps between two records; None records the start and the end only.
        batch_size: samples per minibatch. Requires a risk with samples: `EmpiricalRisk(..., form="patches")`, or
            `Risk(..., samples={"X": 0})`. Samples are drawn without replacement within an epoch. None uses all samples.
        key: random key of the minibatches.
        record: observables {"name": fn} at the recorded steps, with fn(params), fn(risk, params) or fn(risk, params,
            start); the number of required arguments selects the call, see `lf.observables`.
        gradient_rtol, gradient_atol, norm_bound: as in `FlowOptions`.

    Returns:
        `Descent`: verdict, end, limit, and the records in `trajectory`, with a leading axis of recorded steps.

    Raises:
        DescentError: it is not an optimiser, it does not accept the numbers, or options do not fit together.
        RiskError: it is not a risk, or a risk without samples is given with minibatches.
        ArchitectureError, FlowError: params do not fit, or a tolerance is below what the precision resolves.
    """
    objective = as_risk("gradient_descent", risk, params)
    many = "jax.vmap(gradient_descent), or gradient_descent_ensemble(risk, params, ...)"
    check_single("gradient_descent", objective, many)
    objective.check_params(params)
    layers = as_params(objective.layers(params))
    objective, settings = descent_settings(
        "gradient_descent",
        objective,
        layers,
        optimiser,
        numbers,
        steps=steps,
        record_every=record_every,
        batch_size=batch_size,
        key=key,
        record=record,
        gradient_rtol=gradient_rtol,
        gradient_atol=gradient_atol,
        norm_bound=norm_bound,
    )
    start = ravel(layers)
    course, end = _steps_taken(objective, start, settings, key)
    if not is_concrete(end.verdict) or int(end.verdict) < 0:
        end = _end_judged(
            objective, start, course.vector, scale_record(course.trajectory.gradient_norm), end, settings.ends
        )
        # value of Newton's method, derivative of the last iterate
        end = end._replace(limit=end.limit + (course.vector - lax.stop_gradient(course.vector)))
    run = as_descent(objective, params, course, end, settings.time_unit)
    refuse_false_symmetry(run)
    return run


def take_steps(risk: Any, start: Float[Array, " n"], settings: DescentSettings, key: Any) -> tuple[Course, Ending]:
    """All steps from the raveled parameters, and the verdict if it needs no tests."""
    scales = start_scales(*lax.stop_gradient((risk, start)), settings.ends)
    course = run_course(risk, start, jnp.asarray(scales.norm_bound), settings, key)
    return course, first_look(risk, start, scales, course, settings)


_steps_taken, _end_judged = quick_to_compile(take_steps), quick_to_compile(judged)
