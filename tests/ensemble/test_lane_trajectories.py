"""Trajectories that lanes record: those that diffrax integrates in lockstep, which an adjoint of one's own asks for."""

from functools import cache

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lcnn_flow as lf
from lcnn_flow.ensemble import memory
from lcnn_flow.ensemble.many import _lane_sizes
from tests.problems import random_problem

ARCH = lf.Architecture(4, (2, 2))
RISK = random_problem(ARCH, lf.losses.Square(), samples=9)
TIMES = jnp.asarray([0.0, 1e-3, 2e-3, 3e-3, 0.1, 0.5, 2.0, 9.0, 1e3])
SYMMETRIC, STEEP = 1, 3
"""A seed with equal filters, and one that is far from balanced."""


@cache
def starts() -> tuple[jax.Array, ...]:
    init = lf.initializers.gaussian(0.6)
    params = init(jax.random.split(jax.random.key(2), 12), ARCH)
    params = tuple(w.at[SYMMETRIC].set(jnp.asarray([0.7, -0.2])) for w in params)
    return tuple(w.at[STEEP].multiply(factor) for w, factor in zip(params, (30.0, 0.1), strict=True))


@cache
def flows(lanes: bool = True, stop: float = 1e3, **options) -> lf.Flow:
    times = jnp.where(TIMES[-1] == TIMES, stop, TIMES)  # the same program
    options |= {"block_size": 12} if lanes else {"adjoint": diffrax.ForwardMode()}
    return lf.gradient_flow_ensemble(RISK, starts(), times=times, **options)


@pytest.fixture(params=["quick", pytest.param("optimised", marks=pytest.mark.slow)])
def compiled() -> None:
    """For claims about bits: by programs without optimisations and, with the slow tests, by those of users."""
    flows.cache_clear()


def assert_same(found: lf.Flow, expected: lf.Flow) -> None:
    """Verdicts and steps equal, everything else to the rounding of a whole integration."""
    for name in ("verdict", "reason", "steps", "sound", "hessian_index", "nullity"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("stop", [10.0, 1e3], ids=["to the limit after the last time", "at rest at the last time"])
def test_trajectories_of_lanes_are_those_of_lockstep_with_the_same_steps_and_verdicts(stop):
    lanes, lockstep = flows(stop=stop), flows(lanes=False, stop=stop)
    assert np.all(lanes.time >= stop)
    assert np.sum(lanes.time > stop) > 6 if stop == 10.0 else np.sum(lanes.time == stop) > 6
    assert_same(lanes, lockstep)
    ours, theirs = lanes.trajectory, lockstep.trajectory
    np.testing.assert_array_equal(ours.valid_until, theirs.valid_until)
    np.testing.assert_allclose(ours.end_to_end_filter, theirs.end_to_end_filter, rtol=0, atol=1e-10)
    assert not any(np.isnan(x).any() for x in jax.tree.leaves(ours))


@pytest.mark.slow
def test_trajectories_of_lanes_are_those_of_lockstep_with_channels():
    arch, loss = lf.Architecture(3, (2, 2), channels=(1, 2, 2)), lf.losses.Square()
    risk = random_problem(arch, loss, samples=9)
    params = lf.initializers.gaussian(0.6)(jax.random.split(jax.random.key(5), 2), arch)
    lanes = lf.gradient_flow_ensemble(risk, params, times=TIMES, block_size=2)
    assert_same(lanes, lf.gradient_flow_ensemble(risk, params, times=TIMES, adjoint=diffrax.ForwardMode()))


@pytest.mark.slow
def test_risks_evaluated_layer_by_layer_have_the_same_limits_though_they_do_not_run_in_lanes():
    plain = lf.EmpiricalRisk(ARCH, lf.losses.Square(), RISK.data, form="layers")
    found = lf.gradient_flow_ensemble(plain, tuple(w[4:6] for w in starts()))
    np.testing.assert_array_equal(found.verdict, lf.Verdict.CONVERGED)
    for ours, theirs in zip(found.limit, flows().limit, strict=True):
        np.testing.assert_allclose(ours, theirs[4:6], rtol=1e-9)


def test_a_step_that_passes_many_times_writes_them_all():
    path = flows().trajectory
    states = np.concatenate(path.params, axis=-1)
    assert np.all(np.diff(path.path_length[:, 1:4], axis=1) > 0)  # 1e-3, 2e-3 and 3e-3 lie within one step or two
    between = (states[:, 1] + states[:, 3]) / 2
    tame = np.arange(12) != STEEP
    np.testing.assert_allclose(states[tame, 2], between[tame], rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(states[:, 0], np.concatenate(starts(), axis=1))
    np.testing.assert_array_equal(path.path_length[:, 0], 0)


@pytest.mark.usefixtures("compiled")
def test_equal_filters_stay_equal_along_a_trajectory_bit_for_bit():
    path = flows().trajectory
    np.testing.assert_array_equal(path.params[0][SYMMETRIC], path.params[1][SYMMETRIC])


@pytest.mark.usefixtures("compiled")
def test_the_bits_of_a_trajectory_depend_neither_on_its_lane_nor_on_its_neighbours():
    order = np.random.default_rng(1).permutation(12)
    shuffled = lf.gradient_flow_ensemble(RISK, tuple(w[order] for w in starts()), times=TIMES, block_size=12)
    for one, other in zip(jax.tree.leaves(flows()), jax.tree.leaves(shuffled), strict=True):
        np.testing.assert_array_equal(other, one[order])


@pytest.mark.slow
def test_trajectories_that_break_off_are_valid_up_to_there_as_in_lockstep():
    fewer = int(np.sort(flows().steps)[-3])  # not enough for some of the flows on their way to the last time
    lanes, lockstep = flows(max_steps=fewer), flows(lanes=False, max_steps=fewer)
    assert_same(lanes, lockstep)
    broken = lanes.verdict == lf.Verdict.STEP_LIMIT
    assert 0 < np.sum(broken) < 12
    path = lanes.trajectory
    np.testing.assert_array_equal(np.isnan(path.risk), path.time > path.valid_until[:, None])
    np.testing.assert_array_equal(path.valid_until < TIMES[-1], broken)


def test_blocks_shrink_where_trajectories_do_not_fit_into_memory_and_too_many_times_are_refused(monkeypatch):
    device, times = jax.devices()[0], 1000
    lane, path = memory.lane_bytes(RISK), memory.trajectory_bytes(RISK, times)
    assert path >= times * 8 * (2 * 4 + 3)  # filters as lanes write them and as they come back, the end-to-end filter
    shared = memory.data_bytes(RISK)
    monkeypatch.setattr(memory, "device_bytes", lambda device: 2 * (shared + 64 * lane + 700 * path))
    assert _lane_sizes(RISK, 65536, None, device, times) == (64, 640)
    assert _lane_sizes(RISK, 65536, None, device, 0) == (64, 2048)
    monkeypatch.setattr(memory, "device_bytes", lambda device: 2 * (shared + 8 * lane + 7 * path))
    with pytest.raises(lf.FlowError, match="fewer times"):
        memory.lanes_that_fit(RISK, device, times)
