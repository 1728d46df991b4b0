"""What the program of a flow contains: one solver, whatever is asked of it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from problems import random_problem

import lcnn_flow as lf
from lcnn_flow.dynamics.settings import flow_settings
from lcnn_flow.flow import single
from lcnn_flow.flow.single import run_flow

START = (jnp.asarray([0.5, -0.2]), jnp.asarray([0.3, 0.8]))


@pytest.fixture(scope="module")
def risks():
    known = random_problem(lf.Architecture(6, (2, 2)), lf.losses.Square())
    return {"known": known, "function": lf.Risk(lambda w: jnp.sum(jnp.log1p((w[0] * w[1] - 1) ** 2)), START)}


def size(risk, **options):
    """Lines of StableHLO; a solver is a third of them."""
    text = eqx.filter_jit(run_flow).lower(risk, START, flow_settings(START, **options)).as_text()
    return text.count("\n")


@pytest.mark.parametrize("kind", ["known", "function"])
def test_times_add_no_second_solver(kind, risks):
    without, with_times = size(risks[kind]), size(risks[kind], times=jnp.linspace(0.0, 3.0, 7))
    assert with_times < 1.2 * without


def test_flows_from_both_sides_of_the_start_add_no_second_solver(risks):
    assert size(risks["function"]) < 1.2 * size(risks["known"])


def test_the_square_loss_needs_no_new_program_for_another_number_of_samples(monkeypatch):
    seen = []

    def note(risk, params, settings):
        leaves, tree = jax.tree.flatten((risk, params, settings))
        seen.append((tree, [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]))
        raise StopIteration  # the arguments are all that counts

    monkeypatch.setattr(single, "_compiled_flow", note)
    for samples in (9, 30):
        with pytest.raises(StopIteration):
            lf.gradient_flow(random_problem(lf.Architecture(6, (2, 2)), lf.losses.Square(), samples=samples), START)
    assert seen[0] == seen[1]
