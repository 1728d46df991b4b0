"""What is drawn are the numbers of closed forms: courses, taps, roots, eigenvalues and level lines."""

import itertools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lcnn_flow as lf

figure = pytest.importorskip("matplotlib.figure")
followed = pytest.importorskip("lcnn_flow.plot.moving_roots").followed
TARGET = np.array([1.0, -2.0, 0.5])
STARTS = np.array([[0.0, 0.0, 0.0], [3.0, -2.0, 0.5], [1.0, 1.0, 1.0]])
CURVATURES = np.array([1.0, 4.0, 0.25])
ARCH = lf.Architecture(3, (3,))


@pytest.fixture
def ax():
    """Axes of a figure of their own, which nothing has to close."""
    return figure.Figure().subplots()


@pytest.fixture(scope="module")
def risk():
    """L(w) = sum_i c_i (w_i - target_i)^2 / 2, whose flow decays like exp(-c_i t) in entry i."""
    inputs = np.diag(np.sqrt(3 * CURVATURES))
    return lf.EmpiricalRisk(ARCH, lf.losses.Square(), lf.Dataset(inputs, inputs @ TARGET[:, None]))


@pytest.fixture(scope="module")
def flows(risk):
    return lf.gradient_flow_ensemble(risk, (jnp.asarray(STARTS),), times=np.append(0.0, lf.log_times(1e-2, 1e1, 20)))


def test_the_library_imports_without_matplotlib_and_says_which_extra_pictures_need():
    code = (
        "import sys, lcnn_flow as lf\n"
        "assert not [name for name in sys.modules if name.startswith('matplotlib')]\n"
        "sys.modules['matplotlib'] = None\n"
        "try:\n    lf.plot\nexcept lf.PlotError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'lf.plot needs matplotlib: pip install "lcnn_flow[plot]"'


def test_trajectories_are_those_of_a_quadratic_risk(flows, ax):
    times = np.asarray(flows.trajectory.time[0])
    offsets = (STARTS - TARGET)[:, None] * np.exp(-CURVATURES * times[1:, None])
    expected = (CURVATURES * offsets**2).sum(axis=-1) / 2
    assert lf.plot.trajectories(flows, ax=ax) is ax
    for line, curve in zip(ax.get_lines(), expected, strict=True):
        np.testing.assert_allclose(line.get_xdata(), times[1:])
        np.testing.assert_allclose(line.get_ydata(), curve, rtol=1e-4, atol=1e-9)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["CONVERGED (3)"]
    assert "units of the loss" in ax.get_ylabel()


def test_several_numbers_per_flow_have_a_colour_each_and_one_flow_its_verdict(flows, ax):
    one = jax.tree.map(lambda x: x[1], flows)
    lf.plot.trajectories(one, "squared_norms", ax=ax)
    (line,) = ax.get_lines()
    moving = TARGET[0] + 2 * np.exp(-np.asarray(line.get_xdata()))
    np.testing.assert_allclose(line.get_ydata(), moving**2 + 4.25, rtol=1e-5)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["CONVERGED"]


def test_medians_and_quantiles_leave_nan_out_until_half_of_the_curves_are_gone(ax):
    values = np.arange(11.0)[:, None] * np.ones(4)
    values[:5, 2] = np.nan
    values[:6, 3] = np.nan
    lf.plot.band(ax, np.arange(4.0), values, lf.plot.look(0), "flows")
    (line,) = ax.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])  # time 0 has no place
    np.testing.assert_array_equal(line.get_ydata(), [5, 7.5, np.nan])
    corners = ax.collections[0].get_paths()[0].vertices
    assert {(1.0, 1.0), (1.0, 9.0)} <= set(map(tuple, corners))


def test_filters_are_products_of_the_layers_beside_the_truth(ax):
    arch = lf.Architecture(7, (3, 2), (2, 1))
    params = (np.array([1.0, -2.0, 3.0]), np.array([2.0, -1.0]))
    expected = np.convolve(params[0], [2.0, 0.0, -1.0])
    lf.plot.filters(arch, params, truth=np.ones(5), ax=ax)
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), expected)
    assert [bar.get_height() for bar in ax.patches] == [1] * 5
    batch = tuple(np.stack([w, 3 * w, np.nan * w]) for w in params)
    batched = lf.plot.filters(arch, batch, ax=figure.Figure().subplots())
    np.testing.assert_allclose(batched.get_lines()[0].get_ydata(), 5 * expected)


