"""Flows side by side in lanes: the same formulas with the lanes last, forms that drive them, and what a lane may do."""

import math
import os
import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lcnn_flow as lf
from lcnn_flow.dynamics.recording import no_passage
from lcnn_flow.dynamics.settings import flow_settings
from lcnn_flow.ensemble import lane_step, memory
from lcnn_flow.ensemble.programs import LaneBlock
from lcnn_flow.network.parameters import unravel
from lcnn_flow.numerics.factors import factor
from lcnn_flow.risk import lane_forms as drivers
from lcnn_flow.risk.chain_rule import filter_rows, gradient_and_hessian
from lcnn_flow.solvers import inverse_positive_definite
from tests.problems import random_problem

NETWORKS = {
    "1-D": lf.Architecture(6, (2, 3)),
    "strides": lf.Architecture(8, (2, 3, 2), (2, 1, 1)),
    "2-D": lf.Architecture((4, 5), ((2, 2), (2, 3))),
    "channels": lf.Architecture(6, (2, 2), channels=(2, 3, 2)),
    "one layer": lf.Architecture(5, (3,)),
}
LANES = 8


def vectors(arch: lf.Architecture, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=(arch.num_parameters, LANES)))


@pytest.mark.parametrize(
    ("arch", "loss"),
    [
        (NETWORKS["1-D"], lf.losses.Square()),
        (NETWORKS["strides"], lf.losses.PseudoHuber(0.7)),
        (NETWORKS["2-D"], lf.losses.Square()),
        (NETWORKS["channels"], lf.losses.PseudoHuber(0.7)),
        (NETWORKS["one layer"], lf.losses.Square()),
    ],
    ids=NETWORKS,
)
def test_gradient_and_hessian_agree_with_autodiff_of_the_risk_lane_by_lane(arch, loss):
    risk = random_problem(arch, loss, weighted=True)
    reference = lf.EmpiricalRisk(arch, loss, risk.data, form="patches")
    x = vectors(arch)

    def value(v):
        return reference(unravel(arch, v))

    slope, hessian = jax.jit(lambda x: gradient_and_hessian(arch, risk.driver(LANES), x))(x)
    slopes, bends = jax.jit(lambda x: jax.lax.map(lambda v: (jax.grad(value)(v), jax.hessian(value)(v)), x.T))(x)
    np.testing.assert_allclose(slope, slopes.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(hessian, np.moveaxis(bends, 0, 2), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(jax.jit(risk.gradient)(x), slope, rtol=1e-12, atol=1e-12)
    single = jax.jit(lambda x: jax.lax.map(risk.layer_scales, x.T))(x)
    np.testing.assert_allclose(jax.jit(risk.layer_scales)(x), single.T, rtol=1e-13)


@pytest.mark.parametrize(
    ("loss", "form"),
    [
        (lf.losses.Square(), "reduced"),
        (lf.losses.LogCosh(2.0), "patches"),
        (lf.losses.Lp(4.0), "moments"),
        (lf.losses.Lp(6.0), "moments"),
    ],
    ids=["normal equations", "patches", "moments of l_4", "moments of l_6"],
)
@pytest.mark.parametrize("arch", [NETWORKS["1-D"], NETWORKS["channels"]], ids=["1-D", "channels"])
def test_all_drivers_agree_with_the_patch_form_to_1e_minus_12_of_the_terms_without_cancellation(arch, loss, form):
    risk = lf.EmpiricalRisk(arch, loss, random_problem(arch, loss, weighted=True).data, form=form)
    exact = lf.EmpiricalRisk(arch, loss, risk.data, form="patches").filter_risk

    @jax.jit
    def both(x):
        V = filter_rows(arch, unravel(arch, x))
        unit = jnp.broadcast_to(jnp.eye(V.shape[1])[None, :, :, None], (*V.shape[:2], V.shape[1], LANES))
        slope, bend = risk.driver(LANES).gradient_and_curvature(V)
        ours = slope, bend(unit), risk.driver(LANES).gradient(V)
        return (
            ours,
            (exact.gradient(V), exact.hessian(V)),
            (exact.rms_derivative(V) * exact.patch_size, exact.largest_trace(V)),
        )

    (slope, bends, alone), (gradient, hessian), (terms, steepness) = jax.tree.map(np.asarray, both(vectors(arch)))
    np.testing.assert_allclose(slope, alone, rtol=1e-14, atol=1e-14)
    assert np.all(np.abs(slope - gradient) <= 1e-12 * terms)
    assert np.all(np.abs(bends - hessian) <= 1e-12 * steepness)


def test_blocks_of_rows_with_products_formed_again_change_nothing(monkeypatch):
    arch = NETWORKS["1-D"]
    risk = random_problem(arch, lf.losses.PseudoHuber(0.3), samples=100, weighted=True)
    V = filter_rows(arch, unravel(arch, vectors(arch)))
    unit = jnp.broadcast_to(jnp.eye(V.shape[1])[None, :, :, None], (1, V.shape[1], V.shape[1], LANES))
    whole = risk.driver(LANES)
    assert whole.patches.shape[0] == 1
    monkeypatch.setattr(drivers, "_WORKED_ON", {})
    monkeypatch.setattr(drivers, "_MUCH_WORKED_ON", 1)
    monkeypatch.setattr(drivers, "_PRODUCTS", 0)
    parts = risk.driver(LANES)
    assert parts.products is None
    assert parts.patches.shape[:2] == (5, 60)  # 300 rows in blocks of at most 64
    for one, two in ((whole, parts), (parts, whole)):
        slope, bend = one.gradient_and_curvature(V)
        np.testing.assert_allclose(slope, two.gradient(V), rtol=1e-13)
        np.testing.assert_allclose(bend(unit), two.gradient_and_curvature(V)[1](unit), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("size", [1, 5, 30], ids=["1", "5 by elimination", "30 by Cholesky"])
def test_solutions_side_by_side_are_those_of_numpy_and_definite_means_positive_eigenvalues(size):
    rng = np.random.default_rng(size)
    roots = rng.normal(size=(LANES, size, size))
    shift = np.where(np.arange(LANES) % 2 == 0, 0.1, -2.0 * size)
    matrices = roots @ roots.transpose(0, 2, 1) + shift[:, None, None] * np.eye(size)
    rhs = rng.normal(size=(size, LANES))

    @jax.jit
    def solve(matrices, rhs):
        factors = factor(matrices)
        return factors.solve(rhs), factors.inverse, factors.definite

    solution, inverse, definite = solve(jnp.moveaxis(jnp.asarray(matrices), 0, -1), rhs)
    positive = np.linalg.eigvalsh(matrices)[:, 0] > 0
    assert positive.any()
    np.testing.assert_array_equal(definite, positive)
    expected = np.linalg.inv(matrices)[positive]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(np.moveaxis(inverse, -1, 0)[positive], expected, rtol=0, atol=1e-11 * scale)
    products = np.einsum("bij,jb->ib", expected, rhs[:, positive])
    np.testing.assert_allclose(solution[:, positive], products, rtol=0, atol=1e-11 * scale)


def test_a_pivot_that_is_not_a_number_is_not_positive():
    matrices = jnp.stack([jnp.eye(3), jnp.full((3, 3), jnp.nan), jnp.diag(jnp.asarray([1.0, jnp.inf, 1.0]))], axis=-1)
    np.testing.assert_array_equal(factor(matrices).definite, [True, False, False])


def test_across_a_valley_of_condition_1e11_the_inverse_is_as_small_as_that_of_cholesky():
    axes = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))[0]
    steep = axes[:, -1]
    matrix = jnp.asarray(np.eye(6) + 1e11 * np.outer(steep, steep))
    ours = factor(matrix[:, :, None]).inverse[:, :, 0]
    cholesky = inverse_positive_definite(matrix)[0]
    for inverse in (ours, cholesky):
        assert np.linalg.norm(inverse @ steep) < 1e-4  # 1e-11 exactly; 1 / sqrt(eps) is what is lost to rounding
    flat = axes[:, 0]
    np.testing.assert_allclose(ours @ flat, flat, atol=1e-4)


SMALL = lf.Architecture(4, (2, 2))
RISK = random_problem(SMALL, lf.losses.Square(), samples=9)
BOUNDED = {"block_size": 24, "norm_bound": 1e4}
"""Options of tests that so share one program."""


def lane_state(vector: jax.Array, step: float) -> lane_step.Lanes:
    count = vector.shape[1]
    ones = jnp.ones((count,))
    start = lane_step.LaneStart(
        vector, 1e-3 * ones, 1e-4 * jnp.ones((2, count)), 0 * ones, 1e6 * ones, 1e9 * ones, 1e-2 * ones, ones
    )
    return lane_step.Lanes(
        seed=jnp.arange(count),
        ended=jnp.zeros((count,), bool),
        vector=vector,
        lengths=jnp.zeros((2, count)),
        passage=no_passage(0 * ones),
        time=0 * ones,
        step=step * ones,
        steps=jnp.zeros((count,), jnp.int32),
        start=start,
    )


def test_a_step_on_an_indefinite_matrix_is_rejected_and_shortened_while_its_neighbours_move():
    target = np.linalg.lstsq(RISK.filter_risk.factor, RISK.filter_risk.image[:, 0], rcond=None)[0]
    away = jnp.asarray([0.0, 0.0, 1e-3, 2e-3]) + 1e-6 * target.sum()  # near the saddle w = 0
    tame = jnp.asarray([1.0, 0.3, 0.8, 0.1])
    params = tuple(jnp.ones(2) for _ in range(2))
    settings = flow_settings(params, gradient_atol=1e-12, gradient_rtol=0.0)
    at = jnp.stack([away, tame], axis=1)
    hessian = gradient_and_hessian(SMALL, RISK.driver(2), at)[1]
    lowest = np.linalg.eigvalsh(np.moveaxis(hessian, -1, 0))[:, 0]
    assert lowest[0] < 0
    step = -2 * 4.0 / lowest[0]  # gamma = 1/4: I/gamma + h H is indefinite in the first lane
    steps = jnp.asarray([step, 1e-3])
    state = lane_state(at, 1.0)._replace(step=steps)
    new, curve = jax.jit(lambda state: lane_step.one_step(RISK, RISK.driver(2), state, settings))(state)
    assert curve is None
    np.testing.assert_array_equal(new.vector[:, 0], away)
    np.testing.assert_allclose(new.step[0], 0.2 * step)
    assert not np.array_equal(new.vector[:, 1], tame)
    np.testing.assert_array_equal(new.steps, [1, 1])


def starts(count: int, std: float = 0.6) -> tuple[jax.Array, ...]:
    init = lf.initializers.gaussian(std)
    return init(jax.random.split(jax.random.key(2), count), SMALL)


def all_numbers(flows: lf.Flow) -> np.ndarray:
    leaves = jax.tree.leaves(flows)
    return np.concatenate([np.asarray(x, float).reshape(len(leaves[0]), -1) for x in leaves], axis=1)


@pytest.mark.optimised
def test_the_bits_of_a_flow_depend_neither_on_its_lane_nor_on_its_neighbours():
    params = starts(40)
    order = np.random.default_rng(1).permutation(40)
    straight = all_numbers(lf.gradient_flow_ensemble(RISK, params, **BOUNDED))
    shuffled = all_numbers(lf.gradient_flow_ensemble(RISK, tuple(w[order] for w in params), **BOUNDED))
    np.testing.assert_array_equal(shuffled, straight[order])


@pytest.mark.slow
@pytest.mark.optimised
def test_seeds_with_equal_filters_stay_equal_bit_for_bit():
    params = tuple(w.at[1].set(jnp.asarray([0.7, -0.2])) for w in starts(24))
    flows = lf.gradient_flow_ensemble(RISK, params, **BOUNDED)
    np.testing.assert_array_equal(flows.final[0][1], flows.final[1][1])
    assert flows.sound.sum() >= 23


@pytest.mark.optimised
def test_a_runaway_lane_bails_out_alone_and_is_told_diverged():
    tame = starts(24)
    wild = tuple(w.at[3].set(1e5 * w[3]) for w in tame)  # their difference is conserved: they stay beyond the bound
    reference = lf.gradient_flow_ensemble(RISK, tame, **BOUNDED)
    flows = lf.gradient_flow_ensemble(RISK, wild, **BOUNDED)
    assert flows.verdict[3] == lf.Verdict.DIVERGED
    others = np.arange(24) != 3
    np.testing.assert_array_equal(all_numbers(flows)[others], all_numbers(reference)[others])


@pytest.mark.slow
def test_limits_that_fit_fewer_samples_than_there_are_parameters_are_never_said_to_be_isolated():
    arch = lf.Architecture(5, (3, 2), (2, 1))
    numbers = np.random.default_rng(0)
    data = lf.Dataset(numbers.normal(size=(3, 5)), numbers.normal(size=(3, 1)))
    start = tuple(jnp.asarray(numbers.normal(size=(64, k))) for k in (3, 2))
    flows = lf.gradient_flow_ensemble(lf.EmpiricalRisk(arch, lf.losses.PseudoHuber(1.0), data), start, block_size=64)
    fits = flows.risk < 1e-12  # there the Hessian J^T P^T P J has rank 3 at most, and 4 directions lie in a leaf
    assert np.sum(fits) > 50
    assert np.all(flows.verdict[fits] == lf.Verdict.CONVERGED)
    assert not np.any(flows.limit_is_isolated[fits] | flows.sound[fits])
    assert np.all(np.abs(flows.smallest_curvature[fits]) < 1e-10)


def test_lanes_call_nothing_on_the_host_and_other_data_trace_nothing():
    settings = flow_settings(starts(8))
    program = jax.jit(chex.assert_max_traces(lambda r, p: LaneBlock(8)(r, (p, jnp.zeros(8, int)), settings), n=1))
    assert "callback" not in program.lower(RISK, starts(8)).as_text()
    jax.eval_shape(program, random_problem(SMALL, lf.losses.Square(), samples=9), starts(8))


def test_single_precision_stays_single_though_double_is_switched_on():
    data = lf.Dataset(*(jnp.asarray(x, jnp.float32) for x in (RISK.data.inputs, RISK.data.targets)))
    risk = lf.EmpiricalRisk(SMALL, lf.losses.Lp(4.0), data, form="moments")
    flows = lf.gradient_flow_ensemble(risk, tuple(w.astype(jnp.float32) for w in starts(8)), gradient_rtol=1e-3)
    np.testing.assert_array_equal(flows.verdict, lf.Verdict.CONVERGED)
    assert {leaf.dtype for leaf in jax.tree.leaves(flows)} == {np.dtype(x) for x in ("float32", "int32", "bool")}


TWO_DEVICES = """
import jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)
import numpy as np, lcnn_flow as lf
from tests.ensemble.test_lanes import all_numbers
assert jax.local_device_count() == 2
seen, arch = [], lf.Architecture(1, (1, 1))  # compiles fast
numbers = np.random.default_rng(0)
starts, inputs = tuple(numbers.uniform(0.5, 1.5, (2, 20, 1))), numbers.normal(size=(9, 1))
risk = lf.EmpiricalRisk(arch, lf.losses.Square(), lf.Dataset(inputs, inputs + 0.1 * numbers.normal(size=(9, 1))))
both = lf.gradient_flow_ensemble(risk, starts, block_size=8, progress=lambda done, total: seen.append(done))
one = lf.gradient_flow_ensemble(risk, starts, block_size=8, devices=jax.local_devices()[1:])
np.testing.assert_array_equal(all_numbers(both), all_numbers(one))
np.testing.assert_array_equal(both.verdict, lf.Verdict.CONVERGED)
deltas = jax.numpy.linspace(0.5, 2.0, 16)
risks = jax.vmap(lambda delta: lf.EmpiricalRisk(arch, lf.losses.PseudoHuber(delta), risk.data))(deltas)
several = lf.gradient_flow_ensemble(risks, tuple(np.stack([w[:8]] * 16) for w in starts))
np.testing.assert_array_equal(several.verdict, lf.Verdict.CONVERGED)
print(seen)
"""


@pytest.mark.slow
def test_two_devices_share_blocks_and_conditions_and_give_the_bits_of_one():
    cpu = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", TWO_DEVICES], capture_output=True, text=True, timeout=300, env=cpu)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[16, 20]"


def test_describe_counts_what_the_shapes_say():
    arch = lf.Architecture(16, (3, 3, 3))
    data = lf.data.synthesize(jax.random.key(0), arch, samples=64)
    told = {
        loss: lf.describe(lf.EmpiricalRisk(arch, loss, data))
        for loss in (lf.losses.Square(), lf.losses.PseudoHuber(1.0), lf.losses.Lp(4.0))
    }
    square, huber, quartic = told.values()
    assert [d.form for d in told.values()] == ["reduced", "patches", "moments"]
    assert (square.rows, square.columns, square.parameters) == (640, 7, 9)
    composition = 3 * 3 + 3 * 5  # v = w_1 * w_2 * w_3
    assert square.gradient_cost == 7 * 7 + 3 * composition
    assert huber.gradient_cost == 2 * 640 * 7 + 3 * composition
    assert quartic.gradient_cost == math.comb(9, 2) * math.comb(9, 2) + 3 * composition
    assert square.lanes == (64 if jax.default_backend() == "cpu" else 2048)
    assert "KiB" in str(huber)


def test_few_rows_make_moments_dearer_than_patches_and_the_form_can_be_forced():
    arch = lf.Architecture(16, (3, 3, 3))
    data = lf.data.synthesize(jax.random.key(0), arch, samples=2)
    assert lf.EmpiricalRisk(arch, lf.losses.Lp(4.0), data).form == "patches"
    assert lf.EmpiricalRisk(arch, lf.losses.Lp(4.0), data, form="moments").form == "moments"
    with pytest.raises(lf.RiskError, match="needs the l_p loss of an even p"):
        lf.EmpiricalRisk(arch, lf.losses.Lp(3.0), data, form="moments")


def test_lanes_shrink_with_the_memory_and_too_little_of_it_is_said(monkeypatch):
    device = jax.devices()[0]
    needed, shared = memory.lane_bytes(RISK), memory.data_bytes(RISK)
    monkeypatch.setattr(memory, "device_bytes", lambda device: 2 * (shared + 20 * needed))
    assert memory.lanes_that_fit(RISK, device) == 16
    monkeypatch.setattr(memory, "device_bytes", lambda device: 2 * (shared + 7 * needed))
    with pytest.raises(lf.FlowError, match="use fewer samples"):
        memory.lanes_that_fit(RISK, device)


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="needs the kernel's own count")
def test_the_cpu_devices_share_the_memory_that_the_kernel_counts():
    total = int(Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0]) * 1024
    assert memory.physical_memory() == pytest.approx(total, rel=0.02)
    cpus = jax.devices("cpu")
    assert sum(memory.device_bytes(cpu) for cpu in cpus) == pytest.approx(total, rel=0.02)
