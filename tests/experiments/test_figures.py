"""Figures show every cell of a sweep, say what they leave out, and keep their words as text."""

import itertools
import re
import tomllib
from types import SimpleNamespace

import fakes
import numpy as np
import pytest
import tomli_w
import xarray as xr
from matplotlib.colors import to_hex

import lcnn_flow as lf
from experiments.closed_forms import minima_of_two_pairs
from experiments.computing.rough_paths import rough_paths
from experiments.computing.shown_data import shown_data
from experiments.computing.shown_flows import MOST_FLOWS, shown_flows
from experiments.computing.solved_cell import SolvedCell
from experiments.figures import (
    EXACT,
    error_text,
    excess_risk,
    filter_error,
    filters,
    fit,
    fit_of,
    house_style,
    phase_plane,
    render,
    root_paths,
    roots,
    sharpness_over_time,
    spectrum,
)
from experiments.figures.heat_map import heat_map
from experiments.figures.phase_plane import angles_of, decrease
from experiments.figures.series import cells, panels
from experiments.figures.style import Drawing, grid
from experiments.modules import MODULES
from experiments.reporting.drawings import drawings
from experiments.reporting.report import _inline
from experiments.sweeps.sizes import SHOWN_DATA

FOUR_AXES = (
    fakes.CONFIGURATION
    + '"initializer.std" = [0.1, 0.5, 1.0]\n"data.noise" = [0.0, 0.1]\n"data.outliers.scale" = [1.0, 3.0, 5.0]\n'
)


def texts(figure):
    """All words drawn on the panels of a figure."""
    return [text.get_text() for panel in figure.axes for text in panel.texts]


def test_every_axis_of_a_sweep_is_in_the_panels_and_what_is_left_out_is_said(tmp_path):
    two = fakes.results(tmp_path, fakes.CONFIGURATION + '"initializer.std" = [0.1, 0.5]\n"data.noise" = [0.0, 0.1]\n')
    titles = [title for title, _ in panels(two)]
    assert titles == [f"std = {std}, noise = {noise}" for std in (0.1, 0.5) for noise in (0, 0.1)]
    assert len(cells(two)) == 12
    with house_style():
        drawing = filters(two)
        assert len(drawing.figure.axes) == 12
        assert "cells are shown" not in drawing.caption
        long = filters(fakes.results(tmp_path, FOUR_AXES))
    assert "24 of 54 cells are shown" in long.caption
    assert len(long.figure.axes) == 24


def test_cells_left_out_of_an_error_against_numbers_are_said(tmp_path):
    scales = ", ".join(f"{scale}.0" for scale in range(1, 21))
    text = fakes.CONFIGURATION + f'"initializer.std" = [0.1, 0.5]\n"data.outliers.scale" = [{scales}]\n'
    with house_style():
        drawing = filter_error(fakes.results(tmp_path, text))
    assert len(drawing.figure.axes) == 16
    assert "96 of 120 cells are shown" in drawing.caption


def test_a_sweep_of_which_no_shown_cell_was_computed_has_no_figure(tmp_path):
    labels = ", ".join(f'{{ kind = "filter", values = [{k}.0, 1, 1, 1, 1, 1, 1] }}' for k in range(20))
    dataset = fakes.results(tmp_path, fakes.CONFIGURATION + f'"data.targets" = [{labels}]\n')
    verdict = dataset["verdict"].copy()
    verdict[:, np.arange(20) != 2] = -1  # the third is not among the 16 that are shown
    partial = dataset.assign(verdict=verdict)
    assert list(panels(partial)) == []
    with house_style():
        assert [draw(partial) for draw in (filter_error, excess_risk, filters)] == [None] * 3