def test_taps_beyond_the_frame_are_arrows_with_their_value(ax):
    ax.set_ylim(-1, 1)
    lf.plot.filter_marks(ax, np.array([[0.5, 7.25, -3.0]]), lf.plot.look(0))
    np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), [0.5])
    assert [text.get_text() for text in ax.texts] == ["7.25", "-3"]
    assert all(abs(text.xy[1]) < 1 for text in ax.texts)


def marks(ax):
    """Marked complex numbers by label."""
    drawn = [line for line in ax.get_lines() if line.get_linestyle() == "None"]
    return {line.get_label(): np.sort_complex(line.get_xdata() + 1j * line.get_ydata()) for line in drawn}


def test_roots_of_a_product_are_those_of_its_layers_and_coalesced_ones_are_marked(ax):
    arch = lf.Architecture(10, (3, 2, 2), (1, 2, 1))  # taps of the third layer are 2 apart
    layers = (np.poly([0.5, -0.5])[::-1], np.array([2.0, 1.0]), np.array([0.25, 1.0]))
    lf.plot.roots(arch, layers, ax=ax)
    shown = marks(ax)
    np.testing.assert_allclose(shown["layer 1"], [-0.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(shown["layer 2"], [-2], atol=1e-12)
    np.testing.assert_allclose(shown["layer 3"], [-0.5j, 0.5j], atol=1e-12)
    np.testing.assert_allclose(
        np.poly(shown["end-to-end filter $v$"]), np.poly([0.5, -0.5, -2, 0.5j, -0.5j]), atol=1e-9
    )
    assert set(shown) == {"layer 1", "layer 2", "layer 3", "end-to-end filter $v$"}
    same = (layers[0], layers[1], np.array([-0.25, 1.0]))  # z^2 = 1/4: both roots of the first layer
    other = lf.plot.roots(arch, same, ax=figure.Figure().subplots())
    np.testing.assert_allclose(marks(other)["coalesced, nearer than 0.001"], [-0.5, -0.5, 0.5, 0.5], atol=1e-12)


def test_roots_far_away_stand_at_the_border_with_their_modulus_and_those_at_infinity_nowhere(ax):
    lf.plot.root_marks(ax, [np.array([[200.0, 1.0]]), np.array([[0.5, 1.0, 0.0]])], [1, 1])
    assert [text.get_text() for text in ax.texts] == ["|z| = 200"]
    assert np.all(np.abs(marks(ax)["layer 1"]) < ax.get_xlim()[1])
    np.testing.assert_allclose(marks(ax)["layer 2"], [-0.5])


def lines(ax):
    """Complex places of all lines that join several of them, but the unit circle and the axes."""
    drawn = [line for line in ax.get_lines() if line.get_linestyle() != "None" and line.get_color() != "#999999"]
    return [line.get_xdata() + 1j * np.asarray(line.get_ydata()) for line in drawn if len(line.get_xdata()) > 2]


def test_roots_are_followed_whatever_their_order_and_two_that_meet_go_on_as_two():
    time = np.linspace(0, 1, 41)
    circling, growing = 0.8 * np.exp(3j * time), 0.5 + time
    shuffled = [np.array([a, b])[:: 1 if i % 3 else -1] for i, (a, b) in enumerate(zip(circling, growing, strict=True))]
    first, second = sorted(followed(shuffled), key=lambda path: path[0].real, reverse=True)
    np.testing.assert_array_equal(first, circling)
    np.testing.assert_array_equal(second, growing)
    meeting = [np.roots([1, 0, c]).astype(complex) for c in np.linspace(-0.5, 0.5, 41)]  # real, double, imaginary
    paths = followed(meeting)
    assert [len(path) for path in paths] == [41, 41]
    np.testing.assert_allclose(np.sort_complex([path[0] for path in paths]), [-(0.5**0.5), 0.5**0.5])
    np.testing.assert_allclose(np.sort_complex([path[-1] for path in paths]), [-(0.5**0.5) * 1j, 0.5**0.5 * 1j])


def test_a_root_that_jumps_is_not_taken_for_the_one_before():
    paths = followed([np.array([0.5 + 0j]), np.array([0.6 + 0j]), np.array([-0.9 + 0j]), np.array([-0.8 + 0j])])
    assert [list(path) for path in paths] == [[0.5, 0.6], [-0.9, -0.8]]


def test_a_root_that_passes_through_infinity_leaves_on_one_side_and_comes_in_on_the_other(ax):
    slopes = np.linspace(0.4, -0.4, 80)
    taps = np.stack([np.ones_like(slopes), slopes], axis=-1)  # the root is -1/slope
    lf.plot.root_path_marks(ax, [taps[None]], [1])
    (path,) = lines(ax)
    assert np.isnan(path).any()
    reach = ax.get_xlim()[1]
    for a, b in itertools.pairwise(path.real):
        assert not (a < -reach and b > reach), "a line across the picture"
    np.testing.assert_allclose(path[[0, -1]], [-2.5, 2.5])


def test_paths_of_roots_are_those_of_the_flow_in_closed_form(risk, flows, ax):
    chosen = jax.tree.map(lambda x: x[2:], flows)
    lf.plot.root_paths(risk, chosen, ax=ax)
    decay = np.exp(-CURVATURES * np.asarray(flows.trajectory.time[0])[:, None])
    expected = [np.roots(w[::-1]).astype(complex) for w in TARGET + (STARTS[2] - TARGET) * decay]
    found = [path for path in lines(ax) if len(path)]
    for i in (0, 7, 12):
        near = [min(abs(path - root).min() for path in found) for root in expected[i]]
        np.testing.assert_allclose(near, 0, atol=1e-4)
    inside, beyond = np.sort_complex(expected[-1])
    np.testing.assert_allclose(marks(ax)["layer 1"][0], inside, rtol=1e-4)
    assert [text.get_text() for text in ax.texts] == [f"|z| = {beyond.real:.3g}"]  # at the border of the frame
    np.testing.assert_allclose(marks(ax)["start"], np.sort_complex(expected[0]), rtol=1e-9)


def test_the_spectrum_is_that_of_the_data_and_negative_eigenvalues_have_a_place(risk, flows, ax):
    lf.plot.spectrum(risk, flows.limit, ax=ax)
    line = next(line for line in ax.get_lines() if line.get_label() == "minimum")
    np.testing.assert_allclose(np.reshape(line.get_ydata(), (3, 3)), np.tile(np.sort(CURVATURES), (3, 1)), rtol=1e-9)
    assert ax.get_yscale() == "log"
    assert ax.get_ylim()[0] > 0.1 * CURVATURES.min()  # a line at 0 would stretch the axis
    saddle = figure.Figure().subplots()
    kinds = [lf.critical.Kind.MINIMUM, lf.critical.Kind.STRICT_SADDLE]
    lf.plot.spectrum_marks(saddle, np.array([[1.0, 2.0], [-0.5, np.nan]]), kinds, ["a", "b"])
    assert saddle.get_yscale() == "symlog"
    shown = {one.get_label(): (list(one.get_xdata()), list(one.get_ydata())) for one in saddle.get_lines()}
    assert shown["strict saddle"] == ([1], [-0.5])


def test_level_lines_are_ellipses_around_the_minimum_and_what_lies_off_the_plane_is_hollow(risk, flows, ax):
    first, second = np.array([1.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.0])
    off = (TARGET + np.array([0.5, 0.0, 2.0]))[None]
    lf.plot.landscape(risk, [(TARGET,)], ((first,), (second,)), flows=flows, points=(off,), reach=2.0, size=161, ax=ax)
    drawn = next(one for one in ax.collections if hasattr(one, "levels"))
    for level, path in zip(drawn.levels[3:], drawn.get_paths()[3:], strict=True):
        a, b = path.vertices[np.isfinite(path.vertices).all(axis=1)].T
        np.testing.assert_allclose((a**2 + 4 * b**2) / 2, level, rtol=0.01)
    shown = {one.get_label(): one for one in ax.get_lines()}
    np.testing.assert_allclose(shown["minimum"].get_xydata(), [[0, 0]], atol=1e-12)
    np.testing.assert_allclose(shown["not critical, projected"].get_xydata(), [[0.5, 0]], atol=1e-12)
    path = shown["flow, projected"].get_xydata()
    np.testing.assert_allclose(path[0], (STARTS[0] - TARGET)[:2])
    np.testing.assert_allclose(path[-1], [-np.exp(-10), 0], atol=1e-6)


def test_graphs_have_a_line_from_a_saddle_to_each_of_its_ends_at_their_risk(ax):
    risk, ends = np.array([0.0, 0.5, 1.0, 2.0]), np.full((4, 2), np.nan)
    ends[2] = [0, 1]
    lf.plot.morse_marks(ax, risk, np.array([0, 0, 1, 2]), ends, np.array([0]))
    lines = [line for line in ax.get_lines() if line.get_linestyle() != "None"]
    assert [list(line.get_ydata()) for line in lines] == [[1.0, 0.0], [1.0, 0.5]]
    marks = {line.get_label(): list(line.get_ydata()) for line in ax.get_lines() if line not in lines}
    assert marks == {"global minimum": [0.0], "spurious minimum": [0.5], "index 1": [1.0], "index 2": [2.0]}
    assert lines[0].get_xdata()[1] != lines[1].get_xdata()[1]


def test_saddles_of_one_height_stand_side_by_side_and_without_a_census_no_minimum_is_global(ax):
    risk, ends = np.array([0.0, 0.0, 1.0, 1.0, 1.0]), np.full((5, 2), np.nan)
    ends[2:] = [0, 1]
    lf.plot.morse_marks(ax, risk, np.array([0, 0, 1, 1, 1]), ends, None)
    marks = {line.get_label(): line.get_xdata() for line in ax.get_lines() if line.get_linestyle() == "None"}
    assert set(marks) == {"minimum", "index 1"}
    assert len(set(marks["index 1"])) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r, f: lf.plot.morse(r), "write lf.morse_graph"),
        (lambda r, f: lf.plot.trajectories(r), "trajectories needs the result of gradient_flow"),
        (lambda r, f: lf.plot.trajectories(f._replace(trajectory=None)), "times=lf.log_times"),
        (lambda r, f: lf.plot.trajectories(f, "risks"), "choose one of risk, gradient_norm"),
        (lambda r, f: lf.plot.trajectories(f, "balancedness"), "conserves nothing"),
        (lambda r, f: lf.plot.trajectories(f, ax=3), "pass axes of matplotlib"),
        (lambda r, f: lf.plot.filters(r, (np.ones(4),)), r"needs the shapes \[\(3,\)\]"),
        (lambda r, f: lf.plot.filters(r, (np.ones(3),), truth=np.ones(2)), "truth has 2 taps"),
        (lambda r, f: lf.plot.roots(3, (np.ones(3),)), "pass a network, or a risk of one"),
        (lambda r, f: lf.plot.roots(lf.Dense((2, 2)), (np.ones((2, 2)),)), "no polynomials of one variable"),
        (lambda r, f: lf.plot.root_paths(r, f._replace(trajectory=None)), "write gradient_flow"),
        (lambda r, f: lf.plot.root_paths(lf.Architecture(3, (2, 2)), f), r"needs the shapes"),
        (lambda r, f: lf.plot.landscape(r, [(TARGET,)]), "through has 1 points"),
        (lambda r, f: lf.plot.landscape(r, [(TARGET,)] * 3), "span no plane"),
        (lambda r, f: lf.plot.landscape(r, [(TARGET,)], (TARGET,)), "give two"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_drawn_is_said_in_one_line(risk, flows, call, message):
    with pytest.raises(lf.PlotError, match=message) as error:
        call(risk, flows)
    assert "\n" not in str(error.value)
