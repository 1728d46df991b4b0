"""Two runs agree or not, flow by flow, and what differs is named with both values."""

import json
import shutil

import fakes
import numpy as np
import pytest
import xarray as xr

from experiments.errors import UserError
from experiments.results import differences
from experiments.results.compare import compare

AXES = "data.noise = [0.0, 0.1]\n"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Results over losses and noise; not to be changed."""
    return fakes.results(tmp_path_factory.mktemp("base"), fakes.CONFIGURATION + AXES)


@pytest.fixture(scope="module")
def stored_base(tmp_path_factory, base):
    """A directory with the base, to be copied: that is much faster than to store it again."""
    directory = tmp_path_factory.mktemp("stored")
    fakes.write_results(directory, base)
    return directory


@pytest.fixture
def compared(tmp_path, base, stored_base):
    """Compares the base with another Dataset, or two others."""

    def stored(dataset, name):
        directory = tmp_path / name
        shutil.rmtree(directory, ignore_errors=True)
        if dataset is base:
            shutil.copytree(stored_base, directory)
        else:
            directory.mkdir()
            dataset.to_zarr(directory / "results.zarr", consolidated=False)
        return directory

    def run(second, first=base, **options):
        return compare(stored(first, "one"), stored(second, "two"), **options)

    return run


def changed(dataset, name, index, value):
    """The Dataset with one entry of one variable replaced."""
    array = dataset[name].copy(deep=True)
    array[index] = value
    return dataset.assign({name: array})


def by_name(comparison):
    """Comparisons of variables by their names."""
    return {one.name: one for one in comparison.variables}


def test_a_run_agrees_with_itself_to_the_last_bit_and_nan_equals_nan(compared, base):
    assert base["certified_index"].isnull().any()
    comparison = compared(base)
    assert comparison.agree
    assert all(one.identical and one.largest == 0 for one in comparison.variables)
    assert comparison.flows == 3 * 2 * 12
    assert not {**comparison.configuration, **comparison.made_by}
    assert "to the last bit" in str(comparison)


def test_wall_times_do_not_count(compared, base):
    comparison = compared(base.assign(wall_time=2 * base["wall_time"]))
    assert comparison.agree
    assert "wall_time" not in by_name(comparison)


def test_a_difference_below_rtol_is_rounding_and_is_measured_in_the_scale_of_the_flow(compared, base):
    spot = (1, 0, 4, 2)
    flow = base.isel(loss=1, noise=0, seed=4)
    scale = max(float(abs(flow[name]).max()) for name in ("limit_filter", "final_w1", "final_w2", "final_w3"))
    other = changed(base, "limit_filter", spot, float(base["limit_filter"][spot]) + 1e-11 * scale)
    comparison = compared(other)
    assert comparison.agree
    found = by_name(comparison)["limit_filter"]
    assert not found.identical
    assert found.largest == pytest.approx(1e-11, rel=1e-3)
    assert "to rounding  limit_filter: up to 1.0e-11" in str(comparison)


def test_a_difference_above_rtol_is_named_by_cell_seed_entry_and_both_values(compared, base):
    other = changed(base, "limit_filter", (1, 1, 4, 2), 12.5)
    other = changed(other, "limit_filter", (2, 0, 7, 6), -3.0)
    comparison = compared(other)
    assert not comparison.agree
    found = by_name(comparison)["limit_filter"]
    assert (found.differing, found.compared, found.of_cells) == (2, 72, False)
    assert found.examples == (
        f"l_4, noise = 0.1, seed 4, tap 2: {float(base['limit_filter'][1, 1, 4, 2]):.12g} | 12.5",
        f"pseudo_huber(0.1), noise = 0, seed 7, tap 6: {float(base['limit_filter'][2, 0, 7, 6]):.12g} | -3",
    )
    assert [one.name for one in comparison.differing] == ["limit_filter"]
    assert all(example in str(comparison) for example in found.examples)


def test_trajectories_are_named_by_their_time_and_cells_without_seed(compared, base):
    other = changed(base, "risk", (0, 0, 0, 60), 7.0)
    other = changed(other, "sample_count", (2, 1), 9.0)
    found = by_name(compared(other))
    assert found["risk"].examples == (
        f"square, noise = 0, seed 0, time 10000: {float(base['risk'][0, 0, 0, 60]):.12g} | 7",
    )
    assert found["sample_count"].examples == ("pseudo_huber(0.1), noise = 0.1: 8 | 9",)
    assert (found["sample_count"].of_cells, found["sample_count"].compared) == (True, 6)


def test_verdicts_and_kinds_differ_by_word(compared, base):
    other = changed(changed(base, "verdict", (0, 0, 3), 4), "kind", (0, 0, 3), -1)
    comparison = compared(other)
    assert by_name(comparison)["verdict"].examples == ("square, noise = 0, seed 3: CONVERGED | TIME_LIMIT",)
    assert by_name(comparison)["kind"].examples == ("square, noise = 0, seed 3: minimum | NOT_COMPUTED",)
    assert "differ in 2 of" in str(comparison)
    assert "verdicts, kinds and limits agree" not in str(comparison)


def test_conclusions_that_agree_are_said_to_agree_when_only_the_way_there_differs(compared, base):
    comparison = compared(base.assign(steps=base["steps"] + 1))
    assert not comparison.agree
    assert "; verdicts, kinds and limits agree" in str(comparison)


def test_a_number_instead_of_nan_differs_and_minus_zero_is_rounding(compared, base):
    other = changed(base, "existence_radius", (0, 0, 11), 1e-15)
    other = changed(other, "optimality_gap", (0, 0, 1), -0.0)
    found = by_name(compared(other))
    assert found["existence_radius"].largest == np.inf
    assert found["existence_radius"].examples == ("square, noise = 0, seed 11: nan | 1e-15",)
    assert (found["optimality_gap"].identical, found["optimality_gap"].largest) == (False, 0.0)


def test_what_vanishes_but_for_rounding_is_not_compared_digit_by_digit(compared, base):
    other = base.assign(
        relative_gradient=7 * base["relative_gradient"],
        polish_distance=base["polish_distance"] + 1e-13,
        optimality_gap=base["optimality_gap"] + 1e-14,
    )
    comparison = compared(other)
    assert comparison.agree
    start = float((base["final_risk"] + base["final_energy"])[0, 0, 1])
    assert 1e-14 / start <= by_name(comparison)["optimality_gap"].largest < 1e-12


def test_rtol_decides_what_is_rounding(compared, base):
    other = base.assign(final_time=base["final_time"] * (1 + 1e-6))
    assert compared(other, rtol=1e-5).agree


def test_a_stricter_rtol_finds_more(compared, base):
    other = base.assign(final_time=base["final_time"] * (1 + 1e-6))
    found = by_name(compared(other, rtol=1e-7))["final_time"]
    assert found.differing == 72
    assert found.largest == pytest.approx(1e-6, rel=1e-5)
    assert len(found.examples) == 3


def test_cells_and_flows_computed_in_one_run_only_are_named_and_left_out(compared, base):
    verdict = base["verdict"].copy(deep=True)
    verdict[1, 0] = -1
    verdict[2, 1, 5:] = -1
    other = base.assign(verdict=verdict, risk=base["risk"].where(verdict >= 0))
    comparison = compared(other)
    assert not comparison.agree
    assert comparison.flows == 72 - 12 - 7
    one = comparison.names[0]
    assert comparison.unmatched == (
        f"l_4, noise = 0: 12 flows computed only in {one}",
        f"pseudo_huber(0.1), noise = 0.1: 7 flows computed only in {one}",
    )
    assert not comparison.differing
    assert "agree in what both have, but not all is in both" in str(comparison)


def test_cells_are_matched_by_label_and_flows_by_seed_whatever_their_order(compared, base):
    other = base.isel(loss=[2, 0], noise=[1], seed=slice(5)).transpose("noise", "loss", ...)
    other = other.assign_attrs(axes=json.dumps(["noise", "loss"]))
    comparison = compared(other)
    assert comparison.flows == 2 * 5
    assert not comparison.differing
    one = comparison.names[0]
    assert comparison.unmatched == (
        f"loss = l_4: only in {one}",
        f"noise = 0.0: only in {one}",
        f"seed = 5, 6, ..., 11 (7 of them): only in {one}",
    )


def test_cells_whose_further_keys_differ_are_not_the_same(compared, base):
    first = base.assign_coords(samples=("noise", [32, 64]))
    comparison = compared(base.assign_coords(samples=("noise", [32, 65])), first=first)
    assert comparison.flows == 3 * 12
    assert len(comparison.unmatched) == 2


def test_runs_with_other_axes_cannot_be_compared(compared, base):
    other = base.isel(noise=0, drop=True).assign_attrs(axes='["loss"]')
    comparison = compared(other)
    assert not comparison.agree
    assert comparison.flows == 0
    assert "cannot be compared" in str(comparison)
    assert "axes: loss, noise in" in str(comparison)


def test_variables_of_one_run_only_are_named(compared, base):
    comparison = compared(base.drop_dims("time").drop_vars("lojasiewicz_exponent"))
    assert not comparison.agree
    assert len(comparison.unmatched) == 1
    assert "lojasiewicz_exponent" in comparison.unmatched[0]
    assert "risk" in comparison.unmatched[0].split(": ")[1].split(", ")


def test_trajectories_at_other_times_are_not_compared(compared, base):
    comparison = compared(base.assign_coords(time=2 * base["time"]))
    assert comparison.unmatched == ("trajectories are not compared: their times differ",)
    assert "risk" not in by_name(comparison)


def test_networks_filled_up_to_a_greater_depth_agree_with_those_that_are_not(compared, base):
    shallow = base.isel(layer=slice(2))
    above = xr.DataArray(np.arange(3) < 2, dims="layer")
    deep = base.assign({name: base[name].where(above) for name in ("squared_norms", "norm_bound")})
    assert compared(shallow, first=deep).agree
    assert {one.name for one in compared(base, first=shallow).differing} == {"squared_norms", "norm_bound"}


def test_configurations_are_compared_key_by_key_except_for_words_and_computing(compared, base, tmp_path):
    text = fakes.CONFIGURATION.replace('"Made up"', '"Other words"').replace("[flow]", "[flow]\nrtol = 1e-5")
    text = text.replace("delta = 0.1", "delta = 0.2") + AXES + "[compute]\nblock_size = 7\n"
    other = base.assign_attrs(configuration=fakes.sweep_of(tmp_path, text).toml())
    comparison = compared(other)
    assert comparison.configuration == {"flow.rtol": ("absent", "1e-05"), "sweep.loss[2].delta": ("0.1", "0.2")}
    assert "flow.rtol            absent | 1e-05" in str(comparison)


def test_versions_device_and_revision_are_shown_where_they_differ(compared, base):
    manifest = {
        **fakes.MANIFEST,
        "versions": {"jax": "1"},
        "git": {"revision": "abc", "dirty": True},
        "sessions": [{"engine": "slurm", "devices": ["gpu H200"]}, {"engine": "local", "devices": ["cpu cpu"]}],
    }
    comparison = compared(base.assign_attrs(manifest=json.dumps(manifest)))
    assert comparison.agree
    found = comparison.made_by
    assert found["versions.jax"] == ("0", "1")
    assert found["git.revision"] == ("absent", "abc")
    assert found["devices"] == ("", "cpu cpu, gpu H200")
    assert found["engine"] == ("", "local, slurm")


def test_runs_of_a_single_cell_are_compared_too(compared, tmp_path):
    text = fakes.CONFIGURATION.partition("[sweep]")[0] + '[loss]\nkind = "square"\n'
    single = fakes.results(tmp_path, text).drop_dims("time")
    comparison = compared(changed(single, "sample_count", (), 9.0), first=single)
    assert comparison.flows == 12
    assert [one.name for one in comparison.differing] == ["sample_count"]
    assert by_name(comparison)["sample_count"].examples == ("the only cell: 8 | 9",)


def test_the_size_of_slabs_changes_nothing(compared, base, monkeypatch, tmp_path):
    other = changed(base, "risk", (2, 0, 7, 6), -3.0)
    other = changed(other, "limit_filter", (1, 1, 4, 2), 12.5)
    whole = compared(other)
    monkeypatch.setattr(differences, "_SLAB_BYTES", 50_000)
    assert compare(tmp_path / "one", tmp_path / "two") == whole


def test_a_directory_without_results_and_a_damaged_store_are_mistakes_of_the_user(compared, base, tmp_path):
    compared(base)
    with pytest.raises(UserError, match="no such directory"):
        compare(tmp_path / "one", tmp_path / "nowhere")
    chunk = next(f for f in sorted((tmp_path / "two" / "results.zarr" / "limit_w1" / "c").rglob("*")) if f.is_file())
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(UserError, match="limit_w1 is damaged"):
        compare(tmp_path / "one", tmp_path / "two")
