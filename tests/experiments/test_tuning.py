"""Tuning by the derivative of the limit: faults of its section, its claims, and a real run, small."""

import re

import fakes
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lcnn_flow as lf
from experiments.cli import main
from experiments.computing.build import build_problem, initial_filters
from experiments.computing.tune import check_derivative
from experiments.errors import UserError
from experiments.figures.tuning import objective, tuned_weights
from experiments.modules.tuning import derivative_is_that_of_flows, tuning_helps
from experiments.planning.loading import load
from experiments.planning.plan import plan_of
from experiments.reporting.report import write_report
from experiments.results.opening import open_results
from experiments.running.course import Course
from experiments.running.progress import Lines


@pytest.fixture(autouse=True)
def promotion_of_optax():
    """optax takes powers of the number of steps, an integer; batches are computed in a thread of their own."""
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    yield
    jax.config.update("jax_numpy_dtype_promotion", "strict")


CONFIGURATION = """
seeds = 3
[experiment]
module = "tuning"
[network]
input_shape = 6
kernel_sizes = [2, 2]
[data]
kind = "synthetic"
samples = 12
inputs = { kind = "white" }
targets = { kind = "filter", values = [1.0, 0.5, -0.5] }
noise = 0.1
outliers = { fraction = 0.1, scale = 5.0 }
seed = 1
[loss]
kind = "pseudo_huber"
delta = 1.0
[initializer]
kind = "gaussian"
std = 0.5
[tune]
iterations = 3
parameters = ["loss.delta", "weights"]
"""


@pytest.mark.parametrize(
    ("override", "path", "shown"),
    [
        ("experiment.module=identification", "tune", "has no use for this section"),
        ("tune.iterations=0", "tune.iterations", "greater than or equal to 1"),
        ("tune.learning_rate=0.0", "tune.learning_rate", "greater than 0"),
        ("tune.parameters=[]", "tune.parameters", "name at least one"),
        ("tune.parameters=['loss.p']", "tune.parameters[0]", "allowed: 'weights', 'loss.delta'"),
        ("tune.parameters=['weights', 'weights']", "tune.parameters", "occurs twice"),
        ("tune.parameters=['loss.a']", "tune.parameters", '"pseudo_huber" these can be tuned: "weights", "loss.delta"'),
        ("loss={kind='square'}", "tune.parameters", '"square" these can be tuned: "weights"'),
        ("tune.steps=3", "tune.steps", "allowed here: iterations, learning_rate, parameters"),
        ("data.targets={kind='unrelated'}", "data.targets.kind", "needs a true filter"),
        ("data={kind='file', path='mine.npz'}", "data.kind", "needs a true filter"),
        ("network.channels=[1, 2, 1]", "network.channels", "no derivative"),
        ("flow.polish=false", "flow.polish", "only polished limits"),
    ],
)
def test_what_cannot_be_tuned_is_refused_with_its_path_and_reason(tmp_path, override, path, shown):
    found = fakes.faults(tmp_path, CONFIGURATION, overrides=[override])
    assert set(found) == {path}
    assert shown in found[path]


def test_the_module_needs_its_section_and_the_loss_of_every_cell_its_numbers(tmp_path):
    assert fakes.faults(tmp_path, CONFIGURATION) == {}
    assert "needs this section" in fakes.faults(tmp_path, CONFIGURATION.split("[tune]")[0])["tune"]
    mixed = "loss=[{kind='pseudo_huber', delta=1.0}, {kind='log_cosh', a=1.0}]"
    assert "(first in the cell log_cosh(1))" in fakes.faults(tmp_path, CONFIGURATION, axes=[mixed])["tune.parameters"]


