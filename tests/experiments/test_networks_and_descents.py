"""Networks of the runner beyond the linear convolution: their faults, and what results of them hold."""

import shutil

import fakes
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr
from fakes import faults

import lcnn_flow as lf
from experiments.cli import main
from experiments.computing.build import build_problem, initial_filters
from experiments.computing.descents import OPTIMIZERS, numbers_of
from experiments.networks import architecture, params_of
from experiments.planning.loading import load
from experiments.planning.plan import plan_of
from experiments.schema import Configuration

PLAIN = fakes.toml_of_module(
    "convergence",
    4,
    '{ kind = "dense", widths = [2, 2, 1], activation = { kind = "tanh" }, bias = true }',
    samples=6,
    initializer='{ kind = "fan_in" }',
    more="noise = 0.1",  # in [data]
)
DESCENT = """
[dynamics]
kind = "descent"
optimizer = { kind = "sgd", learning_rate = 0.05 }
steps = 40
record_every = 20
[compute]
batch_size = 2
"""


@pytest.mark.parametrize(
    ("override", "path", "shown"),
    [
        ("network.kernel_sizes=[2]", "network.kernel_sizes", 'belongs to kind = "convolution", not to "dense": remove'),
        ("network={kernel_sizes=[2]}", "network.input_shape", "missing"),
        ("network={input_shape=4, kernel_sizes=[2], widths=[2, 1]}", "network.widths", 'belongs to kind = "dense"'),
        ("network.kind=mlp", "network", 'did you mean "dense"?'),
        ("network.activation={kind='rleu'}", "network.activation", 'did you mean "relu"?'),
        ("network.activation={kind='leaky_relu'}", "network.activation.slope", "missing"),
        ("network.activation={kind='power', p=0.5}", "network.activation.p", "greater than or equal to 1"),
        ("data.targets={kind='filter', values=[1.0, 1.0]}", "data.targets.kind", "no end-to-end filter"),
        ("experiment.module=identification", "network.activation", "needs the end-to-end filter of a linear network"),
        ("experiment.module=flow_vs_descent", "dynamics.kind", "is about descents: write [dynamics]"),
    ],
)
def test_networks_that_make_no_sense_are_refused_with_what_to_write_instead(tmp_path, override, path, shown):
    found = faults(tmp_path, PLAIN, [override])
    assert path in found
    assert shown in found[path]
    assert "\n" not in found[path]


@pytest.mark.parametrize(
    ("override", "path", "shown"),
    [
        ("flow.rtol=1e-5", "flow.rtol", "descents have no such option: leave it out"),
        ("dynamics.record_every=15", "dynamics", "steps = 40 is no multiple of record_every = 15: write steps = 45"),
        ("dynamics.batch_size=7", "dynamics.batch_size", "write at most 6"),
        ("dynamics.optimizer={kind='sgd', learning_rate=0.1, b1=0.9}", "dynamics.optimizer.b1", '"adam"'),
        ("dynamics.optimizer={kind='sgd'}", "dynamics.optimizer.learning_rate", "missing"),
        ("experiment.module=conditions", "dynamics.kind", "is about flows: leave [dynamics] out"),
    ],
)
def test_descents_that_make_no_sense_are_refused_with_what_to_write_instead(tmp_path, override, path, shown):
    found = faults(tmp_path, PLAIN + DESCENT, [override])
    assert path in found
    assert shown in found[path]


def test_whole_dynamics_are_no_axis_and_numbers_of_the_optimiser_share_a_program(tmp_path):
    found = faults(tmp_path, PLAIN + DESCENT, axes=["dynamics.steps=[20, 40]"])
    assert "is one for the whole run" in found["sweep.dynamics.steps"]
    adam = "{kind='adam', learning_rate=0.01}"
    (tmp_path / "some.toml").write_text(PLAIN + DESCENT)
    one = load(tmp_path / "some.toml", [], ["dynamics.optimizer.learning_rate=[0.1, 0.2]"])
    assert [len(group) for group in one.groups] == [2]
    two = load(tmp_path / "some.toml", [], [f"dynamics.optimizer=[{{kind='sgd', learning_rate=0.1}}, {adam}]"])
    assert [len(group) for group in two.groups] == [1, 1]


@pytest.mark.parametrize(
    ("table", "network"),
    [
        ("{input_shape=6, kernel_sizes=[2, 2], padding='circular'}", lf.Architecture(6, (2, 2), padding="circular")),
        (
            "{input_shape=6, kernel_sizes=[3], activation={kind='power', p=2.0}}",
            lf.Architecture(6, (3,), activation=lf.activations.Power(2.0)),
        ),
        (
            "{kind='dense', widths=[3, 2], activation={kind='leaky_relu', slope=0.1}, bias=true}",
            lf.Dense((3, 2), lf.activations.leaky_relu(0.1), bias=True),
        ),
        ("{kind='dense', widths=[3, 2], activation={kind='none'}}", lf.Dense((3, 2))),
    ],
)
def test_every_network_is_that_of_the_library(tmp_path, table, network):
    (tmp_path / "some.toml").write_text(PLAIN)
    assert architecture(load(tmp_path / "some.toml", [f"network={table}"]).configuration) == network


