"""Options for quick compilation: only where a program stands alone, and only where this jaxlib knows them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lcnn_flow as lf
from lcnn_flow.numerics import compiling
from lcnn_flow.numerics.compiling import quick_options, quick_to_compile, traced_once


@quick_to_compile
def wave(x):
    return jnp.sum(jnp.sin(x) * jnp.exp(-x))


def test_a_program_has_the_same_values_alone_and_within_every_transformation():
    x = jnp.linspace(0.0, 2.0, 5)
    expected = float(np.sum(np.sin(x) * np.exp(-x)))
    np.testing.assert_allclose(wave(x), expected, rtol=1e-14)
    np.testing.assert_allclose(jax.jit(wave)(x), expected, rtol=1e-14)
    np.testing.assert_allclose(jax.jit(lambda: wave(x))(), expected, rtol=1e-14)  # traced, and no argument is
    np.testing.assert_allclose(jax.vmap(wave)(x[None]), [expected], rtol=1e-14)
    np.testing.assert_allclose(jax.grad(wave)(x), np.exp(-x) * (np.cos(x) - np.sin(x)), rtol=1e-13)


def test_an_option_that_this_jaxlib_does_not_know_is_left_out(monkeypatch):
    known = quick_options("cpu", (), hoist=True)
    monkeypatch.setattr(compiling, "_NO_HOISTING", {"xla_cpu_of_another_age": True})
    assert quick_options("cpu", ()) == known
    monkeypatch.setattr(compiling, "_OLDER", {"xla_cpu_of_another_age": True})
    assert "xla_cpu_of_another_age" not in (quick_options("cpu", ()) or {})


@pytest.mark.optimised
@pytest.mark.parametrize("activation", [lf.activations.tanh, lf.activations.Power(3), None], ids=str)
@pytest.mark.parametrize("hoist", [False, True])
@pytest.mark.parametrize("work", [0.0, 1e12], ids=["little", "much"])
def test_quick_programs_compute_the_hessian_of_a_convolutional_network_with_channels(activation, hoist, work):
    options = {} if activation is None else {"activation": activation}
    arch = lf.Architecture(6, (3, 3), channels=(1, 2, 1), **options)
    rng = np.random.default_rng(1)
    data = lf.Dataset(rng.normal(size=(24, *arch.sample_shape)), rng.normal(size=(24, *arch.output_shape)))
    risk = lf.EmpiricalRisk(arch, lf.losses.Square(), data)
    start = jnp.asarray(rng.normal(size=risk.space.num_parameters))
    found = jax.jit(risk.hessian, compiler_options=quick_options(jax.default_backend(), risk, hoist, work))(start)
    ahead, behind = (jnp.stack([risk.gradient(start + h * e) for e in np.eye(start.size)]) for h in (1e-5, -1e-5))
    np.testing.assert_allclose(found, (ahead - behind) / 2e-5, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("given", "older"),
    [
        (lambda: (jnp.ones(2), 1.0), True),
        (lambda: (lf.Architecture(6, (3, 3)), jax.random.key(0)), True),
        (lambda: (lf.Architecture(6, (3, 3), activation=lf.activations.tanh), jax.random.key(0)), False),
        (lambda: {"risk": empirical(lf.losses.PseudoHuber(0.5))}, True),
        (lambda: {"risk": empirical(lf.losses.Custom(lambda r: r**2))}, False),
        (lambda: {"risk": empirical(lf.losses.Square(), form="layers")}, False),
        (lambda: {"risk": empirical(lf.losses.Square(), weight_decay=0.1)}, False),
        (lambda: [empirical(lf.losses.Square()), lf.Risk(jnp.sum, jnp.ones(3))], False),
    ],
    ids=[
        "numbers",
        "linear network",
        "tanh network",
        "linear risk",
        "own loss",
        "by layers",
        "weight decay",
        "own function",
    ],
)
def test_the_older_emitter_compiles_nothing_but_formulas_that_are_tested_with_it(given, older):
    options = quick_options("cpu", given())
    if "xla_cpu_use_fusion_emitters" in (options or {}):  # unknown to jaxlib 0.12, which has the newer emitter alone
        assert options["xla_cpu_use_fusion_emitters"] is not older


@pytest.mark.optimised
def test_llvm_optimises_nothing_where_little_is_computed_by_tested_formulas():
    risk, name = empirical(lf.losses.PseudoHuber(0.5)), "xla_backend_optimization_level"
    assert quick_options("cpu", risk, work=1e6)[name] == 0
    assert quick_options("cpu", risk, work=1e12)[name] == 2
    assert quick_options("cpu", risk)[name] == 2
    assert quick_options("cpu", lf.Risk(jnp.sum, jnp.ones(3)), work=1e6)[name] == 2


@pytest.mark.parametrize("loss", [lf.losses.Square(), lf.losses.PseudoHuber(0.5), lf.losses.Lp(4)], ids=str)
def test_the_cost_of_a_step_is_that_without_the_samples(loss):
    risk = empirical(loss)
    assert risk.without_data().step_cost == risk.step_cost > 2 * risk.space.num_parameters**3


def empirical(loss, **options):
    """The risk of a linear network."""
    rng = np.random.default_rng(0)
    data = lf.Dataset(rng.normal(size=(5, 6)), rng.normal(size=(5, 2)))
    return lf.EmpiricalRisk(lf.Architecture(6, (3, 3)), loss, data, **options)


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_other_devices_keep_the_options_of_xla(platform):
    assert quick_options(platform, ()) is None


def test_a_program_traces_a_function_once_and_contains_its_operations():
    traces = []

    @traced_once
    def scaled(kind, x):
        traces.append(kind)
        return x * {"double": 2, "half": 0.5}[kind]

    def program(x):
        return scaled("double", x) + scaled("double", x + 1) + scaled("half", x)

    text = jax.jit(program).lower(jnp.ones(3)).as_text()
    assert traces == ["double", "half"]
    assert "call" not in text
    np.testing.assert_array_equal(jax.vmap(program)(jnp.ones((2, 3))), np.full((2, 3), 6.5))
