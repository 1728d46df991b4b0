"""Flows of functions of any tree of parameters, of which nothing but values is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lcnn_flow as lf
from lcnn_flow.limits.verdict import Reason, Verdict

KEY = jax.random.key(0)
TARGET = jnp.array([[1.0, 2.0], [3.0, 4.0]])


def factorisation(params, data):
    return jnp.sum((params["U"] @ params["V"].T - data["Y"]) ** 2) / 2


def factors(key=KEY):
    left, right = jax.random.split(key)
    return {"U": jax.random.normal(left, (2, 2)), "V": jax.random.normal(right, (2, 2))}


def gram_difference(params):
    return params["U"].T @ params["U"] - params["V"].T @ params["V"]


CONSERVED = lf.symmetry.Declared(gram_difference)
TIMES = lf.log_times(1e-2, 1e2, 9)
"""Trajectories with the same of both are of one program."""


def anisotropic(x, weights):
    return jnp.sum(weights * (x - 1.0) ** 2)


def four_terms(x, c):
    circle, sextic = 3.0 * (jnp.sum(x**2) - 1.0) ** 2, 3.0 * (x[0] - 1.0) ** 6 + x[1] ** 2
    both = [anisotropic(x, jnp.array([3.0, 0.2])), 3.0 * x[0] ** 2 - 0.2 * x[1] ** 2]
    return jnp.dot(c, jnp.stack([*both, circle, sextic]))


def name(flow):
    return Verdict(int(flow.verdict)).name


def test_a_limit_comes_back_in_the_tree_of_the_parameters_with_what_is_held_fixed():
    start = {"a": jnp.array([0.3, 2.0]), "b": (0.5, jnp.zeros(())), "kind": 3, "none": None, "empty": jnp.zeros((0,))}

    def risk(p):
        return jnp.sum((p["a"] - 1.0) ** 2) + p["b"][0] ** 2 + (p["b"][1] - p["kind"]) ** 2

    flow = lf.gradient_flow(risk, start)
    assert name(flow) == "CONVERGED"
    assert bool(flow.limit_is_isolated)
    np.testing.assert_allclose(flow.limit["a"], 1, atol=1e-14)
    np.testing.assert_allclose([flow.limit["b"][0], flow.limit["b"][1] - 3], 0, atol=1e-14)
    assert flow.limit["kind"] == 3
    assert flow.limit["none"] is None
    assert flow.limit["empty"].shape == (0,)


def test_a_factorisation_from_a_small_start_is_followed_to_its_minimum():
    """Limits have 1e6 times the norm of the start and more: growth on the way from a saddle is no divergence."""
    target = jnp.array([[40.0, 8.0], [-2.7, 9.0]])

    def risk(p):
        return 0.5 * jnp.sum((p["U"] @ p["V"].T - target) ** 2)

    keys = jax.random.split(KEY)
    for size in (1e-5, 1e-7, 1e-9):
        flow = lf.gradient_flow(risk, {w: size * jax.random.normal(k, (2, 2)) for w, k in zip("UV", keys, strict=True)})
        assert name(flow) == "CONVERGED"
        np.testing.assert_allclose(flow.limit["U"] @ flow.limit["V"].T, target, atol=1e-6)


@pytest.mark.parametrize("power", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_risk_without_a_lower_bound_diverges(power):
    flow = lf.gradient_flow(lambda p: p[1] ** 2 - p[0] ** power, jnp.array([0.1, 1.0]))
    assert (name(flow), Reason(int(flow.reason))) == ("DIVERGED", Reason.BEYOND_NORM_BOUND)


def test_a_model_of_equinox_goes_in_and_comes_out_as_it_is():
    model = eqx.nn.MLP("scalar", "scalar", 3, 1, activation=jnp.tanh, key=KEY)
    x = jnp.array([-1.0, 0.2, 0.9])
    y = jnp.array([0.3, -0.2, 0.5])
    flow = lf.gradient_flow(lambda m: jnp.sum((jax.vmap(m)(x) - y) ** 2), model)
    assert name(flow) == "CONVERGED"
    assert not bool(flow.limit_is_isolated)
    assert int(flow.nullity) == 7
    np.testing.assert_allclose(jax.vmap(flow.limit)(x), y, atol=1e-12)


@pytest.mark.slow
def test_the_derivative_of_a_limit_through_a_closure_is_that_through_data():
    start, weights = jnp.zeros(2), jnp.array([1.0, 2.0])

    def loss(p, x):
        return jnp.sum(weights * (p - x) ** 2) + p[0] ** 4

    def closed(x):
        return lf.gradient_flow(lambda p: loss(p, x), start).limit[0]

    def given(x):
        return lf.gradient_flow(lf.Risk(loss, start, data=x), start).limit[0]

    x, step = jnp.array([1.0, 2.0]), jnp.array([1e-5, 0.0])
    difference = (closed(x + step) - closed(x - step)) / 2e-5
    for limit in (closed, given):
        np.testing.assert_allclose(jax.grad(limit)(x), [difference, 0], rtol=1e-9, atol=1e-12)


def test_another_closed_over_array_is_not_missed():
    data = {"x": jnp.array([1.0, 2.0])}

    def loss(p):
        return jnp.sum((p - data["x"]) ** 2)

    before = lf.gradient_flow(loss, jnp.zeros(2)).limit
    one = lf.Risk(loss, jnp.zeros(2)).traced
    data["x"] = jnp.array([-3.0, 5.0])
    after = lf.gradient_flow(loss, jnp.zeros(2)).limit
    np.testing.assert_allclose([before, after], [[1, 2], [-3, 5]], atol=1e-14)
    assert lf.Risk(loss, jnp.zeros(2)).traced is one  # and compiles nothing


def in_units(params, units):
    u, v = params["U"] / units[0], params["V"] / units[0]
    return units[1] * (jnp.sum((u @ v.T - TARGET) ** 2) + jnp.sum((u[0] - v[0]) ** 2))


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("height", [1e-6, 1.0, 1e6])
def test_units_of_risk_and_parameters_change_no_verdict(size, height):
    start = jax.tree.map(lambda w: size * w, factors())
    flow = lf.gradient_flow(lf.Risk(in_units, start, data=jnp.array([size, height])), start)
    assert name(flow) == "CONVERGED"
    assert int(flow.nullity) == 2


LANDSCAPES = {
    "saddle": [1, 1, 1, 0, 0, 0, 0, 0, 0],
    "valley": [0, 1, 1, 1, 0, 0, 0, 0, 0],
    "circle": [0, 0, 1, 0, 1, 0, 0, 0, 0],
    "quartic": [0, 0, 1, 0, 0, 1, 0, 0, 0],
    "crossing": [0, 0, 1, 0, 0, 0, 1, 0, 0],
    "order 4": [0, 0, 1, 0, 0, 0, 0, 1, 0],
    "order 8": [0, 0, 1, 0, 0, 0, 0, 0, 1],
}


def landscape(x, c):
    """One function, and so one program, for all of `LANDSCAPES`: the sum of these terms by the coefficients c."""
    turned = 0.8 * x[0] - 0.6 * x[1] - 0.2, 0.6 * x[0] + 0.8 * x[1] - 1.4  # 0 at (1, 1)
    high = [turned[0] ** order + turned[1] ** 2 for order in (4, 8)]
    circle = (x[0] ** 2 + x[1] ** 2 - 1.0) ** 2
    terms = [(x[0] ** 2 - 1.0) ** 2, x[1] ** 2, x[2] ** 2, jnp.exp(-x[0]), circle]
    return jnp.dot(c, jnp.stack([*terms, x[0] ** 2 * x[1] ** 4, (x[0] * x[1]) ** 2, *high]))


def flow_on(kind, *start):
    """The flow on one of the landscapes."""
    risk = lf.Risk(landscape, jnp.zeros(3), data=jnp.asarray(LANDSCAPES[kind], float))
    return lf.gradient_flow(risk, jnp.asarray(start))


@pytest.mark.slow
@pytest.mark.parametrize("order", [4, 8])
def test_a_minimum_of_higher_order_is_degenerate(order):
    assert name(flow_on(f"order {order}", 2.0, 1.5, 1.0)) in ("DEGENERATE", "UNDECIDED")


def test_a_circle_of_minima_is_converged_to_and_not_isolated():
    flow = flow_on("circle", 0.3, 0.5, 1.0)
    assert name(flow) == "CONVERGED"
    assert not bool(flow.limit_is_isolated)
    assert not bool(flow.sound)
    np.testing.assert_allclose(flow.limit[:2], np.array([0.3, 0.5]) / np.hypot(0.3, 0.5), atol=1e-6)  # it is radial


def test_where_the_kernel_is_no_tangent_space_nothing_is_said_to_converge():
    # of the quartic the rank is constant along y = z = 0, and the kernel has dimension 2
    assert name(flow_on("quartic", 1.0, 0.5, 1.0)) not in ("CONVERGED", "AT_SADDLE")
    assert name(flow_on("crossing", 1.0, 0.5, 1.0)) == "CONVERGED"
    assert name(flow_on("crossing", 0.7, 0.7, 1.0)) not in ("CONVERGED", "AT_SADDLE")


def test_a_saddle_is_one_and_a_valley_to_infinity_has_no_minimum():
    saddle = flow_on("saddle", 0.0, 0.5, 1.0)
    assert name(saddle) == "AT_SADDLE"
    assert int(saddle.hessian_index) == 1
    assert name(flow_on("valley", 0.3, 1.0, 1.0)) not in ("CONVERGED", "AT_SADDLE")


def distance(x, target):
    return jnp.sum((x - target) ** 2)


@pytest.mark.parametrize("start", [0.0, 1.0])
@pytest.mark.parametrize("target", [1e-9, 1.0, 1e9])
def test_starts_at_zero_and_far_away_are_starts_like_others(start, target):
    risk = lf.Risk(distance, jnp.zeros(2), data=jnp.asarray(target))
    flow = lf.gradient_flow(risk, jnp.full(2, start))
    assert name(flow) == "CONVERGED"
    np.testing.assert_allclose(flow.limit, target, rtol=1e-6 if target < 1e-3 else 1e-14)


@pytest.mark.slow
def test_an_ensemble_finds_what_single_flows_find_for_every_condition():
    starts = jax.vmap(factors)(jax.random.split(KEY, 4))
    targets = jnp.stack([TARGET, -TARGET, jnp.eye(2)])
    risks = lf.Risk(factorisation, factors(), data={"Y": jnp.moveaxis(targets, 0, 2)}, batched={"Y": 2})
    batch = jax.tree.map(lambda w: jnp.broadcast_to(w[None], (3, *w.shape)), starts)
    flows = lf.gradient_flow_ensemble(risks, batch)
    assert flows.verdict.shape == (3, 4)
    assert flows.limit["U"].shape == (3, 4, 2, 2)
    stacked = jax.tree.map(
        lambda *x: jnp.stack(x), *(lf.Risk(factorisation, factors(), data={"Y": y}) for y in targets)
    )
    np.testing.assert_array_equal(lf.gradient_flow_ensemble(stacked, batch).limit["U"], flows.limit["U"])
    for condition, seed in ((0, 0), (2, 3)):
        single = lf.gradient_flow(risks.condition(condition), jax.tree.map(lambda w, s=seed: w[s], starts))
        assert int(single.verdict) == flows.verdict[condition, seed]
        np.testing.assert_allclose(single.limit["U"], flows.limit["U"][condition, seed], atol=1e-6)


def test_a_trajectory_keeps_the_energy_law_and_has_no_end_to_end_filter():
    flow = lf.gradient_flow(lf.Risk(factorisation, factors(), {"Y": TARGET}, CONSERVED), factors(), times=TIMES)
    assert flow.trajectory.end_to_end_filter is None
    assert flow.trajectory.params["U"].shape == (9, 2, 2)
    np.testing.assert_allclose(flow.trajectory.energy_defect, 0, atol=1e-4 * float(flow.energy))


@pytest.mark.parametrize(
    ("terms", "point", "kind"),
    [
        ([1, 0, 0, 0], [1.0, 1.0], "minimum"),
        ([0, 1, 0, 0], [0.0, 0.0], "strict_saddle"),
        ([0, 0, 1, 0], [0.6, 0.8], "minimum"),
        ([0, 0, 0, 1], [1.0, 0.0], "degenerate"),
        ([1, 0, 0, 0], [1.0, 1.001], "not_critical"),
    ],
)
def test_points_are_classified_by_values_alone(terms, point, kind):
    risk = lf.Risk(four_terms, jnp.zeros(2), data=jnp.asarray(terms, float))
    found = lf.classify(risk, jnp.asarray(point))
    assert found.kind == kind
    assert found.jacobian_rank == -1
    assert np.isnan(found.optimality_gap)
    many = lf.classify(risk, jnp.tile(jnp.asarray(point), (3, 1)))
    assert many.kind.tolist() == [kind] * 3


def test_nothing_is_certified_of_a_function_known_by_its_values():
    certificate = lf.certify(lambda x: jnp.sum(x**2), jnp.zeros(2))
    assert certificate.status == "inconclusive"
    assert "formula" in certificate.reason


def test_a_summary_tells_limits_apart_by_risk():
    starts = jax.random.normal(KEY, (40, 1))

    def tilted(x):
        return jnp.sum((x**2 - 1.0) ** 2 + 0.1 * x)

    flows = lf.gradient_flow_ensemble(tilted, starts)
    found = lf.summary(flows, lf.Risk(tilted, starts[0]))
    assert [limit.spurious for limit in found.limits] == [False, True]
    assert sum(limit.count for limit in found.limits) == 40
    assert "distinct limits, by risk: 2" in repr(found)


def test_a_declared_symmetry_is_conserved_and_what_it_leaves_out_the_kernel_tells():
    risk = lf.Risk(factorisation, factors(), {"Y": TARGET}, CONSERVED)
    flow = lf.gradient_flow(risk, factors(), times=TIMES)
    assert name(flow) == "CONVERGED"
    assert int(flow.nullity) == 1
    kept = np.asarray(gram_difference(factors())).ravel()
    np.testing.assert_allclose(flow.trajectory.balancedness, np.tile(kept, (9, 1)), atol=1e-5)
    np.testing.assert_allclose(gram_difference(flow.limit), kept.reshape(2, 2), atol=1e-12)

    def rotation(p):
        turn = jnp.array([[0.0, 1.0], [-1.0, 0.0]])
        return [{"U": p["U"] @ turn, "V": p["V"] @ turn}]

    whole = lf.Risk(factorisation, factors(), {"Y": TARGET}, lf.symmetry.Declared(gram_difference, rotation))
    flow = lf.gradient_flow(whole, factors())
    assert name(flow) == "CONVERGED"
    assert int(flow.nullity) == 0
    assert not bool(flow.limit_is_isolated)


def test_a_false_declaration_raises_outside_of_jit_and_withholds_the_verdict_inside():
    false = lf.symmetry.Declared(lambda p: p["U"] @ p["U"].T)
    risk = lf.Risk(factorisation, factors(), {"Y": TARGET}, false)
    with pytest.raises(lf.FlowError, match="the declared symmetry is not one of this function"):
        lf.gradient_flow(risk, factors())
    flow = jax.jit(lambda r, p: lf.gradient_flow(r, p))(risk, factors())
    assert name(flow) == "UNDECIDED"
    assert Reason(int(flow.reason)) == Reason.SYMMETRY_NOT_KEPT
    assert np.all(np.isnan(flow.limit["U"]))


@pytest.mark.slow
def test_a_false_direction_raises_too():
    extra = lf.symmetry.Declared(gram_difference, lambda p: [{"U": p["U"], "V": p["V"]}])
    with pytest.raises(lf.FlowError, match="the declared symmetry is not one of this function"):
        lf.gradient_flow(lf.Risk(factorisation, factors(), {"Y": TARGET}, extra), factors())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("function", "params", "error", "words"),
    [
        (lambda x: jnp.sum(jnp.abs(x)), jnp.array([1.0 + 1j]), lf.FlowError, "params is complex"),
        (lambda x: x, jnp.array([1.0, 2.0]), lf.RiskError, r"shape \(2,\) .* one real number, say by jnp.sum"),
        (lambda x: (x[0], x[1]), jnp.array([1.0, 2.0]), lf.RiskError, "must return one real number"),
        (lambda x: x > 1.0, jnp.array(1.0), lf.RiskError, "type bool: it must return one real number"),
        (lambda x: jnp.sum(x), jnp.array([1, 2]), lf.FlowError, "without a leaf of floating type"),
        (lambda x: x[0], (jnp.ones(()), jnp.ones((), jnp.float32)), lf.FlowError, r"params\[1\] is float32"),
        (lambda x: x["a"], {"a": jnp.ones(()), "b": "text"}, lf.FlowError, r"params\['b'\] is 'text'"),
        ("loss", jnp.ones(2), lf.RiskError, "risk is 'loss': write .* or a function of params"),
        (lambda x: jnp.sum(x), jnp.ones(200_000), lf.FlowError, "200,000 parameters .* use fewer parameters"),
    ],
)
def test_what_cannot_be_minimised_is_named(function, params, error, words):
    with pytest.raises(error, match=words):
        lf.gradient_flow(function, params)


def test_parameters_that_are_no_point_of_the_space_are_named():
    risk = lf.Risk(factorisation, factors(), {"Y": TARGET})
    with pytest.raises(lf.FlowError, match=r"use jax\.vmap or gradient_flow_ensemble"):
        lf.gradient_flow(risk, jax.tree.map(lambda w: w[None], factors()))
    with pytest.raises(lf.FlowError, match=r"the tree \(\*, \*\), but {'U': \*, 'V': \*} is needed"):
        lf.gradient_flow(risk, (1.0, 2.0))
    with pytest.raises(lf.FlowError, match="params are float32, but the risk was made for float64"):
        lf.gradient_flow(risk, jax.tree.map(lambda w: w.astype(jnp.float32), factors()))
    with pytest.raises(lf.FlowError, match=r"params\['n'\] is held fixed, and differs"):
        lf.gradient_flow(lf.Risk(lambda p: p["x"] ** 2, {"x": 1.0, "n": 2}), {"x": 1.0, "n": 3})
    with pytest.raises(lf.RiskError, match=r"batched names \['Z'\]: data have \['Y'\]"):
        lf.Risk(factorisation, factors(), {"Y": TARGET}, batched={"Z": 0})
    with pytest.raises(lf.FlowError, match="without an axis of seeds"):
        lf.gradient_flow_ensemble(risk, factors())
    with pytest.raises(lf.FlowError, match="unknown option 'rtoll': did you mean rtol"):
        lf.gradient_flow(risk, factors(), rtoll=1e-3)
