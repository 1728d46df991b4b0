"""What is stored about limits: of a real problem with a saddle, two minima, and a flow without a limit."""

import jax.numpy as jnp
import numpy as np
import pytest
from problems import as_params, truth, truth_problem

import lcnn_flow as lf
from experiments.computing.analysis import analyse
from experiments.computing.certification import Certifier

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
    stored = analyse(risk, start, Ended(), Certifier(0), heard.append)
    assert (stored["certificate"] == -1).all()
    with Certifier(3, processes=True) as certifier:
        stored = analyse(risk, start, Ended(), certifier, heard.append)
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


@pytest.mark.slow
def test_certificates_are_the_same_in_workers_and_here():
    risk = truth_problem(CASE["name"])
    batch = tuple(np.asarray(w)[:4] for w in Ended.limit)
    here, there = [], []
    Certifier(0).prove(risk, batch, here.extend)
    with Certifier(1, processes=True) as certifier:
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
    Certifier(0).prove(risk, as_params([np.ones((1, 2, 1, 2)), np.ones((1, 1, 2, 2))]), found.extend)
    assert [certificate.status for certificate in found] == ["inconclusive"]
    with pytest.raises(lf.RiskError, match="channels"):
        lf.critical.plain_risk(risk)
