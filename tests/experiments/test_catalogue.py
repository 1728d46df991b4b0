"""Modules of the catalogue: their closed forms, and claims that disagree with results against the theory."""

import fakes
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize

import lcnn_flow as lf
from experiments.closed_forms import minima_of_two_pairs
from experiments.computing.deblurring import blurred_photograph, deblurring_data, shown_part
from experiments.errors import UserError
from experiments.figures import house_style, relative_error
from experiments.figures.pictures import filtered
from experiments.figures.root_patterns import projective_roots, real_roots
from experiments.modules import (
    bounds,
    imaging,
    imbalance,
    rates,
    repeated_filters,
    robustness,
    saddle_to_saddle,
    spurious_minima,
    strides,
)
from experiments.results.variables import NOT_COMPUTED
from experiments.schema import DeblurringData
from experiments.sweeps.sweep import sweep_of_toml
from lcnn_flow.critical import Kind

Q = np.array(
    [
        [27.71023675, 13.47872437, -9.08530081],
        [13.47872437, 7.86128237, -7.31690957],
        [-9.08530081, -7.31690957, 18.21803879],
    ]
)
LEAST_SQUARES = np.array([0.41970709, -1.87370725, -0.8317362])
ISOTROPIC = '{ kind = "anisotropic", condition = 1.0 }'


def synthetic(targets):
    """The section [data] with isotropic inputs."""
    return f'data = {{ kind = "synthetic", samples = 8, inputs = {ISOTROPIC}, targets = {targets} }}'


def configuration(module, sweep, times=False, **changes):
    """A configuration as text; `changes` replace whole lines of it."""
    lines = {
        "seeds": "seeds = 4",
        "experiment": f'experiment = {{ module = "{module}" }}',
        "network": "network = { input_shape = 3, kernel_sizes = [2, 2] }",
        "data": synthetic('{ kind = "planted" }'),
        "loss": 'loss = { kind = "square" }',
        "initializer": 'initializer = { kind = "balanced", std = 0.5 }',
        "flow": "flow = { times = { start = 1e-3, stop = 1e4, count = 60 } }" if times else "",
    }
    return "\n".join([*(lines | changes).values(), "[sweep]", sweep])


def made_up(folder, text, change, taps=3):
    """Results of a configuration whose cells hold what `change(number, cell)` puts over those of `fakes`."""
    sweep = fakes.sweep_of(folder, text)
    cells = {}
    for cell in sweep.cells:
        layers = len(cell.configuration.network.kernel_sizes)
        stored = fakes.cell_arrays(fakes.TIMES, seeds=4, layers=layers, taps=taps, seed=cell.number)
        for layer, size in enumerate(cell.configuration.network.kernel_sizes, start=1):
            stored[f"final_w{layer}"] = stored[f"limit_w{layer}"] = np.ones((4, int(np.prod(size))))
        stored |= {"optimality_gap": np.zeros(4), "kind": np.full(4, int(Kind.MINIMUM), np.int32)}
        if cell.configuration.flow.times is None:
            stored = {name: array for name, array in stored.items() if np.ndim(array) < 2 or array.shape[1] != 61}
        cells[cell.number] = stored | change(cell.number, cell.configuration)
    return fakes.assemble(sweep, cells, fakes.MANIFEST)


def conclusion(check, dataset):
    """What a check says, which must bear on the results."""
    claim = check(dataset)
    assert claim is not None
    return claim.conclusion


