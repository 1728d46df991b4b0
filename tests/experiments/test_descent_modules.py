"""Claims of the modules about descents and networks agree with data as the theory has them, and with no others."""

import fakes
import numpy as np
import pytest

from experiments.modules import MODULES
from experiments.modules.activations import (
    homogeneous_ones_conserve,
    others_do_not_conserve,
    smooth_ones_are_decided,
)
from experiments.modules.dense_vs_convolution import (
    convolutions_have_spurious_minima,
    dense_ones_have_none,
    the_data_are_the_same,
)
from experiments.modules.edge_of_stability import (
    far_below_the_edge_the_flow_is_followed,
    rest_is_stable,
    sharper_limits_are_left,
)
from experiments.modules.flow_vs_descent import balancedness_obeys_its_law, distance_has_order_one
from lcnn_flow import Verdict
from lcnn_flow.critical import Kind

SEEDS = 4
COMMON = f"""
seeds = {SEEDS}
[data]
kind = "synthetic"
samples = 8
inputs = {{ kind = "white" }}
targets = {{ kind = "unrelated" }}
[loss]
kind = "square"
[initializer]
kind = "fan_in"
"""
CONVOLUTION = "[network]\ninput_shape = 5\nkernel_sizes = [2, 2]\n"
RATES = (0.2, 0.1, 0.05)
DESCENT = f"""
{COMMON}
{CONVOLUTION}
[dynamics]
kind = "descent"
optimizer = {{ kind = "sgd" }}
steps = 100
record_every = 10
[sweep]
dynamics.optimizer.learning_rate = [0.2, 0.1, 0.05]
"""
ACTIVATIONS = """
[sweep]
network.activation = [{ kind = "none" }, { kind = "tanh" }, { kind = "power", p = 2.0 }, { kind = "relu" }]
"""
NETWORKS = """
[sweep]
network = [{ input_shape = 5, kernel_sizes = [2, 2] }, { kind = "dense", widths = [5, 3, 3] }]
"""


def dataset(tmp_path, text, module, cells):
    """Results whose cells hold these arrays."""
    sweep = fakes.sweep_of(tmp_path, f'{text}\n[experiment]\nmodule = "{module}"\n')
    codes = ("verdict", "kind")
    stored = {n: {k: np.asarray(v, np.int32 if k in codes else float) for k, v in c.items()} for n, c in cells.items()}
    return fakes.assemble(sweep, stored, fakes.MANIFEST)


def descents(tmp_path, order=1.0, defect=1e-16):
    """Descents whose distance from the flow is eta^order."""
    steps, ones = np.arange(0, 101, 10.0), np.ones((SEEDS, 1))
    cells = {
        number: {
            "verdict": np.zeros(SEEDS),
            "learning_time": rate * steps,
            "distance_to_flow": ones * rate**order * np.sin(np.minimum(rate * steps, 3.0)),
            "law_defect": np.full(SEEDS, defect),
            "law_change": np.full(SEEDS, 1e-4),
        }
        for number, rate in enumerate(RATES)
    }
    return dataset(tmp_path, DESCENT, "flow_vs_descent", cells)


def test_the_order_of_the_distance_is_read_off_the_two_smallest_rates(tmp_path):
    claim = distance_has_order_one(descents(tmp_path))
    assert claim.conclusion == "agrees"
    assert "order 1.000 from η = 0.1 to 0.05" in claim.observed
    assert distance_has_order_one(descents(tmp_path, order=1.5)).conclusion == "disagrees"
    assert distance_has_order_one(descents(tmp_path, order=0.5)).conclusion == "disagrees"


def test_the_law_of_balancedness_is_exact_or_violated(tmp_path):
    assert balancedness_obeys_its_law(descents(tmp_path)).conclusion == "agrees"
    assert balancedness_obeys_its_law(descents(tmp_path, defect=1e-9)).conclusion == "disagrees"


def edge(tmp_path, rest=1.0, far=1.0, left=1.0):
    """Descents with 2/eta = 10, 20, 40: beyond the edge, near it and far below, with final sharpness scaled."""
    steps = np.arange(0, 101, 10.0)
    flow, found = np.full((SEEDS, 11), 15.0), (9.9 * rest * left, 15.0 * rest, 15.0 * far)
    cells = {
        number: {
            "verdict": np.full(SEEDS, Verdict.CONVERGED),
            "learning_time": rate * steps,
            "sharpness": np.full((SEEDS, 11), sharp),
            "flow_sharpness": flow,
        }
        for number, (rate, sharp) in enumerate(zip(RATES, found, strict=True))
    }
    return dataset(tmp_path, DESCENT, "edge_of_stability", cells)


