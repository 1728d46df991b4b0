"""Many flows at once: the same flows, in blocks, from one compiled program."""

from types import SimpleNamespace

import chex
import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lcnn_flow as lf
from lcnn_flow.dynamics.settings import flow_settings
from lcnn_flow.ensemble import many
from lcnn_flow.ensemble.many import _searching, _Work
from lcnn_flow.ensemble.programs import LaneBlock, SearchBlock
from lcnn_flow.flow.single import STEPS, run_flow

ARCH = lf.Architecture(4, (2, 2))
INIT = lf.initializers.gaussian(0.6)
STARTS = INIT(jax.random.split(jax.random.key(0), 10), ARCH)


def problem(seed: int, delta: float = 1.0) -> lf.EmpiricalRisk:
    data = lf.data.synthesize(jax.random.key(seed), ARCH, samples=12, noise=0.3)
    return lf.EmpiricalRisk(ARCH, lf.losses.PseudoHuber(delta), data)


def test_an_ensemble_is_its_single_flows_whatever_the_block():
    risk = problem(1)
    flows = lf.gradient_flow_ensemble(risk, STARTS, block_size=4)
    chex.assert_shape(flows.limit, (10, 2))
    single = lf.gradient_flow(risk, tuple(w[7] for w in STARTS))
    assert flows.verdict[7] == single.verdict
    for ours, one in zip(flows.limit, single.limit, strict=True):
        np.testing.assert_allclose(ours[7], one, rtol=1e-12)


def test_flows_that_pass_a_saddle_closely_run_in_lanes_again_and_take_the_steps_that_a_search_takes(monkeypatch):
    risk, starts = problem(1), tuple(1e-6 * w for w in STARTS)  # they pass the saddle at 0
    searched = lf.gradient_flow(risk, tuple(w[7] for w in starts))

    def search(work, blocks, laned, flows):
        assert not blocks
        return flows

    monkeypatch.setattr(many, "_search", search)
    flows = lf.gradient_flow_ensemble(risk, starts, block_size=10)
    np.testing.assert_array_equal(flows.verdict, lf.Verdict.CONVERGED)
    assert flows.steps[7] == searched.steps
    for name in ("path_length", "time", "gradient_tolerance", "risk"):
        np.testing.assert_allclose(getattr(flows, name)[7], getattr(searched, name), rtol=1e-6)
    for ours, theirs in zip(flows.limit, searched.limit, strict=True):
        np.testing.assert_allclose(ours[7], theirs, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.optimised
def test_the_same_block_gives_the_same_bits():
    risk = problem(1)
    first = lf.gradient_flow_ensemble(risk, STARTS, block_size=4)
    second = lf.gradient_flow_ensemble(risk, tuple(w[4:8] for w in STARTS), block_size=4)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a[4:8], b)


def test_conditions_pair_with_seeds():
    deltas = jnp.array([0.3, 1.0])
    data = problem(1).data
    risks = jax.vmap(lambda delta: lf.EmpiricalRisk(ARCH, lf.losses.PseudoHuber(delta), data))(deltas)
    starts = tuple(jnp.stack([w[:4], w[4:8]]) for w in STARTS)
    done = []
    flows = lf.gradient_flow_ensemble(risks, starts, block_size=4, progress=lambda n, total: done.append((n, total)))
    assert done == [(8, 8)]  # few seeds: the conditions run side by side
    alone = lf.gradient_flow_ensemble(problem(1, 0.3), tuple(w[0] for w in starts), block_size=4)
    chex.assert_shape(flows.verdict, (2, 4))
    np.testing.assert_allclose(flows.limit[0][0], alone.limit[0], rtol=1e-12)


def test_other_data_loss_parameters_and_tolerances_compile_nothing():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def flow(risk, params, settings):
        return run_flow(risk, params, settings).limit

    start = tuple(w[0] for w in STARTS)
    for seed, delta, rtol in ((1, 1.0, 1e-3), (2, 0.4, 1e-4), (3, 2.0, 1e-5)):
        traced = flow.eval_shape(problem(seed, delta), start, flow_settings(start, rtol=rtol))
        assert [w.shape for w in traced] == [w.shape for w in start]