def test_all_minima_of_two_pairs_are_those_of_the_reference_problem_and_of_a_search():
    filters, risks = minima_of_two_pairs(Q @ LEAST_SQUARES, Q)
    np.testing.assert_allclose(filters[0], LEAST_SQUARES, rtol=1e-10)
    assert abs(risks[1] - risks[0] - 2.600062) < 1e-6
    w = np.array([0.71268049, -0.39135564])
    np.testing.assert_allclose(filters[1], -np.convolve(w, w), rtol=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(3):
        root = rng.normal(size=(3, 3))
        curvature, pull = root @ root.T + 0.02 * np.eye(3), rng.normal(size=3)
        known = minima_of_two_pairs(pull, curvature)[1]
        for start in rng.normal(size=(12, 4)):
            found = minimize(_risk, start, (pull, curvature), tol=1e-12)
            assert np.abs(known - found.fun).min() < 1e-6 * (1 + abs(found.fun))


def _risk(w, pull, curvature):
    v = np.convolve(w[:2], w[2:])
    return v @ curvature @ v / 2 - pull @ v


def test_isotropic_data_with_an_attainable_target_have_one_minimum():
    rng = np.random.default_rng(1)
    for _ in range(50):
        target = np.convolve(rng.normal(size=2), rng.normal(size=2))
        filters, _ = minima_of_two_pairs(target, np.eye(3))
        assert len(filters) == 1
        np.testing.assert_allclose(filters[0], target, atol=1e-12)


@pytest.fixture
def two_pairs(tmp_path):
    """Results of the reference problem at a small and at a large start, and of an isotropic one."""
    text = configuration("spurious_minima", "initializer.std = [1e-3, 0.5]\ndata.inputs.condition = [1.0, 10.0]")
    minima = minima_of_two_pairs(Q @ LEAST_SQUARES, Q)[0]

    def change(number, cell):
        isotropic = cell.data.inputs.condition == 1
        curvature = np.eye(3) if isotropic else Q
        ends = [0, 0, 0, 0] if isotropic or cell.initializer.std < 0.1 else [0, 1, 0, 0]
        return {
            "curvature": curvature,
            "pull": curvature @ LEAST_SQUARES,
            "limit_filter": minima[ends],
            "optimality_gap": np.array(ends) * 2.6,
        }

    return made_up(tmp_path, text, change)


def test_spurious_minima_are_counted_and_compared_with_the_closed_form(two_pairs):
    for check in spurious_minima.SPURIOUS_MINIMA.claims[:3]:
        assert conclusion(check, two_pairs) == "agrees"
    assert spurious_minima.spurious_count(two_pairs.isel(std=1, condition=1)) == (1, 4)
    assert "1 of 16 starts" in (answer := spurious_minima.SPURIOUS_MINIMA.answer(two_pairs))
    assert "by condition 0% at 1, 12% at 10" in answer
    with house_style():
        drawing = spurious_minima.SPURIOUS_MINIMA.figures[0](two_pairs)
    assert {"25%\n5–70", "0%\n0–49"} == {text.get_text() for text in drawing.figure.axes[0].texts}


def test_a_minimum_that_the_closed_form_does_not_have_disagrees(two_pairs):
    shifted = two_pairs.assign(limit_filter=two_pairs["limit_filter"] * 1.001)
    assert conclusion(spurious_minima.minima_are_those_of_the_closed_form, shifted) == "disagrees"


def test_a_spurious_end_where_there_is_one_minimum_disagrees(two_pairs):
    two_pairs["optimality_gap"][0, 0, 2] = 0.5
    assert conclusion(spurious_minima.isotropic_data_have_none, two_pairs) == "disagrees"


def test_small_starts_that_end_apart_disagree(two_pairs):
    two_pairs["limit_filter"][0, 1, 2] = [1.0, 2.0, 3.0]
    assert conclusion(spurious_minima.small_starts_end_together, two_pairs) == "disagrees"


@pytest.fixture
def by_stride(tmp_path):
    """Limits at stride 1, one of them optimal, and at stride 2."""
    sweep = "[[sweep.zip]]\nnetwork.strides = [[1, 1], [2, 1]]\nnetwork.input_shape = [3, 4]"

    def change(number, _):
        common = number == 0
        return {
            "jacobian_rank": np.array([3.0, 2.0, 2.0, 2.0]) if common else np.full(4, 3.0),
            "common_root_gap": np.array([0.4, 0.0, 1e-12, 0.0]) if common else np.full(4, 0.2),
            "optimality_gap": np.array([0.0, 0.1, 0.1, 0.1]),
        }

    return made_up(tmp_path, configuration("strides", sweep), change)


def test_strides_keep_limits_from_common_roots_as_the_theory_says(by_stride):
    assert [conclusion(check, by_stride) for check in strides.STRIDES.claims[:4]] == ["agrees"] * 3 + ["open"]
    assert "all inner strides 1: 3 of 4" in strides.STRIDES.answer(by_stride)


@pytest.mark.parametrize(
    ("check", "name", "value", "cell"),
    [
        (strides.rank_is_maximal_beyond_stride_one, "jacobian_rank", 2, 1),
        (strides.limits_at_stride_one_are_optimal_or_share_a_root, "common_root_gap", 0.3, 0),
        (strides.rank_tells_common_roots, "jacobian_rank", 3, 0),
    ],
)
def test_a_limit_against_the_theory_of_strides_disagrees(by_stride, check, name, value, cell):
    by_stride[name][cell, 1] = value
    assert conclusion(check, by_stride) == "disagrees"


def _targets(values, loss='{ kind = "square" }', sizes="[2, 2]"):
    data = synthetic(f'{{ kind = "filter", values = {values} }}')
    network = f"network = {{ input_shape = 6, kernel_sizes = {sizes} }}"
    return configuration("rates", "", True, data=data, loss=f"loss = {loss}", network=network)


@pytest.mark.parametrize(
    ("text", "exponent"),  # those of the closed forms 1 - 1/(p m)
    [
        (_targets("[1.0, 2.0, 1.0]"), 3 / 4),
        (_targets("[1.0, 2.0, 1.0]", '{ kind = "lp", p = 4.0 }'), 7 / 8),
        (_targets("[1.0, 3.0, 1.0]"), 1 / 2),
        (_targets("[1.0, 3.0, 1.0]", '{ kind = "lp", p = 1.5 }'), 1 / 3),
        (_targets("[1.0, 0.0, 1.0]", '{ kind = "lp", p = 4.0 }'), 1 / 2),
        (_targets("[0.0, 0.0, 0.0]"), 3 / 4),  # balanced: both filters vanish
        (_targets("[0.0, 0.0, 0.0]").replace('"balanced"', '"gaussian"'), 1 / 2),  # one of them does
        (_targets("[0.0, 0.0, 0.0, 0.0]", sizes="[2, 2, 2]"), 5 / 6),
    ],
)
def test_rates_are_compared_with_the_exponent_of_the_closed_form(tmp_path, text, exponent):
    sweep = fakes.sweep_of(tmp_path, text)
    assert rates.expected_exponent(sweep.configuration) == pytest.approx(exponent)
    taps = len(sweep.configuration.data.targets.values)
    right = made_up(tmp_path, text, lambda *_: {"lojasiewicz_exponent": np.full(4, exponent + 0.002)}, taps)
    assert conclusion(rates.exponents_are_those_of_the_theory, right) == "agrees"
    with house_style():
        (panel,) = rates.RATES.figures[0](right).figure.axes
    assert panel.lines[1].get_xdata()[0] == pytest.approx(exponent)  # the bar of the theory, behind the dots
    wrong = made_up(tmp_path, text, lambda *_: {"lojasiewicz_exponent": np.full(4, exponent + 0.05)}, taps)
    assert conclusion(rates.exponents_are_those_of_the_theory, wrong) == "disagrees"
    unknown = made_up(tmp_path, text, lambda *_: {"lojasiewicz_exponent": np.array([exponent, *[np.nan] * 3])}, taps)
    assert conclusion(rates.exponents_are_those_of_the_theory, unknown) == "undecided"


@pytest.mark.parametrize(
    ("taps", "count"),
    [
        (np.poly([-2, -0.5, 0.5, 2]), 4),
        (np.poly([1j, -1j, 3]), 1),
        (np.poly([2, 2, 2, 2]), 4),
        ([1.0, 3.0, 0.0], 2),  # a root at infinity is real
        ([1.0, 0.0, 1.0, np.nan], 0),
    ],
)
def test_real_roots_are_counted_with_multiplicity_and_infinity(taps, count):
    assert real_roots(np.asarray(taps, float)) == count
    finite, infinite = projective_roots(np.asarray(taps, float))
    assert len(finite) + infinite == np.isfinite(taps).sum() - 1


@pytest.fixture
def even(tmp_path):
    """A target with two real roots and one without, of two filters of two taps."""
    sweep = "data.targets.values = [[-1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]"
    data = synthetic('{ kind = "filter", values = [1.0, 1.0, 1.0] }')

    def change(number, cell):
        reached = number == 0
        limits = [[-1.0, 0.0, 1.0]] * 4 if reached else [[1.0, 2.0, 1.0]] * 4
        gap = 0.0 if reached else 0.7
        return {
            "true_filter": np.array(cell.data.targets.values),
            "limit_filter": np.array(limits),
            "common_root_gap": np.full(4, 0.5 if reached else 0.0),
            "optimality_gap": np.full(4, gap),
        }

    return made_up(tmp_path, configuration("repeated_filters", sweep, data=data), change)


def test_targets_without_real_roots_give_shared_ones(even):
    module = repeated_filters.REPEATED_FILTERS
    assert [conclusion(check, even) for check in module.claims[:3]] == ["agrees"] * 3
    assert "4 of 4 where the target is out of reach" in module.answer(even)


@pytest.mark.parametrize(
    ("check", "name", "value", "cell"),
    [
        (repeated_filters.targets_out_of_reach_give_repeated_roots, "common_root_gap", 0.1, 1),
        (repeated_filters.targets_out_of_reach_give_repeated_roots, "optimality_gap", 0.0, 1),
        (repeated_filters.targets_in_reach_are_found_or_a_root_is_shared, "optimality_gap", 0.3, 0),
        (repeated_filters.even_filters_have_real_roots, "limit_filter", [1.0, 0.5, 1.0], 1),
    ],
)
def test_a_limit_against_the_theory_of_roots_disagrees(even, check, name, value, cell):
    even[name][cell, 2] = value
    assert conclusion(check, even) == "disagrees"


@pytest.fixture
def by_ratio(tmp_path):
    """Curvatures r and 1/r at the same limit."""
    text = configuration(
        "imbalance",
        "initializer.ratio = [1.0, 100.0, 1000.0]",
        initializer='initializer = { kind = "imbalanced", std = 0.5, ratio = 1.0 }',
    )

    def change(_, cell):
        r = cell.initializer.ratio
        return {
            "limit_w1": np.full((4, 2), np.sqrt(r)),
            "limit_w2": np.full((4, 2), 1 / np.sqrt(r)),
            "limit_filter": np.ones((4, 3)),
            "hessian_eigenvalues": np.tile([1 / r, 2.0, 3 * r], (4, 1)),
            "final_time": np.full(4, 5 * r),
        }

    return made_up(tmp_path, text, change)


def test_curvatures_of_another_power_of_the_ratio_and_indices_that_change_with_it_disagree(by_ratio):
    module = imbalance.IMBALANCE
    assert [conclusion(check, by_ratio) for check in module.claims[:3]] == ["agrees", "agrees", "open"]
    assert "power 1.00 of the ratio" in imbalance.time_grows_with_the_ratio(by_ratio).observed
    by_ratio["hessian_index"][1, 0] = 1
    assert conclusion(imbalance.index_does_not_depend_on_the_ratio, by_ratio) == "disagrees"
    by_ratio["hessian_eigenvalues"][2, :, 0] = 1 / 300
    assert conclusion(imbalance.curvatures_scale_with_the_ratio, by_ratio) == "disagrees"


def test_bounds_are_finite_exactly_where_the_patches_have_full_rank(tmp_path):
    text = configuration("bounds", "initializer.std = [0.1, 1.0]", times=True)
    dataset = made_up(tmp_path, text, lambda *_: {})
    assert conclusion(bounds.bound_is_finite_where_patches_have_full_rank, dataset) == "agrees"
    assert "16 of 16 largest filter norms stay below" in bounds.BOUNDS.answer(dataset)
    dataset["norm_bound"][0, 1] = np.inf
    assert conclusion(bounds.bound_is_finite_where_patches_have_full_rank, dataset) == "disagrees"
    dataset["full_rank_patches"][0] = 0
    dataset["norm_bound"][0] = np.inf
    assert conclusion(bounds.bound_is_finite_where_patches_have_full_rank, dataset) == "agrees"


def plateaus(folder, sizes, plateau):
    """Flows that leave a plateau at the time `plateau(std)`: two layers exponentially at rate 2, more by a power."""
    text = configuration(
        "saddle_to_saddle",
        "initializer.std = [1e-2, 1e-3, 1e-4]",
        times=True,
        network=f"network = {{ input_shape = 6, kernel_sizes = {sizes} }}",
    )

    def change(_, cell):
        end = plateau(cell.initializer.std)
        grown = np.exp(np.minimum(2 * (fakes.TIMES - end), 9)) if sizes == "[2, 2]" else (fakes.TIMES / end) ** 4
        lost = 0.9 * np.minimum(1.0, 0.1 * grown)
        pull = np.array([0.0, 2.0, 0.0])  # B = ((0, 2), (2, 0)): both singular values are 2
        return {"risk": np.tile(1 - lost, (4, 1)), "limit_risk": np.full(4, 0.1), "pull": pull}

    return made_up(folder, text, change)


def test_plateaus_last_for_the_logarithm_of_the_scale_or_a_power_of_it(tmp_path):
    check = saddle_to_saddle.plateaus_last_as_long_as_the_theory_says
    two = plateaus(tmp_path, "[2, 2]", lambda std: 3 - np.log(std) / 2)
    first = saddle_to_saddle.plateau_times(two.isel(std=0))
    np.testing.assert_allclose(first, 3 - np.log(1e-2) / 2, rtol=1e-3)
    assert conclusion(check, two) == "agrees"
    assert conclusion(check, plateaus(tmp_path, "[2, 2]", lambda std: 3 - np.log(std) / 3)) == "disagrees"
    assert conclusion(check, plateaus(tmp_path, "[2, 2, 2]", lambda std: 0.1 / std)) == "agrees"
    assert conclusion(check, plateaus(tmp_path, "[2, 2, 2]", lambda std: 1 / np.sqrt(std))) == "disagrees"


def test_a_robust_loss_that_errs_more_than_the_square_one_disagrees(tmp_path):
    outliers = "outliers = { fraction = 0.1, scale = 3.0 }, noise = 0.02"
    text = configuration(
        "robustness",
        'loss = [{ kind = "square" }, { kind = "log_cosh", a = 10.0 }]\ndata.outliers.fraction = [0.0, 0.1, 0.4]',
        data=synthetic(f'{{ kind = "planted" }}, {outliers}'),
    )
    truth = np.array([1.0, 0.0, 0.0])

    def change(_, cell):
        error = 0.01 if cell.loss.kind == "log_cosh" else 0.1 * np.sqrt(cell.data.outliers.fraction)
        return {"true_filter": truth, "limit_filter": np.tile(truth + np.array([0, error, 0]), (4, 1))}

    dataset = made_up(tmp_path, text, change)
    module = robustness.ROBUSTNESS
    assert [conclusion(check, dataset) for check in module.claims[:3]] == ["agrees", "agrees", "open"]
    with house_style():
        assert module.figures[0](dataset) is not None
    dataset["limit_filter"][1, 1] = [1.0, 0.5, 0.0]
    assert conclusion(robustness.bounded_influence_withstands_outliers, dataset) == "disagrees"
    dataset["limit_filter"][0, 2] = [1.0, 0.9, 0.0]
    assert conclusion(robustness.square_loss_errs_like_the_root_of_the_fraction, dataset) == "disagrees"


def test_errors_of_filters_are_known_in_cells_with_fewer_taps_than_others(even):
    truth, learned = even["true_filter"].copy(), even["limit_filter"].copy()
    truth[0, 2], learned[0, :, 2] = np.nan, np.nan  # two taps instead of three
    learned[0, 1, 0], learned[0, 2, 0] = -1.5, np.nan
    truth[1] = np.nan
    final = even["final_filter"].copy(data=np.full_like(even["final_filter"], np.nan))
    error = relative_error(even.assign(true_filter=truth, limit_filter=learned, final_filter=final))
    np.testing.assert_allclose(error[0], [0, 0.5, np.nan, 0])
    assert np.isnan(error[1]).all()


def test_cells_that_were_not_computed_are_left_out(by_stride):
    by_stride["verdict"][1] = NOT_COMPUTED
    assert strides.rank_is_maximal_beyond_stride_one(by_stride) is None
    assert len(sweep_of_toml(by_stride.attrs["configuration"]).cells) == 2


def test_pictures_are_filtered_as_the_network_does_and_a_filter_that_blurs_more_disagrees(tmp_path):
    rng = np.random.default_rng(0)
    sharp, taps = rng.normal(size=(12, 10)), rng.normal(size=(3, 3))
    blurred = np.pad(sharp, 1) + 0.3
    expected = sum(taps[i, j] * blurred[i : i + 12, j : j + 10] for i in range(3) for j in range(3))
    np.testing.assert_allclose(filtered(blurred, taps.ravel(), (3, 3)), expected)

    text = configuration(
        "imaging",
        "",
        network="network = { input_shape = [6, 6], kernel_sizes = [[3, 3], [1, 1]] }",
        data='data = { kind = "deblurring", samples = 4, blur = 1.0 }',
    ).removesuffix("[sweep]\n")
    identity = np.array([0, 0, 0, 0, 1.0, 0, 0, 0, 0])

    def change(*_):
        pictures = {"sharp": sharp, "blurred": blurred, "least_squares": identity}
        layers = {name: np.ones((4, size)) for name, size in (("limit_w1", 9), ("limit_w2", 1))}
        return pictures | layers | {"limit_filter": np.tile(0.9 * identity, (4, 1))}

    dataset = made_up(tmp_path, text, change, taps=9)
    with house_style():
        assert all(draw(dataset) is not None for draw in imaging.IMAGING.figures)
    assert conclusion(imaging.least_squares_is_a_lower_bound, dataset) == "agrees"
    assert conclusion(imaging.filter_sharpens_what_it_was_not_shown, dataset) == "agrees"
    dataset["limit_filter"][:] = 3 * identity
    assert conclusion(imaging.filter_sharpens_what_it_was_not_shown, dataset) == "disagrees"
    dataset["optimality_gap"][0] = -0.1
    assert conclusion(imaging.least_squares_is_a_lower_bound, dataset) == "disagrees"


def test_deblurring_learns_from_the_lower_half_and_undoes_its_own_blur():
    arch = lf.Architecture((12, 12), ((3, 3), (5, 5)))
    data = DeblurringData(kind="deblurring", samples=6, blur=1e-3)  # nothing is blurred: targets are the middles
    made = deblurring_data(data, arch)
    np.testing.assert_allclose(np.asarray(made.inputs)[:, 3:9, 3:9], np.asarray(made.targets), atol=1e-12)
    part = shown_part(data, arch)
    np.testing.assert_allclose(part["blurred"][3:-3, 3:-3], part["sharp"], atol=1e-12)
    sharp, blurred = blurred_photograph(DeblurringData(kind="deblurring", samples=6, blur=2.0))
    np.testing.assert_allclose(blurred, gaussian_filter(sharp, 2.0, mode="mirror", truncate=4.0), atol=1e-12)
    with pytest.raises(UserError, match="end-to-end filter of odd size"):
        deblurring_data(data, lf.Architecture((12, 12), ((2, 2), (2, 3))))