def test_the_edge_of_stability_is_judged_by_the_sharpness_at_the_end(tmp_path):
    obeyed = edge(tmp_path)
    claims = (rest_is_stable, sharper_limits_are_left, far_below_the_edge_the_flow_is_followed)
    assert [claim(obeyed).conclusion for claim in claims] == ["agrees", "agrees", "agrees"]
    assert rest_is_stable(edge(tmp_path, rest=1.1)).conclusion == "disagrees"
    assert sharper_limits_are_left(edge(tmp_path, left=1.6)).conclusion == "disagrees"
    assert far_below_the_edge_the_flow_is_followed(edge(tmp_path, far=0.8)).conclusion == "disagrees"
    assert "2/η = 10: 4 of 4 flows end sharper (up to 15)" in MODULES["edge_of_stability"].answer(obeyed)


def activations(tmp_path, moved=(0.0, 0.1, 0.0, 0.0), undecided=0, growth=0.0):
    """Cells none, tanh, power(2) and relu; the balance |w_1|^2 - p |w_2|^2 of each moves by so much."""
    cells = {}
    for number, change in enumerate(moved):
        degree = 2.0 if number == 2 else 1.0
        squares = np.ones((SEEDS, 5, 2))
        squares[:, :, 1] += np.linspace(0, 0.5, 5)
        squares[:, :, 0] = 1 + degree * np.linspace(0, 0.5, 5) + np.linspace(0, change, 5)
        verdict = np.zeros(SEEDS)
        verdict[: undecided if number == 1 else 0] = Verdict.STEP_LIMIT
        cells[number] = {"verdict": verdict, "squared_norms": squares, "growth_rate": np.full(SEEDS, growth)}
    times = "[flow]\ntimes = { start = 1e-3, stop = 1.0, count = 4 }\n"
    return dataset(tmp_path, COMMON + CONVOLUTION + times + ACTIVATIONS, "activations", cells)


def test_what_activations_conserve_is_told_by_their_degree(tmp_path):
    obeyed = activations(tmp_path)
    claims = (smooth_ones_are_decided, homogeneous_ones_conserve, others_do_not_conserve)
    assert [claim(obeyed).conclusion for claim in claims] == ["agrees", "agrees", "agrees"]
    assert homogeneous_ones_conserve(activations(tmp_path, (0.0, 0.1, 0.1, 0.0))).conclusion == "disagrees"
    assert others_do_not_conserve(activations(tmp_path, (0.0, 0.0, 0.0, 0.0))).conclusion == "disagrees"
    assert smooth_ones_are_decided(activations(tmp_path, undecided=1)).conclusion == "disagrees"
    growing = smooth_ones_are_decided(activations(tmp_path, undecided=1, growth=0.125))
    assert growing.conclusion == "agrees"
    assert ("tanh", "4 of 4 flows, of which 1 grow", "agrees") in growing.details


def networks(tmp_path, convolution=(1, 1, 2, 2), dense=(1, 1, 1, 1), targets=(1.0, 1.0)):
    """A convolution and a dense network, the risks of whose minima are given."""
    numbers = dict.fromkeys(("inputs_smallest", "inputs_largest", "sample_count"), 3.0)
    cells = {
        number: {
            "verdict": np.zeros(SEEDS),
            "kind": np.full(SEEDS, Kind.MINIMUM),
            "limit_risk": risks,
            "final_risk": risks,
            "final_energy": np.full(SEEDS, 5.0),
            "targets_size": size,
            **numbers,
        }
        for number, (risks, size) in enumerate(zip((convolution, dense), targets, strict=True))
    }
    return dataset(tmp_path, COMMON + NETWORKS, "dense_vs_convolution", cells)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ["agrees", "agrees", "agrees"]),
        ({"convolution": (1, 1, 1, 1)}, ["agrees", "disagrees", "agrees"]),
        ({"dense": (1, 1, 1, 2)}, ["agrees", "agrees", "disagrees"]),
        ({"targets": (1.0, 1.1)}, ["disagrees", "agrees", "agrees"]),
    ],
)
def test_spurious_minima_are_expected_of_convolutions_alone_and_of_the_same_data(tmp_path, changes, words):
    found = networks(tmp_path, **changes)
    claims = (the_data_are_the_same, convolutions_have_spurious_minima, dense_ones_have_none)
    assert [claim(found).conclusion for claim in claims] == words
