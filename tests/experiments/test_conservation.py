"""Claims of the module conservation on made-up descents, and its law on real ones."""

import fakes
import numpy as np
import pytest

from experiments.computing.build import build_problem, initial_filters
from experiments.computing.descents import descents
from experiments.computing.flow_comparison import compare_conservation
from experiments.computing.solved_cell import SolvedCell
from experiments.modules.conservation import (
    CONSERVATION,
    drift_has_order_one,
    other_steps_miss_the_law,
    sign_like_steps_do_not_conserve,
    the_flow_conserves,
)

SEEDS = 3
RATES = (0.02, 0.01, 0.005)
KINDS = ("sgd", "momentum", "adam")
OPTIMIZERS = ", ".join(f'{{ kind = "{kind}", learning_rate = {rate} }}' for kind in KINDS for rate in RATES)
TEXT = fakes.toml_of_module(
    "conservation",
    SEEDS,
    more=f"""
[dynamics]
kind = "descent"
steps = 40
record_every = 1
[sweep]
dynamics.optimizer = [{OPTIMIZERS}]
""",
)


def runs(tmp_path, order=1.0, flat=0.0, flow=1e-9, miss=0.5):
    """Descents whose balancedness goes as far as t times eta^order, those of Adam as t times eta^flat."""
    steps, cells = np.arange(41.0), {}
    for number in range(9):
        kind, rate = KINDS[number // 3], RATES[number % 3]
        moved = 0.01 * rate ** (flat if kind == "adam" else order) * rate * steps
        cells[number] = {
            "verdict": np.zeros(SEEDS, np.int32),
            "learning_time": rate * steps,
            "balancedness": np.tile(0.1 + moved[:, None], (SEEDS, 1, 1)),
            "squared_norms": np.full((SEEDS, 41, 2), 2.0),
            "flow_drift": np.full(SEEDS, flow),
            "law_miss": np.full(SEEDS, 1e-12 if kind == "sgd" else miss),
        }
    return fakes.assemble(fakes.sweep_of(tmp_path, TEXT), cells, fakes.MANIFEST)


CLAIMS = (
    (the_flow_conserves, {"flow": 1e-3}),
    (drift_has_order_one, {"order": 2.0}),
    (sign_like_steps_do_not_conserve, {"flat": 1.0}),
    (other_steps_miss_the_law, {"miss": 1e-12}),
)


@pytest.mark.parametrize(("claim", "violation"), CLAIMS)
def test_claims_agree_with_descents_of_the_theory_and_with_no_others(tmp_path, claim, violation):
    assert claim(runs(tmp_path)).conclusion == "agrees"
    assert claim(runs(tmp_path, **violation)).conclusion == "disagrees"


def test_drifts_are_compared_at_the_time_that_all_rates_reach(tmp_path):
    """t = 0.2 is reached by all: there the drift is twice 0.01 eta t / 2."""
    answer = CONSERVATION.answer(runs(tmp_path))
    assert f"sgd {0.01 * 0.02 * 0.2:.2g} at η = 0.02 to {0.01 * 0.005 * 0.2:.2g} at η = 0.005" in answer
    assert "the flow moves it by at most 1e-09" in answer


@pytest.mark.slow
def test_real_steps_of_plain_descent_alone_obey_the_law_and_the_flow_conserves(tmp_path):
    sweep = fakes.sweep_of(tmp_path, TEXT)
    for number, most, least in ((0, 1e-9, 0.0), (3, 2.0, 1e-2), (6, np.inf, 1e-2)):
        configuration = sweep.cells[number].configuration
        arch, _, risk = build_problem(configuration)
        start = initial_filters(configuration, arch, range(SEEDS))
        (run,) = descents([configuration], [risk], [start], 0, {}, lambda done, total: None)
        found = compare_conservation(SolvedCell(configuration, risk, start, run))
        assert (found["flow_drift"] <= 1e-6).all()
        assert (found["law_miss"] <= most).all()
        assert (found["law_miss"] >= least).all()
        assert ("law_defect" in found) == (number == 0)
