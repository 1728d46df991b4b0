"""Certificates: points of computer algebra pass, what is no regular point is refused, and enclosures enclose."""

import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb, ctx
from problems import as_params, filter_problem, random_data, random_params, random_problem, truth, truth_problem
from scipy import optimize

import lcnn_flow as lf
from lcnn_flow.critical.ball_losses import slope_and_bend
from lcnn_flow.critical.ball_risk import BallRisk
from lcnn_flow.critical.balls import above, below, exact_matrix, product_norm, signature, spectral_norm
from lcnn_flow.critical.cubic_form import cubic_norm
from lcnn_flow.critical.plain_numbers import plain_risk
from lcnn_flow.network.parameters import ravel, unravel

CASES = [case for case in truth("critical_points") if case["critical_points"]]


def problem(name: str, data: float = 1.0) -> lf.EmpiricalRisk:
    """A reference problem, with inputs and targets scaled."""
    risk = truth_problem(name)
    scaled = lf.Dataset(data * risk.data.inputs, data * risk.data.targets)
    return lf.EmpiricalRisk(risk.arch, risk.loss, scaled)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_every_regular_point_of_the_computer_algebra_is_certified_with_its_index(case):
    risk = truth_problem(case["name"])
    for point in case["critical_points"]:
        found = lf.certify(risk, as_params(point["filters"]))
        assert (found.status, found.reason) == ("certified", "")
        assert found.hessian_index == point["hessian_index"]
        assert found.existence_radius < 1e-14
        assert found.uniqueness_radius > 0.1
        assert (found.trapping_radius > 0.1) == (point["kind"] == "min")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_true_point_lies_within_the_existence_radius(case):
    # reference filters are balanced: h = 0 picks them, and nothing else, out of their orbit
    rng, risk = np.random.default_rng(1), truth_problem(case["name"])
    for point in case["critical_points"][:4]:
        exact = np.concatenate([np.asarray(w) for w in point["filters"]])
        moved = exact + 1e-7 * rng.normal(size=exact.size)
        found = lf.certify(risk, unravel(risk.arch, jnp.asarray(moved)), balancedness=[0.0] * (risk.arch.depth - 1))
        assert found.status == "certified"
        distance = np.linalg.norm(moved - exact)
        assert distance - 1e-15 <= found.existence_radius <= 1.01 * distance + 1e-14