def test_the_excess_risk_is_that_above_the_limit_of_each_flow(tmp_path):
    dataset = fakes.results(tmp_path, limit_risk=lambda risk: np.full(risk.shape, 0.1))
    with house_style():
        drawing = excess_risk(dataset)
    line = drawing.figure.axes[0].get_lines()[0]
    excess = (dataset["risk"][0] - 0.1) / (dataset["risk"][0, :, 0] - 0.1)
    early = line.get_xdata() < 1
    expected = excess.median("seed").values[1:]
    np.testing.assert_allclose(line.get_ydata()[early], expected[early], rtol=1e-12)


def test_an_error_at_rounding_is_called_exact(tmp_path):
    assert error_text(1e-15) == "exact"
    assert error_text(2 * EXACT) == "2e-12"
    dataset = fakes.results(tmp_path)
    true = dataset["true_filter"].broadcast_like(dataset["limit_filter"]).transpose(*dataset["limit_filter"].dims)
    with house_style():
        drawing = filter_error(dataset.assign(limit_filter=true * (1 + 1e-15)))
    assert texts(drawing.figure).count("exact") == 3


def test_an_arrow_out_of_the_frame_gives_its_value(tmp_path):
    dataset = fakes.results(tmp_path, limit_filter=lambda v: v * 0 + np.array([0, 0, 123.4, 0, 0, -56.7, 0]))
    with house_style():
        drawing = filters(dataset)
    assert texts(drawing.figure) == ["123", "-56.7"] * 3


def test_vector_graphics_hold_text_a_title_and_a_description(tmp_path):
    with house_style():
        svg = render(filter_error(fakes.results(tmp_path)))["filter_error.svg"].decode()
    assert 'role="img"' in svg
    assert '<title id="filter_error-title">Error of the filter</title>' in svg
    assert '<desc id="filter_error-desc">Relative error ‖v − v*‖ / ‖v*‖' in svg
    assert "relative error of the end-to-end filter</text>" in svg


def test_long_titles_of_panels_do_not_run_into_those_beside_them():
    long = "pseudo-Huber(0.5)\ninitializer = imbalanced(0.5, 10), network = (5, [2, 2]), inputs = autoregressive(0.9)"
    with house_style():
        figure, axes = grid(4, 2.0, "x", "y", columns=4)
        for panel in axes:
            panel.set_title(long)
    render(Drawing("titles", "Titles", figure, "Nothing."))
    frames = [panel._left_title.get_window_extent(dpi=160) for panel in axes]  # as the picture was drawn
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(frames))
    assert {panel.get_title(loc="left").replace(",\n", ", ") for panel in axes} == {long}


@pytest.mark.parametrize(
    "arch",
    [
        lf.Architecture(9, (3, 2), (2, 1)),
        lf.Architecture(7, (2, 3), channels=(2, 3, 2)),
        lf.Architecture((6, 5), ((2, 2), (3, 2))),
    ],
)
def test_stored_patches_predict_what_the_network_does(arch):
    rng = np.random.default_rng(0)
    inputs, weights = rng.normal(size=(4, *arch.sample_shape)), np.array([1.0, 0.0, 2.0, 1.0])
    targets = rng.normal(size=(4, *arch.output_shape))
    params = tuple(rng.normal(size=shape) for shape in arch.layer_shapes)
    shown = shown_data(arch, lf.Dataset(inputs, targets, weights))
    v = np.asarray(lf.end_to_end_filter(arch, params)).reshape(-1)
    np.testing.assert_allclose(shown["shown_patches"] @ v, np.asarray(lf.apply(arch, params, inputs)).reshape(-1))
    np.testing.assert_array_equal(shown["shown_target"], targets.reshape(-1))
    np.testing.assert_array_equal(shown["shown_weight"], np.repeat(weights, targets[0].size))


def test_of_large_data_an_evenly_spaced_part_is_stored():
    arch = lf.Architecture(40, (3, 3))
    rng = np.random.default_rng(0)
    data = lf.Dataset(rng.normal(size=(3000, 40)), rng.normal(size=(3000, 36)))
    shown = shown_data(arch, data)
    assert sum(array.size for array in shown.values()) <= SHOWN_DATA
    assert shown["shown_target"].shape == (2000,)
    assert shown["shown_target"][-1] == data.targets[-1, -1]


