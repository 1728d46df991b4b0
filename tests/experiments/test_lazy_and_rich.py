"""Filters of the kernel and of least norm against other methods, and the claims of the module on made-up flows."""

import fakes
import jax
import numpy as np
import pytest

import lcnn_flow as lf
from experiments.computing.kernels import lazy_filters, minimum_norm_filter
from experiments.computing.solved_cell import SolvedCell
from experiments.modules.lazy_and_rich import (
    LAZY_AND_RICH,
    large_starts_find_the_filter_of_the_kernel,
    lazy_drift_follows_its_law,
    rich_drift_follows_its_law,
    small_starts_find_the_least_filter,
)
from experiments.planning.loading import load

SEEDS = 3
SCALES = (0.01, 0.1, 1.0, 10.0, 100.0)
TEXT = fakes.toml_of_module(
    "lazy_and_rich",
    SEEDS,
    '{ kind = "dense", widths = [4, 5, 1] }',
    samples=2,
    initializer='{ kind = "scaled", norms = [1.0, 0.0] }',
    more=f"""
[flow]
times = {{ start = 1e-2, stop = 1e2, count = 3 }}
[sweep]
initializer.norms = {[[scale, 0.0] for scale in SCALES]}
""",
)


def test_the_filter_of_the_kernel_is_that_of_the_least_step_of_the_linearised_network():
    network = lf.Dense((4, 3, 1))
    data = lf.data.synthesize(jax.random.key(0), network, 2)
    risk = lf.EmpiricalRisk(network, lf.losses.Square(), data)
    starts = lf.initializers.gaussian(0.7)(jax.random.split(jax.random.key(1), 2), network)
    found = lazy_filters(SolvedCell(None, risk, starts, None))["lazy_filter"]
    inputs, targets = np.asarray(data.inputs), np.asarray(data.targets).ravel()
    for seed, (first, last) in enumerate(zip(*(np.asarray(w) for w in starts), strict=True)):
        columns = [np.outer(last[0], np.eye(4)[i]).ravel() for i in range(4)]  # dv_i / dW_1
        jacobian = np.hstack([np.array(columns), first.T])  # v = W_1^T w_2
        v = first.T @ last[0]
        step = np.linalg.lstsq(inputs @ jacobian, targets - inputs @ v, rcond=None)[0]
        np.testing.assert_allclose(found[seed], v + jacobian @ step, rtol=1e-10)
    least = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    np.testing.assert_allclose(
        minimum_norm_filter(SolvedCell(None, risk, None, None))["minimum_norm_filter"], least, rtol=1e-10
    )


def flows(tmp_path, lazy=-4.0, rich=-2.0, large=0.0, small=0.0):
    """Flows whose drift has these powers of the scale, and limits so far from the closed forms of the ends."""
    cells = {}
    for number, scale in enumerate(SCALES):
        drift = scale ** (rich if scale < 1 else lazy)
        least, kernel = np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.8, 0.6, 0.0, 0.0])
        end = kernel * (1 + large) if scale > 1 else least * (1 + small)
        cells[number] = {
            "verdict": np.zeros(SEEDS, np.int32),
            "kernel_drift": drift * np.linspace(0, 1, 4) * np.ones((SEEDS, 1)),
            "lazy_filter": np.tile(kernel, (SEEDS, 1)),
            "minimum_norm_filter": least,
            "limit_filter": np.tile(end, (SEEDS, 1)),
        }
    return fakes.assemble(fakes.sweep_of(tmp_path, TEXT), cells, fakes.MANIFEST)


CLAIMS = (
    (lazy_drift_follows_its_law, {"lazy": -3.0}),
    (rich_drift_follows_its_law, {"rich": -3.0}),
    (large_starts_find_the_filter_of_the_kernel, {"large": 0.1}),
    (small_starts_find_the_least_filter, {"small": 0.1}),
)


@pytest.mark.parametrize(("claim", "violation"), CLAIMS)
def test_claims_agree_with_flows_of_the_theory_and_with_no_others(tmp_path, claim, violation):
    assert claim(flows(tmp_path)).conclusion == "agrees"
    assert claim(flows(tmp_path, **violation)).conclusion == "disagrees"


def test_the_answer_tells_both_ends(tmp_path):
    answer = LAZY_AND_RICH.answer(flows(tmp_path))
    assert answer.startswith("From layers of norm 0.01 the kernel changes by 1e+04 times its size")
    assert "from norm 100 it changes by 1e-08" in answer


def test_starts_whose_outputs_are_not_zero_are_refused(tmp_path):
    one = TEXT.split("[sweep]")[0]
    for norms in ("[1.0, 1.0]", "[0.0, 0.0]"):
        assert "last one of 0" in fakes.faults(tmp_path, one.replace("[1.0, 0.0]", norms))["initializer"]
    (file := tmp_path / "good.toml").write_text(one)
    assert load(file).configuration.initializer.norms == (1.0, 0.0)