def test_a_flow_to_its_limit_calls_nothing_on_the_host():
    start = tuple(w[0] for w in STARTS)
    settings = flow_settings(start)
    text = jax.jit(lambda risk, params: run_flow(risk, params, settings)).lower(problem(1), start).as_text()
    assert "callback" not in text


@pytest.mark.slow
def test_every_field_is_that_of_a_hand_written_vmap_up_to_rounding():
    risk = problem(1)
    starts = tuple(w[:4] for w in STARTS)
    ours = lf.gradient_flow_ensemble(risk, starts)
    by_hand = jax.jit(jax.vmap(lambda p: lf.gradient_flow(risk, p)))(starts)
    assert np.all(ours.sound)
    for name in set(ours._fields) - {"trajectory"}:
        for a, b in zip(jax.tree.leaves(getattr(ours, name)), jax.tree.leaves(getattr(by_hand, name)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9, err_msg=name)
            assert a.dtype == b.dtype, name


@pytest.mark.parametrize(
    ("platform", "step_cost", "solver", "used"),
    [
        ("cpu", 100, None, 1),  # 1,000 flows of 200 steps: too little for a second compilation
        ("cpu", 50_000, None, 2),
        ("cpu", 10**6, None, 3),
        ("cpu", 10**6, diffrax.Kvaerno3(), 1),  # its LAPACK calls for batches would wait for each other
        ("gpu", 100, diffrax.Kvaerno3(), 3),
    ],
)
def test_searches_take_as_many_cpu_devices_as_repay_their_compilation(platform, step_cost, solver, used):
    devices = tuple(SimpleNamespace(platform=platform) for _ in range(3))
    settings = flow_settings(STARTS, times=[1.0], solver=solver)
    risk = SimpleNamespace(step_cost=step_cost)
    assert _searching(_Work(risk, STARTS, settings, devices, print), 1000 * STEPS) == devices[:used]


@pytest.mark.parametrize(
    ("loss", "channels", "seeds", "options", "program"),
    [
        (lf.losses.Square(), None, 10, {}, LaneBlock),
        (lf.losses.PseudoHuber(1.0), None, 10, {}, LaneBlock),
        (lf.losses.Lp(4.0), None, 10, {}, SearchBlock),
        (lf.losses.Square(), (1, 2, 1), 10, {}, SearchBlock),
        (lf.losses.Square(), None, 10, {"polish": False}, SearchBlock),
        (lf.losses.Lp(4.0), None, 65, {}, LaneBlock),
        (lf.losses.Lp(4.0), None, 10, {"block_size": 10}, LaneBlock),
    ],
)
def test_few_flows_run_in_lanes_only_where_lanes_decide_nearly_all(
    monkeypatch, loss, channels, seeds, options, program
):
    class Started(Exception):
        pass

    def start(block, *args, **options):
        raise Started(type(block))

    monkeypatch.setattr("lcnn_flow.ensemble.many.run_blocks", start)
    arch = lf.Architecture(4, (2, 2), channels=channels)
    risk = lf.EmpiricalRisk(arch, loss, lf.data.synthesize(jax.random.key(0), arch, samples=12, noise=0.3))
    params = tuple(jnp.ones((seeds, *shape)) for shape in arch.layer_shapes)
    with pytest.raises(Started) as started:
        lf.gradient_flow_ensemble(risk, params, **options)
    assert started.value.args[0] is (program if jax.default_backend() == "cpu" else LaneBlock)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": (jnp.ones((3, 2)), jnp.ones((4, 2)))}, r"every layer needs \(seeds, ...\)"),
        ({"params": (jnp.ones((0, 2)), jnp.ones((0, 2)))}, "every layer needs"),
        ({"params": (jnp.ones((3, 3)), jnp.ones((3, 2)))}, "this architecture needs"),
        ({"block_size": 0}, "block_size = 0"),
        ({"rtol": -1.0}, "rtol = -1.0"),
    ],
)
def test_misuse_is_refused_with_the_fix(change, message):
    with pytest.raises(lf.LcnnFlowError, match=message):
        lf.gradient_flow_ensemble(**({"risk": problem(1), "params": STARTS} | change))