def test_the_fit_is_that_of_the_lowest_limit_and_zero_weights_are_told_apart(tmp_path):
    dataset = fakes.results(tmp_path, limit_risk=lambda risk: 1.0 + (np.arange(risk.size) - 5.0) ** 2)
    rng = np.random.default_rng(0)
    patches, target, weight = rng.normal(size=(20, 7)), rng.normal(size=20), (np.arange(20) > 3).astype(float)
    own = dataset.drop_vars("true_filter").assign(
        shown_patches=xr.DataArray(np.tile(patches, (3, 1, 1)), dims=("loss", "point", "tap")),
        shown_target=xr.DataArray(np.tile(target, (3, 1)), dims=("loss", "point")),
        shown_weight=xr.DataArray(np.tile(weight, (3, 1)), dims=("loss", "point")),
    )
    found = fit_of(own.isel(loss=1))
    np.testing.assert_allclose(found.residual, patches @ own["limit_filter"].values[1, 5] - target, rtol=1e-12)
    with house_style():
        drawing = fit(own)
        assert fit(dataset) is None
        assert filters(own) is None  # the fit shows them
    assert len(drawing.figure.axes) == 9
    assert [text.get_text() for text in drawing.figure.legends[0].get_texts()] == [
        "learned: median, 10% to 90%",
        "data",
        "data of weight zero",
        "target = prediction",
    ]
    used = np.median(np.abs(found.residual[weight > 0]))
    assert drawing.figure.axes[5].get_title("left") == f"median |residual| {used:.2g}"


def marked(panel):
    """Complex numbers that are marked in a panel, by label."""
    found = [line for line in panel.get_lines() if line.get_linestyle() == "None"]
    return {line.get_label(): np.sort_complex(line.get_xdata() + 1j * line.get_ydata()) for line in found}


def test_roots_are_those_of_the_lowest_limit_at_the_spacing_of_its_taps(tmp_path):
    text = fakes.CONFIGURATION.replace("input_shape = 12", "input_shape = 13\nstrides = [2, 1, 1]")
    dataset = fakes.results(
        tmp_path,
        text,
        limit_risk=lambda risk: 1.0 + (np.arange(risk.size) - 5.0) ** 2,
        limit_w1=lambda w: w * 0 + np.poly([0.5, -0.25])[::-1],
        limit_w2=lambda w: np.where(np.arange(12)[:, None] == 5, [0.25, 0.0, 1.0], [1.0, 0.0, 3.0]),
        limit_w3=lambda w: w * 0 + np.poly([-1.0, -1.0])[::-1],
    )
    with house_style():
        drawing = roots(dataset.assign(true_filter=dataset["true_filter"] * 0 + [-1, 2, 0, 0, 0, 0, 0]))
    assert len(drawing.figure.axes) == 3
    shown = marked(drawing.figure.axes[1])
    np.testing.assert_allclose(shown["layer 1"], [-0.25, 0.5], atol=1e-12)
    square_roots = [(1j / 2) ** 0.5 * sign for sign in (1, -1)] + [(-1j / 2) ** 0.5 * sign for sign in (1, -1)]
    np.testing.assert_allclose(shown["layer 2"], np.sort_complex(square_roots), atol=1e-12)
    np.testing.assert_allclose(shown["layer 3"] ** 2, [-1] * 4, atol=1e-7)
    assert shown["coalesced, nearer than 0.001"].size == 4  # the double root of the third layer, twice
    np.testing.assert_allclose(shown["true filter"], [0.5])