def made_up(folder, **changes):
    """Results of two made-up cells in which tuning halves the error of the limit: all variables of the module."""
    sweep = fakes.sweep_of(
        folder, CONFIGURATION + '[sweep]\ntune.parameters = [["weights"], ["loss.delta", "weights"]]'
    )
    cells = {}
    for number in range(2):
        stored = fakes.cell_arrays(np.array([0.0, 1.0]), seeds=3, layers=2, taps=3)
        stored = {name: array for name, array in stored.items() if array.ndim < 2 or name == "hessian_eigenvalues"}
        truth = np.array([1.0, 0.5, -0.5])
        away = np.array([[0.1], [0.2], [0.3]]) * truth
        stored |= {"true_filter": truth, "limit_filter": truth + away / 2, "final_filter": truth + away / 2}
        stored |= {"untuned_filter": truth + away, "untuned_sound": np.ones(3), "sound": np.ones(3)}
        stored |= {"objective": np.geomspace(0.4, 0.1, 4), "sound_flows": np.full(4, 3)}
        stored |= {"weight": np.linspace(1.5, 0.5, 12), "gross_error": np.geomspace(0.01, 1, 12)}
        stored |= {"derivative": np.asarray(0.5), "finite_difference": np.asarray(0.5 * (1 + 1e-8))}
        if number == 1:
            stored["tuned_delta"] = np.geomspace(1, 0.5, 4)
        cells[number] = stored | {name: change(stored[name].copy()) for name, change in changes.items()}
    return fakes.assemble(sweep, cells, fakes.MANIFEST)


def test_claims_quote_the_error_before_and_after_and_the_difference_of_derivatives(tmp_path):
    dataset = made_up(tmp_path)
    helps, derivative = tuning_helps(dataset), derivative_is_that_of_flows(dataset)
    assert (helps.conclusion, derivative.conclusion) == ("agrees", "agrees")
    before = (0.1**2 + 0.2**2 + 0.3**2) / 3
    assert f"{before:.2g} before, {before / 4:.2g} after, over 3 of 3 seeds" in helps.details[0][1]
    assert "at most 2.5e-01 of the error is left" in helps.observed
    assert "at most 1.0e-08" in derivative.observed


def evaluation(jump=0.0, lost=False):
    """F(z) = mean over two seeds of s exp(z_1 + 2 z_2), s = 1 and 3, as `check_derivative` evaluates it."""

    def evaluate(theta):
        z = np.asarray(theta["weights"])
        size = np.exp(z[0] + 2 * z[1])
        beyond = z[0] > 0
        errors = np.array([size, 3 * size + jump * beyond])
        slope = {"weights": 2 * size * np.array([1.0, 2.0])}
        return (errors.mean(), (errors, np.array([True, not (lost and beyond)]))), slope

    return evaluate


def test_the_derivative_is_compared_only_where_no_flow_changes_its_limit_nearby():
    start = {"weights": jnp.zeros(2)}

    def check(evaluate):
        stored = check_derivative(evaluate, start, ["weights"], seed=0)
        return float(stored["derivative"]), float(stored["finite_difference"])

    direction = np.random.default_rng(0).normal(size=2)
    expected = 2 * direction @ [1, 2] / np.linalg.norm(direction)
    assert check(evaluation()) == pytest.approx((expected, expected), rel=1e-10)
    assert np.isnan(check(evaluation(jump=0.1))[1])
    assert np.isnan(check(evaluation(lost=True))[1])


def test_only_seeds_with_a_derivative_before_and_after_are_compared(tmp_path):
    def one_lost(sound):
        sound[2] = 0
        return sound

    def broken(v):
        v[2] = np.nan
        return v

    dataset = made_up(tmp_path, untuned_sound=one_lost, untuned_filter=broken)
    assert f"{(0.1**2 + 0.2**2) / 2:.2g} before" in tuning_helps(dataset).details[0][1]
    assert "over 2 of 3 seeds" in tuning_helps(dataset).details[0][1]
    assert tuning_helps(made_up(tmp_path, sound=np.zeros_like)).conclusion == "undecided"


def test_claims_disagree_where_the_error_grew_or_the_derivatives_differ(tmp_path):
    assert tuning_helps(made_up(tmp_path, limit_filter=lambda v: 2 * v)).conclusion == "disagrees"
    wrong = made_up(tmp_path, derivative=lambda d: d * 1.001)
    assert derivative_is_that_of_flows(wrong).conclusion == "disagrees"
    unknown = made_up(tmp_path, finite_difference=lambda d: d * np.nan)
    assert derivative_is_that_of_flows(unknown).conclusion == "undecided"