@pytest.mark.parametrize("data", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("between", [1e-6, 1.0, 1e6])
def test_units_change_no_certificate(data, between):
    case = next(case for case in CASES if case["name"] == "k22_s1_gen_d2")
    risk = problem(case["name"], data)
    for point in case["critical_points"]:
        first, second = as_params(point["filters"])
        found = lf.certify(risk, (between * first, second / between))
        assert (found.status, found.hessian_index) == ("certified", point["hessian_index"])


@pytest.mark.parametrize("between", [2.0**100, 2.0**-300, 2.0**500])
@pytest.mark.parametrize("data", [2.0**-400, 1.0, 2.0**300])
def test_extreme_units_overflow_nowhere_and_claim_nothing_that_is_not_so(between, data):
    # both filters are known exactly, so the point is at distance 0; a radius of uniqueness must reach beyond it
    target = np.convolve([1, 0.5], [0.5, -1])
    risk = lf.EmpiricalRisk(
        lf.Architecture(3, (2, 2)), lf.losses.Square(), lf.Dataset(data * np.eye(3), data * target[:, None])
    )
    found = lf.certify(risk, as_params([[between, 0.5 * between], [0.5 / between, -1 / between]]))
    assert (found.status, found.hessian_index) == ("certified", 0)
    assert found.uniqueness_radius == 0 or found.uniqueness_radius > found.existence_radius


def test_a_certificate_for_20_parameters_and_100_rows_takes_less_than_ten_million_operations_of_python():
    arch = lf.Architecture(26, (5, 5, 5, 5))
    planted, inputs = random_params(1, arch), np.random.default_rng(0).normal(size=(10, 26))
    data = lf.Dataset(inputs, lf.apply(arch, planted, inputs))  # interpolated by the planted filters
    risk = lf.EmpiricalRisk(arch, lf.losses.PseudoHuber(0.1), data)
    lf.certify(risk, planted)
    started = time.process_time()
    found = lf.certify(risk, planted)
    certified = time.process_time()
    sum(k * k % 7 for k in range(10**7))  # a second, on an idle machine
    assert (found.status, found.hessian_index) == ("certified", 0)
    assert certified - started < time.process_time() - certified


LOSSES = [
    lf.losses.Square(),
    lf.losses.Lp(4.0),
    lf.losses.Lp(3.0),
    lf.losses.PseudoHuber(0.3),
    lf.losses.GeneralizedHuber(3.0, 1.0),
    lf.losses.GeneralizedHuber(2.0, -1.5),
    lf.losses.LogCosh(2.0),
    lf.losses.SmoothQuantile(0.4, 0.5),
    lf.losses.Huber(2.0),
    lf.losses.Cauchy(2.0),
    lf.losses.Welsch(2.0),
    lf.losses.GemanMcClure(2.0),
]


@pytest.mark.parametrize(
    ("arch", "loss"),
    [
        *[(lf.Architecture(9, (3, 2), strides=(2, 1)), loss) for loss in LOSSES],
        (lf.Architecture((5, 6), ((2, 2), (2, 3))), lf.losses.PseudoHuber(0.3)),
        (lf.Architecture((7, 7), ((3, 2), (2, 2)), strides=((2, 1), (1, 1))), lf.losses.Square()),
        (lf.Architecture(6, (2, 2, 2)), lf.losses.LogCosh(2.0)),
    ],
    ids=str,
)
def test_gradient_and_hessian_in_balls_contain_those_of_floats(arch, loss):
    risk = random_problem(arch, loss, weighted=True)
    exponents = [1, -2, 3][: arch.depth]
    params = random_params(2, arch)
    vector, derivatives = np.asarray(ravel(params)), jax.jit(lambda w: (risk.gradient(w), risk.hessian(w)))
    slopes, bends = derivatives(ravel(params))
    units = np.repeat([2.0**e for e in exponents], [np.size(w) for w in params])
    with ctx.workprec(128):
        balls = BallRisk(plain_risk(risk), exponents)
        exact = [arb(float(x)) for x in vector / units]
        gradient = np.array([float(x.mid()) for x in balls.gradient(exact).entries()])
        hessian = np.array([[float(x.mid()) for x in row] for row in balls.hessian(exact)])
        wide = balls.hessian([x + arb(0, 1e-3) for x in exact])
        rng = np.random.default_rng(0)
        for _ in range(3):
            inside = vector / units + 1e-3 * rng.uniform(-1, 1, vector.size)
            there = np.asarray(derivatives(jnp.asarray(units * inside))[1]) * np.outer(units, units)
            slack = 1e-12 * np.abs(there).max()
            assert all(
                below(wide[i][j]) - slack <= there[i, j] <= above(wide[i][j]) + slack
                for i, j in np.ndindex(there.shape)
            )
    np.testing.assert_allclose(gradient, units * np.asarray(slopes), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(hessian, np.outer(units, units) * np.asarray(bends), rtol=1e-9, atol=1e-11)


def test_l_p_below_two_has_no_bend_at_zero_and_certifies_away_from_it():
    with ctx.workprec(128):
        assert not slope_and_bend("lp", {"p": 1.5}, arb(0, 1e-3))[1].is_finite()
    arch = lf.Architecture(3, (2, 2))
    risk = lf.EmpiricalRisk(arch, lf.losses.Lp(1.5), lf.Dataset(np.eye(3), np.array([[1.0], [3], [1]])))
    fits = as_params([[1, (3 + 5**0.5) / 2], [1, (3 - 5**0.5) / 2]])  # interpolates: all residuals 0
    assert lf.certify(risk, fits).status == "inconclusive"
    assert "rho''" in lf.certify(risk, fits).reason


def spurious() -> lf.EmpiricalRisk:
    """L = (v - v_0)^T Q (v - v_0)/2 for two filters of two taps: an attainable target with a spurious minimum."""
    Q = [[27.71023675, 13.47872437, -9.08530081], [13.47872437, 7.86128237, -7.31690957], [0, 0, 18.21803879]]
    Q = np.array(Q)
    Q[2, :2] = Q[:2, 2]
    rows = np.sqrt(3) * np.linalg.cholesky(Q).T
    target = np.array([0.41970709, -1.87370725, -0.8317362])
    return lf.EmpiricalRisk(lf.Architecture(3, (2, 2)), lf.losses.Square(), lf.Dataset(rows, (rows @ target)[:, None]))


@pytest.mark.slow
def test_the_spurious_minimum_of_an_attainable_target_is_certified_and_met_by_a_third_of_all_starts():
    risk = spurious()
    keys = jax.random.split(jax.random.key(0), 2000)
    starts = lf.initializers.gaussian(1.0)(keys, risk.arch)
    flows = lf.gradient_flow_ensemble(risk, starts, block_size=500)
    assert (flows.verdict == lf.Verdict.CONVERGED).mean() > 0.99
    values = np.asarray(jax.vmap(risk)(flows.limit))
    there = np.abs(values - 2.600062) < 1e-6
    assert 0.31 <= there.mean() <= 0.39
    assert np.all(there | (values < 1e-12) | (flows.verdict != lf.Verdict.CONVERGED))
    limit = tuple(w[np.argmax(there)] for w in flows.limit)
    point = lf.classify(risk, limit)
    assert (point.kind, point.hessian_index, point.nullity) == ("minimum", 0, 0)
    assert point.optimality_gap == pytest.approx(2.600062, abs=1e-6)
    first, second = as_params([[0.71268049, -0.39135564], [-0.71268049, 0.39135564]])
    np.testing.assert_allclose(lf.classify(risk, (first, second)).hessian_eigenvalues, [3.903, 5.986, 27.36], rtol=1e-3)
    found = lf.certify(risk, limit)
    assert (found.status, found.hessian_index) == ("certified", 0)
    assert found.trapping_radius > 1e-4
    groups = lf.critical.orbits(risk.arch, jax.tree.map(lambda w: w[flows.limit_is_isolated], flows.limit))
    assert len(groups.counts) == 3  # the spurious minimum, and the global one with its filters in either order


def copies(point: dict) -> list[np.ndarray]:
    """The balanced critical points of one orbit: those with the signs of filters changed in pairs."""
    filters = [np.asarray(w) for w in point["filters"]]
    signs = itertools.product([1, -1], repeat=len(filters))
    return [np.concatenate([s * w for s, w in zip(sign, filters, strict=True)]) for sign in signs if np.prod(sign) == 1]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_no_other_balanced_critical_point_of_the_computer_algebra_lies_within_the_uniqueness_radius(case):
    risk, everywhere = truth_problem(case["name"]), [x for p in case["critical_points"] for x in copies(p)]
    for point in case["critical_points"]:
        exact = copies(point)[0]
        nearest = sorted(np.linalg.norm(x - exact) for x in everywhere)[1]
        radius = lf.certify(risk, as_params(point["filters"])).uniqueness_radius
        assert nearest / 50 < radius < nearest


def on_the_leaf(arch: lf.Architecture, exact: np.ndarray, radius: float, seeds: int) -> np.ndarray:
    """Balanced filters at this distance from balanced ones: alternately rescaled to equal norms and to the distance."""
    x = np.random.default_rng(0).normal(size=(seeds, exact.size))
    for _ in range(300):
        d = x - exact
        x = exact + radius * d / np.linalg.norm(d, axis=1, keepdims=True)
        parts = np.split(x, np.cumsum(arch.kernel_sizes)[:-1], axis=1)
        norms = np.stack([np.linalg.norm(w, axis=1) for w in parts])
        common = np.exp(np.mean(np.log(norms), axis=0))
        x = np.concatenate([w * (common / n)[:, None] for w, n in zip(parts, norms, strict=True)], axis=1)
    return x


@pytest.mark.parametrize("name", ["k222_s11_iso_d1", pytest.param("l4_k22_s1_d6", marks=pytest.mark.slow)])
def test_flows_from_the_edge_of_the_trapping_ball_end_at_the_certified_point(name):
    case = next(case for case in CASES if case["name"] == name)
    risk = truth_problem(name)
    point = next(p for p in case["critical_points"] if p["kind"] == "min")
    exact = copies(point)[0]
    radius = lf.certify(risk, as_params(point["filters"])).trapping_radius
    starts = on_the_leaf(risk.arch, exact, 0.99 * radius, seeds=32)
    distances = np.linalg.norm(starts - exact, axis=1)
    assert np.all(distances < radius)
    assert np.all(distances > 0.9 * radius)
    flows = lf.gradient_flow_ensemble(risk, jax.vmap(lambda x: unravel(risk.arch, x))(jnp.asarray(starts)))
    limits = jax.vmap(ravel)(flows.limit)
    np.testing.assert_allclose(limits, np.broadcast_to(exact, limits.shape), atol=1e-12)


@pytest.mark.parametrize("loss", [*LOSSES, lf.losses.Lp(1.5)], ids=str)
def test_gradients_in_the_trapping_ball_point_away_from_the_minimum_under_every_loss(loss):
    # a minimum by construction: outputs of planted filters less residuals with rho' orthogonal to the tangent space,
    # small enough for the Hessian to stay positive across the symmetries
    arch, rng = lf.Architecture(6, (2, 2, 2)), np.random.default_rng(1)
    filters = [w / np.linalg.norm(w) for w in rng.normal(size=(3, 2))]  # balanced
    exact, inputs = np.concatenate(filters), rng.normal(size=(12, 6))
    parts = [jnp.asarray(w) for w in filters]
    outputs = lf.apply(arch, tuple(parts), inputs)
    tangents = np.asarray(jax.jacfwd(lambda x: lf.apply(arch, unravel(arch, x), inputs).ravel())(jnp.asarray(exact)))
    across = np.linalg.svd(tangents.T)[2][np.linalg.matrix_rank(tangents) :]
    slopes = 0.1 * across.T @ rng.normal(size=len(across))  # rho'(r), to which the tangents are orthogonal
    reach = 1.0 if loss.name in ("cauchy", "welsch", "geman_mcclure") else 30.0  # there rho' increases
    residuals = np.array(
        [optimize.brentq(lambda r, s=s: float(loss.derivative(r)) - s, -reach, reach, xtol=1e-15) for s in slopes]
    )
    targets = np.asarray(outputs) - residuals.reshape(outputs.shape)
    risk = lf.EmpiricalRisk(arch, loss, lf.Dataset(inputs, targets))
    found = lf.certify(risk, tuple(parts), balancedness=[0.0, 0.0])
    assert (found.status, found.hessian_index) == ("certified", 0)
    for share in (0.3, 0.99):
        starts = on_the_leaf(arch, exact, share * found.trapping_radius, seeds=500)
        rates = []  # of the end-to-end filter, along the ray from the minimum
        ends = []
        for x in starts:
            a, b, c = np.split(x, 3)
            da, db, dc = np.split(x - exact, 3)
            ends.append(np.convolve(np.convolve(a, b), c))
            rates.append(np.convolve(np.convolve(da, b) + np.convolve(a, db), c) + np.convolve(np.convolve(a, b), dc))
        windows = np.lib.stride_tricks.sliding_window_view(inputs, 4, axis=1).reshape(-1, 4)
        slopes = np.asarray(loss.derivative(jnp.asarray(np.array(ends) @ windows.T - targets.ravel())))
        assert np.all(np.sum(slopes * (np.array(rates) @ windows.T), axis=1) > 0)


def test_norms_in_balls_are_not_below_those_of_numpy_and_close_to_them():
    rng = np.random.default_rng(0)
    low = rng.normal(size=(6, 3))
    first, second = low @ low.T, rng.normal(size=(6, 6))
    second = second @ np.diag([1, 1, 1e-3, 1e-6, 0, 0]) @ second.T
    second = (second + second.T) / 2
    with ctx.workprec(128):
        norm = float(spectral_norm(exact_matrix(second)))
        both = float(product_norm(exact_matrix(first), exact_matrix(second)))
    largest = np.max(np.linalg.eigvals(first @ second).real)
    assert 1 - 1e-14 <= norm / np.linalg.norm(second, 2) <= 1 + 1e-9
    assert 1 - 1e-14 <= both / largest <= 1 + 1e-6


def test_the_bound_of_a_cubic_form_holds_on_all_vectors_and_is_met_where_one_variable_counts():
    rng = np.random.default_rng(0)
    table, lengths = rng.normal(size=(4, 4, 4)), np.array([1.0, 0.1, 3.0, 1e-3])
    with ctx.workprec(128):
        bound = float(cubic_norm([exact_matrix(m) for m in table], [arb(float(x)) for x in lengths]))
        single = float(cubic_norm([exact_matrix(np.array([[2.0]]))], [arb(0.5)]))
    vectors = rng.normal(size=(20000, 4)) * 10.0 ** rng.uniform(-3, 1, size=(20000, 4))
    values = np.abs(np.einsum("abk,ra,rb,rk->r", table, vectors, vectors, vectors))
    sizes = np.sum(vectors**2, axis=1) * np.linalg.norm(vectors / lengths, axis=1)
    assert np.max(values / sizes) <= bound
    assert single == pytest.approx(1.0)  # 2 e^3 = e^2 x with x = e / 0.5


@pytest.mark.parametrize(
    ("risk", "filters", "status", "reason"),
    [
        (filter_problem((2, 2), (1, 2, 1)), [[1, 1], [1, 1]], "degenerate", "singular"),
        (filter_problem((2, 2), (1, 1), rows=(0, 2)), [[1, 2], [1, 0.5]], "degenerate", "singular"),
        (filter_problem((2, 2, 2), (1, 3, 3, 1)), [[0, 0], [0, 0], [1, 0]], "degenerate", "2 filters vanish"),
        (filter_problem((2, 2), (1, 3, 1)), [[1, 2], [3, 1]], "inconclusive", "no critical point near"),
        (filter_problem((2, 2), (1, 3, 1)), [[np.nan, 2], [3, 1]], "inconclusive", "not finite"),
        (filter_problem((2, 2), (1, 3, 1)), [[np.inf, 2], [3, 1]], "inconclusive", "not finite"),
    ],
)
def test_what_is_no_regular_critical_point_is_refused_with_the_reason(risk, filters, status, reason):
    found = lf.certify(risk, as_params(filters))
    assert found.status == status
    assert reason in found.reason
    assert np.isnan(found.existence_radius)
    assert found.hessian_index == -1


def test_one_zero_filter_of_two_is_no_obstacle():
    # w_1 = (a, b), w_2 = (c), L = (ac - 1)^2/2 + (bc)^2/2 at (0, 2), 0: the symmetry direction is b, and across it the
    # Hessian in (a, c) is [[0, -1], [-1, 4]], of determinant -1
    risk = filter_problem((2, 1), (1.0, 0.0))
    found = lf.certify(risk, as_params([[0.0, 2.0], [0.0]]))
    assert (found.status, found.hessian_index) == ("certified", 1)


def test_channels_custom_losses_batches_and_wrong_shapes_are_named():
    arch = lf.Architecture(6, (2, 2), channels=(1, 2, 1))
    risk, params = random_problem(arch, lf.losses.Square()), random_params(0, arch)
    assert "gauge" in lf.certify(risk, params).reason
    plain = lf.Architecture(6, (2, 2))
    custom = lf.EmpiricalRisk(plain, lf.losses.Custom(jnp.square), random_data(plain))
    with pytest.raises(lf.RiskError, match="custom"):
        lf.certify(custom, random_params(0, plain))
    found = lf.certify(random_problem(plain, lf.losses.Square()), random_params(0, plain), balancedness=[np.nan])
    assert found.reason == "the balancedness is not finite"
    with pytest.raises(lf.ArchitectureError, match="balancedness"):
        lf.certify(random_problem(plain, lf.losses.Square()), random_params(0, plain), balancedness=[0.0, 1.0])


def test_signs_of_eigenvalues_are_undecided_when_a_disc_touches_zero():
    import flint

    with ctx.workprec(128):
        matrix = flint.arb_mat([[arb(2), arb(0, 1e-3)], [arb(0, 1e-3), arb(-1)]])
        assert signature(matrix, np.eye(2)) == 1
        matrix[1, 1] = arb(0, 1)
        assert signature(matrix, np.eye(2)) is None
