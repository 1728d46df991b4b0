"""The network of 33 parameters of arXiv 2301.10638: its size, its start, and that the teacher is within its reach."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.mlp_gradient_flow import STUDENT, glorot, problem


def test_a_student_with_every_unit_of_the_teacher_twice_has_no_risk():
    assert STUDENT.num_parameters == 33
    risk, (into, shift, out, offset) = problem(jax.random.key(3), samples=20)
    twice = jnp.concatenate([into, into]), jnp.concatenate([shift, shift])
    params = STUDENT.assemble((twice[0], jnp.concatenate([out, out], axis=1) / 2), (twice[1], offset))
    assert float(risk(params)) < 1e-28
    assert float(risk(glorot(jax.random.key(0)))) > 1e-3


def test_starts_are_those_of_glorot():
    weights, biases = zip(*jax.vmap(glorot)(jax.random.split(jax.random.key(0), 2000)), strict=True)
    for w, b, fan in zip(weights, biases, (2 + 8, 8 + 1), strict=True):
        np.testing.assert_allclose(np.mean(w**2), 2 / fan, rtol=0.05)
        assert not b.any()