def test_spectra_have_a_column_per_distinct_limit_with_its_share(tmp_path):
    dataset = fakes.results(tmp_path, limit_risk=lambda risk: np.where(np.arange(12) % 3 == 0, 0.3, 0.1))
    dataset["hessian_eigenvalues"][:, 0] = -1.0
    dataset["kind"][:, 0] = 1
    with house_style():
        drawing = spectrum(dataset)
    panel = drawing.figure.axes[0]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["67%", "33%"]
    lines = {line.get_label(): line.get_xydata() for line in panel.get_lines()}
    np.testing.assert_allclose(lines["minimum"], [[0, value] for value in np.linspace(0.3, 5, 7)])
    np.testing.assert_allclose(lines["strict saddle"], [[1, -1]] * 7)
    with house_style():
        assert spectrum(dataset.assign(orbit=dataset["orbit"] * np.nan)) is None


def moving(layer, *roots):
    """Filters of a layer along two flows, (2, times, taps), whose roots move along the given paths."""
    taps = np.stack([np.poly(places)[::-1].real for places in np.transpose(roots)])
    return np.stack([layer * taps, -taps])


def with_flows(dataset, *layers):
    """The results with the filters of two flows along the way, the same in every cell."""
    found = {}
    for number, taps in enumerate(layers, start=1):
        dims = ("loss", "shown_flow", "shown_step", f"shown_tap_{number}")
        found[f"shown_w{number}"] = (dims, np.tile(taps, (3, 1, 1, 1)))
    return dataset.assign(found)


def test_paths_of_roots_go_from_the_start_to_the_limit_and_coalesced_ones_are_ringed(tmp_path):
    way = np.linspace(0, 1, 30)
    circle = 0.9 * np.exp(1j * (1 + way))
    layers = [
        moving(2, circle, circle.conj()),
        moving(1, 0.5 + 0.5 * way, -0.5 - 0.2 * way),
        moving(3, 1.5 - 0.5 * way, -1.2 + 0 * way),
    ]
    ends = {f"limit_w{i}": (lambda w, taps=taps: w * 0 + taps[0, -1]) for i, taps in enumerate(layers, start=1)}
    dataset = with_flows(fakes.results(tmp_path, **ends), *layers)
    with house_style():
        drawing = root_paths(dataset)
    assert len(drawing.figure.axes) == 3
    assert "along the first 2 flows" in drawing.caption
    shown = marked(drawing.figure.axes[1])
    np.testing.assert_allclose(
        np.unique(shown["layer 1"].round(9)), np.sort_complex([circle[-1], circle[-1].conj()]).round(9)
    )
    np.testing.assert_allclose(shown["layer 2"], [-0.7, -0.7, 1, 1], atol=1e-9)
    np.testing.assert_allclose(shown["coalesced, nearer than 0.001"], [1] * 4, atol=1e-9)  # two layers, two flows
    assert shown["start"].size == 4  # of one layer; every layer has a mark of its own
    with house_style():
        assert root_paths(fakes.results(tmp_path)) is None


def test_of_the_flows_the_first_are_stored_from_start_to_end_at_places_between_which_they_turn_equally():
    arch, angle = lf.Architecture(4, (2, 2)), np.geomspace(0.01, 3, 400)
    turning = np.tile(np.stack([np.cos(angle), np.sin(angle)], axis=-1), (10, 1, 1))
    still = np.full((10, 400, 2), np.arange(1.0, 11)[:, None, None])
    flows = SimpleNamespace(trajectory=SimpleNamespace(params=(turning, still)))
    stored = shown_flows(SolvedCell(None, SimpleNamespace(network=arch), None, flows))
    assert stored["shown_w1"].shape == (MOST_FLOWS, 80, 2)
    found = np.arctan2(stored["shown_w1"][3, :, 1], stored["shown_w1"][3, :, 0])
    np.testing.assert_allclose(found, np.linspace(0.01, 3, 80), atol=0.05)
    assert found[[0, -1]] == pytest.approx([0.01, 3])
    assert (stored["shown_w2"][3] == 4).all()
    assert shown_flows(SolvedCell(None, SimpleNamespace(network=arch), None, SimpleNamespace(trajectory=None))) == {}
    images = SimpleNamespace(network=lf.Architecture((6, 6), ((2, 2), (2, 2))))
    assert shown_flows(SolvedCell(None, images, None, flows)) == {}