@pytest.mark.usefixtures("quick_figures")
def test_a_report_shows_what_was_tuned_and_leaves_out_what_was_not(tmp_path):
    fakes.write_results(tmp_path, made_up(tmp_path))
    html = write_report(tmp_path)[0].read_text()
    assert all(f'<figure id="{name}">' in html for name in ("objective", "filters", "tuned_weights"))
    drawing = objective(open_results(tmp_path))
    assert [len(panel.lines) for panel in drawing.figure.axes] == [2, 1]  # delta was tuned in one cell
    assert tuned_weights(made_up(tmp_path, weight=np.ones_like)) is None
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    fakes.write_results(damaged, made_up(tmp_path).drop_vars("gross_error"))
    with pytest.raises(UserError, match="look at gross_error"):
        open_results(damaged)


def test_progress_says_how_far_the_tuning_is_and_guesses_no_end(tmp_path, capsys):
    now = 0.0
    plan = plan_of(fakes.sweep_of(tmp_path, CONFIGURATION))
    (batch,) = plan.batches
    lines = Lines(Course(plan.batches, plan.programs, plan.label, clock=lambda: now))
    for now, done, note in ((11.0, 0, "tuning 1/3"), (12.0, 0, "tuning 2/3"), (22.0, 3, "")):  # noqa: B007
        lines(batch, done, note)
    assert capsys.readouterr().err.splitlines() == [
        "0/3 flows  single cell: tuning 1/3  11 s",
        "3/3 flows  single cell  22 s",
    ]


def mean_squared_error(configuration, delta):
    """|v - v*|^2 / |v*|^2 of the limits of full flows with equal weights, mean over the seeds."""
    arch, data, _ = build_problem(configuration)
    risk = lf.EmpiricalRisk(arch, lf.losses.PseudoHuber(np.asarray(delta)), data.replace(weights=np.ones(12)))
    flows = lf.gradient_flow_ensemble(risk, initial_filters(configuration, arch, range(configuration.seeds)))
    assert flows.sound.all()
    limits = np.stack([np.convolve(a, b) for a, b in zip(*flows.limit, strict=True)])
    truth = np.array([1.0, 0.5, -0.5])
    return np.mean(np.sum((limits - truth) ** 2, axis=1)) / np.sum(truth**2)


@pytest.mark.slow
def test_a_small_run_lowers_the_error_by_the_true_derivative_and_runs_again_to_the_same_bits(tmp_path, request):
    file = tmp_path / "tiny.toml"
    file.write_text(CONFIGURATION)
    assert main(["run", str(file), "--out", str(tmp_path / "first"), "--no-cache"]) == 0
    first = open_results(tmp_path / "first")
    assert first["objective"].sizes == {"iteration": 4}
    assert float(first["weight"].mean()) == pytest.approx(1, rel=1e-12)
    assert np.ptp(first["weight"].values) > 0.1
    assert float(first["derivative"]) == pytest.approx(float(first["finite_difference"]), rel=1e-7)

    configuration = load(file).configuration
    assert float(first["objective"][0]) == pytest.approx(mean_squared_error(configuration, 1.0), rel=1e-9)
    at_the_end = float((((first["limit_filter"] - first["true_filter"]) ** 2).sum("tap") / 1.5).mean())
    assert float(first["objective"][-1]) == pytest.approx(at_the_end, rel=1e-9)
    assert at_the_end < 0.9 * float(first["objective"][0])
    slope = mean_squared_error(configuration, 1.01) - mean_squared_error(configuration, 0.99)
    first_step = np.exp(-0.1 * np.sign(slope))  # of Adam, on log(delta): the learning rate against the derivative
    assert first["tuned_delta"].values[:2] == pytest.approx([1, first_step], rel=1e-6)

    html = (tmp_path / "first" / "report.html").read_text()
    for name in ("objective", "filters", "tuned_weights"):
        assert f'<figure id="{name}">' in html
        assert (tmp_path / "first" / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for claim in ("Tuning brings the limit nearer", "The derivative of the limit by the implicit function theorem"):
        assert re.search(f"<td>{claim}.*?✓ agrees", html, flags=re.DOTALL)
    assert "✗ disagrees" not in html

    request.getfixturevalue("quick_figures")
    again = tmp_path / "again"
    assert main(["run", str(tmp_path / "first" / "config.toml"), "--out", str(again), "--no-cache"]) == 0
    second = open_results(again)
    for name in set(first.data_vars) - {"wall_time"}:
        assert np.array_equal(first[name].values, second[name].values, equal_nan=True), name
