"""What is stored about limits: of a real problem with a saddle, two minima, and a flow without a limit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import as_params, truth, truth_problem

import lcnn_flow as lf
from experiments.computing.analysis import analyse
from experiments.computing.certification import Certifier
from experiments.results.variables import CERTIFICATES

CASE = next(case for case in truth("critical_points") if case["name"] == "k22_s1_gen_d1")
POINTS = CASE["critical_points"]


class Ended:
    """The fields of a flow that the analysis reads: the reference points as limits, and one flow without."""

    trajectory = None
    path_length = np.zeros(5)
    verdict = np.array([*(lf.Verdict.CONVERGED if p["kind"] == "min" else lf.Verdict.AT_SADDLE for p in POINTS), 5])
    limit = tuple(
        jnp.asarray(np.stack([*(np.asarray(p["filters"][layer]) for p in POINTS), np.full(2, np.nan)]))
        for layer in range(2)
    )


def test_limits_are_classified_certified_and_told_apart():
    risk, heard = truth_problem(CASE["name"]), []
    start = tuple(jnp.ones((5, 2)) for _ in range(2))
    stored = analyse(risk, start, Ended(), Certifier(), 0, heard.append)
    assert (stored["certificate"] == -1).all()
    with Certifier(3) as certifier:
        stored = analyse(risk, start, Ended(), certifier, 3, heard.append)
        assert (stored["certificate"] == -1).all()  # what it takes has not been waited for
        (wait,) = certifier.take()
        wait()
    words = {"min": 0, "saddle": 1}
    assert list(stored["kind"]) == [*(words[p["kind"]] for p in POINTS), -1]
    np.testing.assert_allclose(stored["limit_risk"][:4], [p["risk"] for p in POINTS], rtol=1e-12)
    assert np.isnan(stored["limit_risk"][4])
    assert sorted(stored["orbit"][:4]) == [0, 1, 2, 3]
    assert list(stored["certificate"]) == [0, 0, 0, -1, -1]
    assert list(stored["certified_index"][:3]) == [p["hessian_index"] for p in POINTS[:3]]
    assert np.isnan(stored["trapping_radius"][2:]).all()  # a saddle, then nothing tried
    assert stored["norm_bound"].shape == (5, 2)
    assert "certificates 3/3" in heard
    assert "lojasiewicz_exponent" not in stored


class OneEnd:
    """The fields of one flow that has converged to the given parameters."""

    trajectory = None
    verdict = np.array([lf.Verdict.CONVERGED])

    def __init__(self, params):
        self.limit = jax.tree.map(lambda w: jnp.asarray(w)[None], params)


@pytest.mark.parametrize(
    ("activation", "outcome", "index"),
    [(None, "inconclusive", np.nan), (lf.activations.tanh, "certified", 0)],
    ids=["linear: a group of symmetries", "tanh: isolated"],
)
def test_limits_of_dense_networks_are_put_to_the_proof(activation, outcome, index):
    network = lf.Dense((2, 2, 1), activation)
    teacher = (np.array([[0.5, -0.4], [0.3, 0.8]]), np.array([[0.7, -0.6]]))
    inputs = np.random.default_rng(0).normal(size=(12, 2))
    hidden = inputs @ teacher[0].T
    targets = (hidden if activation is None else np.tanh(hidden)) @ teacher[1].T
    risk = lf.EmpiricalRisk(network, lf.losses.Square(), lf.Dataset(inputs, targets))
    stored = analyse(risk, teacher, OneEnd(teacher), Certifier(), 1, lambda _: None)
    assert CERTIFICATES[int(stored["certificate"][0])] == outcome
    np.testing.assert_array_equal(stored["certified_index"], [index])
    without = analyse(risk, teacher, OneEnd(teacher), Certifier(), None, lambda _: None)
    assert "certificate" not in without
    assert ("orbit" in without) == network.is_linear


@pytest.mark.slow
def test_certificates_are_the_same_in_workers_and_here():
    risk = truth_problem(CASE["name"])
    batch = tuple(np.asarray(w)[:4] for w in Ended.limit)
    here, there = [], []
    Certifier().prove(risk, batch, here.extend)
    with Certifier(1) as certifier:
        certifier.prove(risk, batch, there.extend)
        assert there == []
        for wait in certifier.take():
            wait()
    assert certifier.take() == []
    assert [c.status for c in there] == [c.status for c in here] == ["certified"] * 4
    assert [c.existence_radius for c in there] == [c.existence_radius for c in here]


def test_channels_are_not_put_to_the_proof():
    arch = lf.Architecture(6, (2, 2), channels=(1, 2, 1))
    data = lf.Dataset(np.ones((2, 1, 6)), np.ones((2, 1, 4)))
    risk = lf.EmpiricalRisk(arch, lf.losses.Square(), data)
    found = []
    Certifier().prove(risk, as_params([np.ones((1, 2, 1, 2)), np.ones((1, 1, 2, 2))]), found.extend)
    assert [certificate.status for certificate in found] == ["inconclusive"]
    with pytest.raises(lf.RiskError, match="channels"):
        lf.critical.plain_risk(risk)