def test_rough_paths_are_those_of_the_flow_in_closed_form_and_one_that_ends_elsewhere_is_not_shown():
    target, curvature = np.array([1.0, -2.0, 0.5]), np.array([1.0, 100.0, 0.25])
    inputs = np.diag(np.sqrt(3 * curvature))
    risk = lf.EmpiricalRisk(lf.Architecture(3, (3,)), lf.losses.Square(), lf.Dataset(inputs, inputs @ target[:, None]))
    start, time = np.array([[3.0, -1.0, 0.3], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]), np.array([2.0, 50.0, 1.0])
    final = target + (start - target) * np.exp(-curvature * time[:, None])
    final[2] += 1
    (path,) = rough_paths(risk, [start], [final], time)
    np.testing.assert_array_equal(path[:2, 0], start[:2])
    np.testing.assert_array_equal(path[:2, -1], final[:2])
    np.testing.assert_allclose(path[:2, -2], final[:2], atol=2e-3)
    assert np.isnan(path[2]).all()
    middle = path[0, np.abs(path[0, :, 0] - 2).argmin()]  # where exp(-t) = 1/2
    shrunk = (middle[0] - 1) / 2
    np.testing.assert_allclose(middle[2], 0.5 - 0.2 * shrunk**0.25, atol=2e-3)


CURVATURE = np.array(
    [[27.71023675, 13.47872437, -9.0853], [13.47872437, 7.86128, -7.31691], [-9.0853, -7.31691, 18.21804]]
)
PULL = CURVATURE @ [0.41970709, -1.87370725, -0.8317362]


def test_angles_are_those_of_the_two_factors_of_a_filter():
    for first, second in ((0.3, 2.5), (1.2, 1.2), (0.0, 0.7), (np.pi / 2, 3.0)):
        v = 1.7 * np.convolve([np.cos(first), np.sin(first)], [np.cos(second), np.sin(second)])
        np.testing.assert_allclose(np.sort(angles_of(v)), np.sort([first, second]), atol=1e-7)


def test_the_decrease_over_two_angles_is_largest_at_the_minima_of_the_closed_form():
    minima, risks = minima_of_two_pairs(PULL, CURVATURE)
    assert len(minima) == 2  # least squares has no two real roots
    most = PULL @ np.linalg.solve(CURVATURE, PULL) / 2
    for taps, risk in zip(minima, risks, strict=True):
        first, second = angles_of(taps)
        here = decrease(PULL, CURVATURE, first, second)
        np.testing.assert_allclose(here, -risk / most, rtol=1e-9)
        beside = first + 0.02 * np.cos(np.arange(12)), second + 0.02 * np.sin(np.arange(12))
        assert (decrease(PULL, CURVATURE, *beside) < here).all()


