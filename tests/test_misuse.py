"""A wrong argument is named, with what to write instead; and what prints is what one writes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lcnn_flow as lf

ARCH = lf.Architecture(6, (2, 2))
KEY = jax.random.key(0)
DATA = lf.data.synthesize(jax.random.key(1), ARCH, samples=20, noise=0.1)
RISK = lf.EmpiricalRisk(ARCH, lf.losses.PseudoHuber(0.2), DATA)
PARAMS = lf.initializers.gaussian(0.5)(KEY, ARCH)
BATCH = lf.initializers.gaussian(0.5)(jax.random.split(KEY, 3), ARCH)
RISKS = jax.vmap(lambda delta: lf.EmpiricalRisk(ARCH, lf.losses.PseudoHuber(delta), DATA))(jnp.array([0.1, 0.2]))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: lf.EmpiricalRisk(ARCH, lf.losses.Square, DATA),
            r"loss is the class Square: write lf.losses.Square\(\)",
        ),
        (lambda: lf.EmpiricalRisk(ARCH, lf.losses.Lp, DATA), r"loss is the class Lp: write lf.losses.Lp\(p=...\)"),
        (lambda: lf.EmpiricalRisk(ARCH, "square", DATA), r"loss is 'square': write lf.losses.Square\(\)"),
        (lambda: lf.EmpiricalRisk(ARCH, "Pseudo-Huber", DATA), r"write lf.losses.PseudoHuber\(delta=...\)"),
        (
            lambda: lf.EmpiricalRisk(ARCH, lambda r: r**2, DATA),
            r"loss is a function: write lf.losses.Custom\(function\)",
        ),
        (lambda: lf.EmpiricalRisk(ARCH, DATA, lf.losses.Square()), r"the order is EmpiricalRisk\(arch, loss, data\)"),
        (lambda: lf.EmpiricalRisk(ARCH, lf.losses.Square(), DATA.inputs), r"write lf.Dataset\(inputs, targets\)"),
        (lambda: lf.EmpiricalRisk((6, (2, 2)), lf.losses.Square(), DATA), "arch is a tuple of 2"),
        (lambda: lf.gradient_flow(RISK, PARAMS[:1]), r"needs \(\(2,\), \(2,\)\), one per layer"),
        (
            lambda: lf.gradient_flow_ensemble(RISK, BATCH[:1]),
            r"needs \(\(2,\), \(2,\)\), one per layer",
        ),
        (lambda: RISK(PARAMS[:1]), r"needs \(\(2,\), \(2,\)\), one per layer"),
        (lambda: lf.gradient_flow(PARAMS, RISK), r"risk is a tuple of 2: .* gradient_flow\(risk, ...\)"),
        (lambda: lf.gradient_flow(ARCH, PARAMS), r"risk is an Architecture: write lf.EmpiricalRisk"),
        (lambda: lf.gradient_flow(RISK, BATCH), "for a batch of them use jax.vmap or gradient_flow_ensemble"),
        (lambda: lf.gradient_flow(RISKS, PARAMS), r"a batch of 2 risks, but one is needed: write jax.vmap"),
        (lambda: lf.apply(PARAMS, ARCH, DATA.inputs), r"the order is apply\(arch, params, inputs\)"),
        (lambda: lf.end_to_end_filter(PARAMS, ARCH), r"the order is end_to_end_filter\(arch, params\)"),
        (lambda: lf.theory.balancedness(PARAMS, ARCH), r"the order is balancedness\(arch, params\)"),
        (lambda: lf.initializers.gaussian(0.5)(ARCH, KEY), r"the order is gaussian\(...\)\(key, arch\)"),
        (lambda: lf.initializers.orthogonal()(7, ARCH), r"key is 7, and not one key: write jax.random.key\(7\)"),
        (lambda: lf.initializers.balanced()(jax.random.split(KEY, (3, 2)), ARCH), "for many keys use jax.vmap"),
        (lambda: lf.data.synthesize(0, ARCH, samples=3), r"write jax.random.key\(0\)"),
        (lambda: lf.data.synthesize(ARCH, KEY, samples=3), r"the order is synthesize\(key, arch, samples=...\)"),
        (lambda: lf.theory.hypotheses(ARCH), r"risk is an Architecture: .* hypotheses\(risk, ...\)"),
        (lambda: lf.theory.hypotheses(RISKS), r"hypotheses\(risk.condition\(i\)\) for each i"),
        (lambda: lf.theory.norm_bound(DATA, PARAMS), "risk is a Dataset"),
        (
            lambda: lf.gradient_flow_ensemble(RISK, PARAMS),
            r"without an axis of seeds: .* jax.tree.map\(lambda w: w\[None\], params\)",
        ),
        (lambda: lf.gradient_flow_ensemble(PARAMS, RISK), "risk is a tuple of 2"),
        (
            lambda: lf.certify(RISK, BATCH),
            r"params are 3 of them: write certify\(risk, tuple\(w\[i\] for w in params\)\)",
        ),
        (lambda: lf.certify(RISKS, PARAMS), r"certify\(risk.condition\(i\), ...\) for each i"),
        (lambda: lf.classify(RISKS, PARAMS), r"classify\(risk.condition\(i\), ...\) for each i"),
        (lambda: lf.classify(RISK, _flow()), "params is the result of a flow: pass its .limit, or .final"),
        (lambda: lf.gradient_flow(RISK, _flow()), "params is the result of a flow: pass its .limit, or .final"),
        (lambda: lf.summary(PARAMS), "summary needs the result of gradient_flow or of an ensemble, not a tuple of 2"),
        (lambda: lf.summary(_flow(), RISKS), "a batch of 2 risks, but one is needed"),
    ],
)
def test_a_wrong_argument_is_named_with_what_to_write(call, message):
    with pytest.raises(lf.LcnnFlowError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_keys_of_either_kind_are_taken():
    for key in (jax.random.key(3), jax.random.PRNGKey(3)):
        assert jnp.isfinite(lf.initializers.gaussian()(key, ARCH)[0]).all()
    drawn = jax.jit(lambda key: lf.initializers.gaussian()(key, ARCH))(jax.random.key(3))
    np.testing.assert_array_equal(drawn[0], lf.initializers.gaussian()(jax.random.key(3), ARCH)[0])


@pytest.mark.parametrize(
    "written",
    [
        "Architecture(input_shape=6, kernel_sizes=(2, 2))",
        "Architecture(input_shape=9, kernel_sizes=(3, 1), strides=(2, 1))",
        "Architecture(input_shape=(4, 5), kernel_sizes=((2, 2), (1, 3)), channels=(1, 2, 1))",
        "PseudoHuber(delta=0.2)",
        "Lp(p=4.0)",
        "Square()",
        "GeneralizedHuber(a=2.0, b=1.0)",
    ],
)
def test_things_print_as_one_writes_them(written):
    made = eval(written, vars(lf) | vars(lf.losses))
    assert repr(made) == written


def test_a_risk_prints_what_it_is_made_of():
    data = "Dataset(inputs=(20, 6), targets=(20, 4), true_filter=(3,))"
    loss = "PseudoHuber(delta=0.2)"
    assert repr(RISK) == f"EmpiricalRisk({ARCH!r}, {loss}, {data}, form='patches')"
    assert "PseudoHuber(delta=array of shape (2,))" in repr(RISKS)


def _flow(times=None):
    return lf.gradient_flow(RISK, PARAMS, times=times)


def test_a_flow_prints_its_verdict_in_words_within_ten_lines():
    text = repr(_flow())
    assert text.startswith("Flow(CONVERGED: gradient at its rounding in every direction")
    assert "(isolated)" in text
    assert len(text.splitlines()) <= 10
    flows = lf.gradient_flow_ensemble(RISK, BATCH)
    assert repr(flows).splitlines()[:2] == ["Flow of shape (3,)", f"3 flows, {int(np.sum(flows.steps))} steps"]
    traced = []
    jax.jit(lambda flow: traced.append(repr(flow)))(_flow())
    assert traced[0].startswith("Flow(verdict=")


@pytest.mark.slow
def test_a_flow_without_limit_prints_why():
    text = repr(lf.gradient_flow(RISK, PARAMS, max_time=1e-3))
    assert text.startswith("Flow(TIME_LIMIT: max_time reached before the tests of the end could be made")
    assert "final" in text
    assert "limit  " not in text


@pytest.mark.slow
def test_a_summary_with_the_risk_tells_distinct_limits_and_names_the_spurious_ones():
    matrix = np.array([[27.71023675, 13.47872437, -9.08530081], [13.47872437, 7.86128237, -7.31690957]])
    matrix = np.vstack([matrix, [-9.08530081, -7.31690957, 18.21803879]])
    patches = np.sqrt(3) * np.linalg.cholesky(matrix).T
    data = lf.Dataset(patches, patches @ np.array([[0.41970709], [-1.87370725], [-0.8317362]]))
    risk = lf.EmpiricalRisk(lf.Architecture(3, (2, 2)), lf.losses.Square(), data)
    draw = lf.initializers.gaussian(1.0)
    starts = draw(jax.random.split(KEY, 64), risk.arch)
    flows = lf.gradient_flow_ensemble(risk, starts)
    overview = lf.summary(flows, risk)
    best, spurious = overview.limits
    assert best.above == 0
    assert not best.spurious
    assert spurious.above == pytest.approx(2.60006, rel=1e-5)  # the minimum of the README, found by computer algebra
    shown = lf.summary(flows, risk)._repr_html_()  # what notebooks show
    assert shown.count("<table>") == 2
    assert "<td>spurious</td>" in shown
    assert best.count + spurious.count == 64
    values = np.asarray(jax.vmap(risk)(flows.limit))
    assert spurious.count == int((values > 1).sum()) > 0
    assert f"{spurious.count:6d} of 64 flows  CONVERGED, spurious: 2.6 above the lowest" in repr(overview)
    assert "spurious" not in repr(lf.summary(flows))
