"""Tunes loss parameters and sample weights so that the limit of gradient flow comes as near as possible to the truth.

Adam minimises over theta = (log(p - p_min) of every loss parameter p, logits z of the sample weights m softmax(z))

    F(theta) = mean over sound seeds of |v(theta) - v*|^2 / |v*|^2,

where v is the end-to-end filter of the limit and v* the true one. The gradient of F follows from the implicit function
theorem at the limits. Seeds whose limit has no derivative (`flow.sound` is false) do not count in F.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lcnn_flow as lf
from experiments.computing.build import flow_options
from experiments.computing.outer import patches_of
from experiments.errors import UserError
from experiments.results.layout import end_to_end_filters
from experiments.schema import Configuration

__all__ = ["check_derivative", "tune"]

_LEAST = {"delta": 0.0, "a": 0.0, "b": -2.0}
"""Lower bounds of the loss parameters, which must be larger."""
_NOT_OF_THE_LIMIT = ("times", "block_size")
"""Options of flows that do not concern the limit."""

Params = tuple[jax.Array, ...]
Theta = dict[str, jax.Array]
"""Unconstrained numbers by their name in `tune.parameters`: all that can be tuned, whether they are or not."""

Evaluate = Callable[[Theta], tuple[tuple[jax.Array, tuple[jax.Array, jax.Array]], Theta]]


def tune(
    configuration: Configuration, risk: lf.EmpiricalRisk, start: Params, on_progress: Callable[[str], None]
) -> tuple[lf.EmpiricalRisk, dict[str, np.ndarray]]:
    """Tunes one cell, all seeds at once: `compute.block_size` divides only the flows before and after.

    Args:
        configuration: of the cell, with a section `[tune]`.
        risk: with the initial loss parameters; its data have a true filter.
        start: initial filters, a leading axis of seeds.
        on_progress: called with a text that describes the progress.

    Returns:
        The risk with the tuned numbers, and the arrays that are stored.

    Raises:
        UserError: the gradient overflows.
    """
    plan = configuration.tune
    assert plan is not None
    theta = _initial(risk)
    options = {key: value for key, value in flow_options(configuration).items() if key not in _NOT_OF_THE_LIMIT}
    evaluate = functools.partial(_evaluate, risk=risk, start=start, options=tuple(sorted(options.items())))
    on_progress("compiling the derivative")
    stored = check_derivative(evaluate, theta, plan.parameters, configuration.root_seed)
    on_progress("flows before tuning")
    before = lf.gradient_flow_ensemble(_tuned_risk(theta, risk), start, **flow_options(configuration))
    stored |= {"untuned_filter": end_to_end_filters(risk.arch, before.limit), "untuned_sound": np.asarray(before.sound)}

    optimizer = optax.adam(plan.learning_rate)
    state = optimizer.init({name: theta[name] for name in plan.parameters})
    objective, sound, numbers = [], [], []
    for done in range(plan.iterations + 1):
        (value, (_, lanes)), slope = evaluate(theta)
        count = int(lanes.sum())
        objective.append(float(value) if count else np.nan)
        sound.append(count)
        numbers.append(_numbers(theta))
        on_progress(f"tuning {done}/{plan.iterations}, squared error {objective[-1]:.2g}")
        if done < plan.iterations:
            chosen = {name: slope[name] for name in plan.parameters}
            if not all(np.isfinite(part).all() for part in chosen.values()):
                raise UserError(f"the gradient overflows in iteration {done}: lower tune.learning_rate")
            step, state = optimizer.update(chosen, state)
            theta |= cast(Theta, optax.apply_updates({name: theta[name] for name in chosen}, step))

    stored |= {"objective": np.asarray(objective), "sound_flows": np.asarray(sound)}
    for name in (key.removeprefix("loss.") for key in plan.parameters if key != "weights"):
        stored[f"tuned_{name}"] = np.asarray([float(entry[name]) for entry in numbers])
    stored |= {"weight": np.asarray(_weights(theta)), "gross_error": _gross_errors(risk)}
    return _tuned_risk(theta, risk), stored


def check_derivative(evaluate: Evaluate, theta: Theta, chosen: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """Derivative of F along one random unit vector: by the implicit function theorem, and by differences of full flows.

    The central difference of fourth order with step eps^(1/5) balances truncation and rounding errors. It is NaN where
    it is meaningless: a limit has no derivative, or is another one, at one of the displaced points, or F changes by no
    more than rounding. This is detected by comparing the central differences with steps h and 2h for every seed: they
    differ by O(h^2) of their size for smooth functions, and are refused if they differ by more than h.
    """
    rng = np.random.default_rng(seed)
    drawn = {name: rng.normal(size=theta[name].shape) for name in sorted(chosen)}
    length = np.sqrt(sum(np.sum(part**2) for part in drawn.values()))
    direction = {name: jnp.asarray(part / length, theta[name].dtype) for name, part in drawn.items()}
    (_, (_, sound)), slope = evaluate(theta)
    implicit = sum(float(jnp.vdot(slope[name], part)) for name, part in direction.items())
    h = float(jnp.finfo(theta["weights"].dtype).eps) ** 0.2
    errors = {}
    unchanged = bool(sound.any())
    for k in (-2, -1, 1, 2):
        moved = {name: x + k * h * direction[name] if name in direction else x for name, x in theta.items()}
        (_, (error, here)), _ = evaluate(moved)
        unchanged &= bool((here == sound).all())
        errors[k] = np.where(sound, error, 0.0)
    near, far = (errors[1] - errors[-1]) / (2 * h), (errors[2] - errors[-2]) / (4 * h)
    smooth = np.abs(near - far).max() <= h * np.maximum(np.abs(near), np.abs(far)).max()
    difference = ((4 * near - far) / 3).sum() / max(int(sound.sum()), 1)
    return {
        "derivative": np.asarray(implicit),
        "finite_difference": np.asarray(difference if unchanged and smooth else np.nan),
    }


def _tuned_risk(theta: Mapping[str, Any], risk: lf.EmpiricalRisk) -> lf.EmpiricalRisk:
    """`risk` with the loss parameters and sample weights that theta encodes."""
    numbers = _numbers(theta)
    loss = type(risk.loss)(**numbers) if numbers else risk.loss
    return lf.EmpiricalRisk(risk.arch, loss, risk.data.replace(weights=_weights(theta)))


def _squared_errors(theta: Theta, risk: lf.EmpiricalRisk, start: Params, options: Mapping[str, Any]) -> Any:
    """|v - v*|^2 / |v*|^2 of every seed, 0 if its limit has no derivative; and whether it has one."""
    changed, truth = _tuned_risk(theta, risk), risk.data.true_filter
    assert truth is not None

    def one(params: Params) -> tuple[jax.Array, jax.Array]:
        flow = lf.gradient_flow(changed, params, unsound_derivative="zero", **options)
        limit = tuple(jnp.where(flow.sound, w, 0.0) for w in flow.limit)  # 0 times NaN is NaN in the gradient
        error = jnp.sum((lf.end_to_end_filter(risk.arch, limit) - truth) ** 2) / jnp.sum(truth**2)
        return jnp.where(flow.sound, error, 0.0), flow.sound

    return jax.vmap(one)(start)


@functools.partial(jax.jit, static_argnames="options")
def _evaluate(theta: Theta, risk: lf.EmpiricalRisk, start: Params, options: tuple[tuple[str, Any], ...]) -> Any:
    """F with the error and soundness of every seed, and the gradient of F."""

    def objective(theta: Theta) -> Any:
        errors, sound = _squared_errors(theta, risk, start, dict(options))
        return jnp.sum(errors) / jnp.maximum(jnp.sum(sound), 1).astype(errors.dtype), (errors, sound)

    return jax.value_and_grad(objective, has_aux=True)(theta)


def _initial(risk: lf.EmpiricalRisk) -> Theta:
    """The theta that encodes the loss parameters of the risk and equal weights."""
    dtype = risk.data.inputs.dtype
    theta = {"weights": jnp.zeros(risk.data.num_samples, dtype)}
    for name in (name for name in risk.loss.parameters if name in _LEAST):
        theta[f"loss.{name}"] = jnp.log(jnp.asarray(getattr(risk.loss, name) - _LEAST[name], dtype))
    return theta


def _numbers(theta: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Loss parameters by name."""
    names = [key.removeprefix("loss.") for key in theta if key != "weights"]
    return {name: _LEAST[name] + jnp.exp(theta[f"loss.{name}"]) for name in names}


def _weights(theta: Mapping[str, Any]) -> jax.Array:
    """Sample weights, which are positive and have mean one."""
    return theta["weights"].size * jax.nn.softmax(theta["weights"])


def _gross_errors(risk: lf.EmpiricalRisk) -> np.ndarray:
    """Root mean square of the residuals of the true filter, for every sample."""
    targets = np.asarray(risk.data.targets)
    predictions = patches_of(risk) @ np.asarray(risk.data.true_filter).reshape(-1)
    residuals = predictions - targets.reshape(len(targets), -1)
    return np.sqrt((residuals**2).mean(axis=1))