def test_the_phase_plane_has_a_panel_per_landscape_with_its_critical_points_and_flows(tmp_path):
    text = fakes.CONFIGURATION.replace("kernel_sizes = [3, 3, 3]", "kernel_sizes = [2, 2]")
    minima, risks = minima_of_two_pairs(PULL, CURVATURE)
    way = np.linspace(0.2, 1.0, 30)
    circling = np.stack([np.cos(way), np.sin(way)], axis=-1)
    spurious = np.where(np.arange(12) < 4, 1.0, 0.0)
    dataset = with_flows(fakes.results(tmp_path, text), np.stack([circling, -circling]), np.stack([circling] * 2))
    points = {
        "census_status": ("loss", np.zeros(3, np.int32)),
        "point_risk": (("loss", "critical_point"), np.tile(risks, (3, 1))),
        "point_index": (("loss", "critical_point"), np.zeros((3, 2))),
        "point_is_lowest": (("loss", "critical_point"), np.tile([1.0, 0.0], (3, 1))),
        "point_filter": (
            ("loss", "critical_point", "tap"),
            np.tile(np.pad(minima, ((0, 0), (0, 4)), constant_values=np.nan), (3, 1, 1)),
        ),
        "census_point": (("loss", "seed"), np.tile(spurious, (3, 1)) * [[0], [1], [0]]),
        "pull": (("loss", "tap"), np.tile(np.pad(PULL, (0, 4), constant_values=np.nan), (3, 1))),
        "curvature": (("loss", "tap", "other_tap"), np.full((3, 7, 7), np.nan)),
        "shown_weight": (("loss", "point"), np.ones((3, 5))),  # of data, not of a layer
    }
    points["curvature"][1][:, :3, :3] = CURVATURE
    with house_style():
        drawing = phase_plane(dataset.assign(points))
    (panel,) = drawing.figure.axes  # the three cells have the same data
    assert panel.get_title("left").endswith(r"$\ell_{4}$")  # where starts end in the spurious minimum
    shown = {line.get_label(): line.get_xydata() for line in panel.get_lines()}
    for label, taps in (("global minimum", minima[0]), ("spurious minimum", minima[1])):
        np.testing.assert_allclose(np.sort(shown[label], axis=1), np.sort([angles_of(taps)] * 2, axis=1))
    np.testing.assert_allclose(shown["flow"], np.stack([way, way], axis=-1))  # w and -w have one angle


def test_the_sharpness_of_flows_has_the_learning_rate_of_its_edge_beside_it(tmp_path):
    dataset = fakes.results(tmp_path)
    values = 2 + 0 * dataset["risk"]
    with house_style():
        drawing = sharpness_over_time(dataset.assign(sharpness=values))
        assert sharpness_over_time(dataset) is None
        assert sharpness_over_time(dataset.assign(sharpness=values, flow_sharpness=values)) is None
    panel = drawing.figure.axes[0]
    np.testing.assert_allclose(panel.get_lines()[0].get_ydata(), 2)
    (beside,) = panel.child_axes
    drawing.figure.draw_without_rendering()
    np.testing.assert_allclose(sorted(beside.get_ylim()), sorted(2 / np.array(panel.get_ylim())))


def test_a_report_shows_the_fit_of_own_data_and_the_sharpness_where_it_is_stored(tmp_path):
    dataset = fakes.results(tmp_path)
    dataset = dataset.assign(
        sharpness=2 + 0 * dataset["risk"],
        shown_patches=(("loss", "point", "tap"), np.ones((3, 4, 7))),
        shown_target=(("loss", "point"), np.arange(12.0).reshape(3, 4)),
        shown_weight=(("loss", "point"), np.ones((3, 4))),
    )
    module = MODULES["bounds"]
    names = [drawing.name for drawing in drawings(dataset, module)]
    assert "fit" not in names
    assert names[-1] == "sharpness_over_time"
    configuration = tomllib.loads(dataset.attrs["configuration"])
    configuration["data"] = {"kind": "file", "path": "mine.csv"}
    dataset.attrs["configuration"] = tomli_w.dumps(configuration)
    assert "fit" in [drawing.name for drawing in drawings(dataset, module)]


def test_numbers_on_heat_maps_can_be_read_and_keep_their_colours_in_the_dark(tmp_path):
    text = fakes.CONFIGURATION + '"initializer.std" = [0.1, 0.5]\n'
    dataset = fakes.results(tmp_path, text)
    for seen in range(0, 21, 2):
        with house_style():
            drawing = heat_map(dataset, "shares", "Shares", "", lambda cell, seen=seen: (seen, 20), lambda cell: True)
        panel = drawing.figure.axes[0]
        ground, words = panel.collections[0].get_facecolor()[0], panel.texts[0].get_color()
        assert fakes.contrast(words, to_hex(ground)) >= 4.4
    turning = re.findall(r"var\(--(\w+),", _inline(render(drawing)["shares.svg"].decode(), "shares"))
    assert words[1:] not in turning