def test_defaults_that_are_written_out_leave_keys_of_batches_as_they_are(tmp_path):
    (tmp_path / "some.toml").write_text(fakes.CONFIGURATION)
    plain, written = (
        load(tmp_path / "some.toml", more) for more in ([], ["network.kind=convolution", "analysis.certify=8"])
    )
    assert [batch.key for batch in plan_of(plain).batches] == [batch.key for batch in plan_of(written).batches]


def test_every_optimiser_takes_the_numbers_that_its_table_may_hold():
    for kind, (factory, _) in OPTIMIZERS.items():
        raw = {"kind": "descent", "steps": 1, "optimizer": {"kind": kind, "learning_rate": 0.5}}
        descent = Configuration.model_validate({**fake_sections(), "dynamics": raw}).descent
        made = factory(**numbers_of(descent))
        with jax.numpy_dtype_promotion("standard"):  # for which optax is written
            update, _ = made.update(jnp.ones(2), made.init(jnp.ones(2)), jnp.ones(2))
        assert (np.asarray(update) < 0).all(), kind  # downhill
        assert isinstance(made, optax.GradientTransformation)


def fake_sections():
    """A configuration as a dictionary."""
    return {
        "seeds": 1,
        "experiment": {"module": "convergence"},
        "network": {"input_shape": 4, "kernel_sizes": [2]},
        "data": {"kind": "synthetic", "samples": 3, "inputs": {"kind": "white"}, "targets": {"kind": "planted"}},
        "loss": {"kind": "square"},
        "initializer": {"kind": "fan_in"},
    }


@pytest.mark.usefixtures("quick_figures")
def test_descents_of_a_dense_network_are_gradient_steps_and_resume_to_the_same_bits(tmp_path):
    file, out = tmp_path / "mine.toml", tmp_path / "run"
    file.write_text(PLAIN + DESCENT)
    axis = ["--axis", "dynamics.optimizer.learning_rate=[0.05, 0.1]", "--no-cache"]
    assert main(["run", str(file), "--out", str(out), *axis]) == 0
    stored = xr.open_zarr(out / "results.zarr", consolidated=False).load()
    assert stored["time"].values.tolist() == [0, 20, 40]
    np.testing.assert_allclose(stored["learning_time"].values, [[0, 1, 2], [0, 2, 4]])
    absent = {"final_filter", "limit_filter", "balancedness", "invariant_drift", "orbit", "certificate", "norm_bound"}
    assert absent & set(stored.data_vars) == set()
    assert {"final_w1", "final_b1", "final_w2", "final_b2", "squared_norms"} <= set(stored.data_vars)

    configuration = load(file, ["dynamics.optimizer.learning_rate=0.1"]).configuration
    network, _, risk = build_problem(configuration)
    start = initial_filters(configuration, network, range(3, 4))
    layers = [np.asarray(w)[0] for w in jax.tree.leaves(start)]
    gradient = jax.jit(jax.grad(risk))
    for _ in range(40):
        slopes = jax.tree.leaves(gradient(params_of(network, [jnp.asarray(w) for w in layers])))
        layers = [w - 0.1 * np.asarray(g) for w, g in zip(layers, slopes, strict=True)]
    last = stored.isel(learning_rate=1, seed=3)
    for name, w in zip(("final_w1", "final_b1", "final_w2", "final_b2"), layers, strict=True):
        np.testing.assert_allclose(last[name].values, w.ravel(), rtol=1e-10, atol=1e-12)

    sorted((out / "batches").iterdir())[-1].unlink()
    shutil.rmtree(out / "results.zarr")
    assert main(["resume", str(out), "--no-cache"]) == 0
    again = xr.open_zarr(out / "results.zarr", consolidated=False).load()
    for name in set(stored.data_vars) - {"wall_time"}:
        assert np.array_equal(stored[name].values, again[name].values, equal_nan=True), name


@pytest.mark.parametrize(
    ("network", "certify", "count"),
    [
        ({"input_shape": 4, "kernel_sizes": [2]}, None, 8),
        ({"kind": "dense", "widths": [3, 2], "activation": {"kind": "none"}}, None, 8),
        ({"kind": "dense", "widths": [3, 2], "bias": True}, None, None),
        ({"kind": "dense", "widths": [3, 2], "activation": {"kind": "tanh"}}, None, None),
        ({"kind": "dense", "widths": [3, 2], "activation": {"kind": "tanh"}}, 3, 3),
        ({"input_shape": 4, "kernel_sizes": [2]}, 0, 0),
    ],
)
def test_eight_limits_of_linear_networks_are_put_to_the_proof_and_of_others_as_many_as_are_asked_for(
    network, certify, count
):
    chosen = Configuration.model_validate({**fake_sections(), "network": network, "analysis": {"certify": certify}})
    assert chosen.certificates == count
    assert chosen.network.is_linear == architecture(chosen).is_linear
