"""Any optimiser of optax on a risk, as one program: trajectory, end, and a verdict on the end."""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from lcnn_flow.descent.course import Course, run_course
from lcnn_flow.descent.ending import Ending, first_look, judged, scale_record
from lcnn_flow.descent.result import Descent, as_descent
from lcnn_flow.descent.settings import DescentSettings, descent_settings
from lcnn_flow.dynamics.field import start_scales
from lcnn_flow.flow.single import refuse_false_symmetry
from lcnn_flow.network.parameters import as_params, ravel
from lcnn_flow.numerics.arrays import is_concrete
from lcnn_flow.numerics.compiling import quick_to_compile
from lcnn_flow.risk.base import check_single
from lcnn_flow.risk.function import as_risk

__all__ = ["gradient_descent", "take_steps"]


def gradient_descent(
    risk: Any,
    params: Any,
    optimiser: Any,
    numbers: Any = None,
    *,
    steps: int,
    record_every: int | None = None,
    batch_size: int | None = None,
    key: Any = None,
    record: Any = None,
    gradient_rtol: Any = None,
    gradient_atol: Any = None,
    norm_bound: Any = None,
) -> Descent:
    """Minimises a risk by an optimiser of optax; works under jit, vmap and differentiation of the trajectory.

    A factory and its numbers, `optax.adam, {"learning_rate": 1e-3}`, are one program for any numbers: floating numbers
    are arguments of it. Whole numbers, booleans, functions (schedules, compiled once per object) and the like are part
    of the program, and so is a ready-made `optax.GradientTransformation`. Optimisers that ask for it, as `optax.lbfgs`
    does, are given value, grad and value_fn; of a minibatch where there are any. The optimiser sees the user's tree of
    parameters, with None in place of what is held fixed.

    The end is judged by the tests of a flow's end if its gradient is below tolerance and the last update was small: it
    is CONVERGED, AT_SADDLE or DEGENERATE by what it is a point of. Otherwise the verdict is STEP_LIMIT, DIVERGED (the
    parameters left the norm bound), NOT_FINITE, or UNDECIDED, which every end of minibatches is.

    Args:
        risk: an `EmpiricalRisk`, a `Risk`, or any differentiable function of params.
        params: where it begins, as of `gradient_flow`; results come back in the same tree.
        optimiser: a function that returns an optax.GradientTransformation, such as `optax.adam`, or one ready-made.
        numbers: arguments of the factory by name.
        steps: how many are taken.
        record_every: steps from one record to the next; None: the start and the end alone.
        batch_size: samples a minibatch, which needs a risk with samples: `EmpiricalRisk(..., form="patches")`, or
            `Risk(..., samples={"X": 0})`. They are drawn without replacement within an epoch; None: all samples.
        key: of the minibatches.
        record: own observables {"name": fn} at the recorded steps: fn(params), fn(risk, params) or
            fn(risk, params, start), told apart by how many arguments it requires; see `lf.observables`.
        gradient_rtol, gradient_atol, norm_bound: as of `FlowOptions`.

    Raises:
        DescentError: no optimiser, numbers that it does not take, or options that do not fit together.
        RiskError: no risk, or minibatches of one that has no samples.
        ArchitectureError, FlowError: params that do not fit, or a tolerance below what the precision resolves.
    """
    risk = as_risk("gradient_descent", risk, params)
    many = "jax.vmap(gradient_descent), or gradient_descent_ensemble(risk, params, ...)"
    check_single("gradient_descent", risk, many)
    risk.check_params(params)
    layers = as_params(risk.layers(params))
    risk, settings = descent_settings(
        "gradient_descent",
        risk,
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
    course, end = _steps_taken(risk, start, settings, key)
    if not is_concrete(end.verdict) or int(end.verdict) < 0:
        end = _end_judged(risk, start, course.vector, scale_record(course.trajectory.gradient_norm), end, settings.ends)
        # the value is that of Newton's method, the derivative that of the last iterate
        end = end._replace(limit=end.limit + (course.vector - lax.stop_gradient(course.vector)))
    run = as_descent(risk, params, course, end, settings.time_unit)
    refuse_false_symmetry(run)
    return run


def take_steps(risk: Any, start: Float[Array, " n"], settings: DescentSettings, key: Any) -> tuple[Course, Ending]:
    """All steps from raveled parameters, and the verdicts that need no tests."""
    scales = start_scales(*lax.stop_gradient((risk, start)), settings.ends)
    course = run_course(risk, start, jnp.asarray(scales.norm_bound), settings, key)
    return course, first_look(risk, start, scales, course, settings)


_steps_taken, _end_judged = quick_to_compile(take_steps), quick_to_compile(judged)
