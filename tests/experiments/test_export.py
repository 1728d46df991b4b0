"""Exports say what the store says, in bounded memory, and never write over a file or half of one."""

import csv
import json
import math
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import fakes
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.errors import UserError
from experiments.results import export as export_module
from experiments.results import flow_table
from experiments.results.export import export
from experiments.results.slabs import slabs
from experiments.results.variables import VERDICTS

pytest.importorskip("h5netcdf")
pytest.importorskip("h5py")
pq = pytest.importorskip("pyarrow.parquet")

AXES = "data.noise = [0.0, 0.1]\n"


def directory_of(folder, dataset, **encoding):
    """A directory that holds nothing but these results."""
    directory = folder / "run"
    directory.mkdir()
    dataset.to_zarr(directory / "results.zarr", consolidated=False, **encoding)
    return directory


@pytest.fixture
def stored(tmp_path):
    """Results over a categorical and a numeric axis with a further coordinate, booleans and a cell that is missing."""
    dataset = fakes.results(tmp_path, fakes.CONFIGURATION + AXES)
    dataset = dataset.assign(sound=dataset["sound"] == 1).assign_coords(samples=("noise", [32, 64]))
    dataset["verdict"][2, 1] = -1
    dataset["verdict"][0, 0, :7] = np.arange(7)
    return dataset


@pytest.fixture
def small_slabs(monkeypatch):
    """Groups of a few rows each."""
    monkeypatch.setattr(flow_table, "_GROUP_BYTES", 8_000)


@given(st.lists(st.integers(1, 6), max_size=4), st.integers(0, 50))
@settings(deadline=None, max_examples=60)
def test_slabs_follow_each_other_in_c_order_and_hold_all_entries(shape, most):
    array = np.arange(math.prod(shape)).reshape(shape)
    parts = [array[part].ravel() for part in slabs(shape, most)]
    assert np.array_equal(np.concatenate(parts), array.ravel())
    assert max(map(len, parts)) <= max(1, most)


def test_netcdf_opens_as_the_dataset_that_was_stored(stored, tmp_path):
    path = export(directory_of(tmp_path, stored), "netcdf")
    assert path == tmp_path / "run" / "results.nc"
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        xr.testing.assert_equal(opened.load(), stored)
        assert set(opened.coords) == {"loss", "noise", "seed", "time", "samples"}
        assert opened.attrs == stored.attrs
        for name in stored.variables:
            assert opened[name].dtype == stored[name].dtype or stored[name].dtype.kind not in "biuf"
            assert opened[name].attrs.keys() == stored[name].attrs.keys()
        assert opened["verdict"].attrs["flag_values"].tolist() == [-1, *VERDICTS]
        assert opened["limit_w1"].attrs == stored["limit_w1"].attrs


def test_netcdf_keeps_attributes_beyond_64_kilobytes_and_values_without_any_axis(tmp_path):
    text = fakes.CONFIGURATION.partition("[sweep]")[0] + '[loss]\nkind = "square"\n'
    dataset = fakes.results(tmp_path, text).assign_attrs(manifest=json.dumps({"long": "ρ" * 100_000}))
    path = export(directory_of(tmp_path, dataset), "netcdf", tmp_path / "all.nc")
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        assert opened["sample_count"].shape == ()
        xr.testing.assert_equal(opened.load(), dataset)
        assert json.loads(opened.attrs["manifest"]) == {"long": "ρ" * 100_000}


def test_a_network_of_one_layer_has_no_interfaces_and_is_exported_all_the_same(stored, tmp_path):
    flat = stored.isel(interface=slice(0))
    directory = directory_of(tmp_path, flat)
    with xr.open_dataset(export(directory, "netcdf"), engine="h5netcdf") as opened:
        xr.testing.assert_equal(opened.load(), flat)
    export(directory, "parquet", trajectories=True)
    assert not any("balancedness" in name for name in pq.read_schema(directory / "results-trajectories.parquet").names)


def table_of(path):
    """A written table, with numbers as they were."""
    if path.suffix != ".csv":
        return pq.read_table(path).to_pandas()

    def value(text):
        try:
            return float(text or "nan")
        except ValueError:
            return {"True": True, "False": False}.get(text, text)

    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return pd.DataFrame([[value(text) for text in row] for row in rows], columns=header)


@pytest.mark.usefixtures("small_slabs")
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_has_a_row_a_flow_with_what_the_dataset_says_about_it(stored, tmp_path, kind):
    path = export(directory_of(tmp_path, stored), kind)
    assert kind == "csv" or pq.ParquetFile(path).num_row_groups > 5
    table = table_of(path)
    assert list(table.columns[:7]) == ["loss", "noise", "samples", "seed", "verdict", "kind", "certificate"]
    assert len(table) == 3 * 2 * 12
    index = [(a, b, c) for a in range(3) for b in range(2) for c in range(12)]
    for row, (loss, noise, seed) in zip(table.itertuples(), index, strict=True):
        flow = stored.isel(loss=loss, noise=noise, seed=seed)
        assert (row.loss, row.noise, row.samples, row.seed) == (flow.loss, flow.noise, [32, 64][noise], seed)
        assert row.verdict == {-1: "NOT_COMPUTED", **VERDICTS}[int(flow["verdict"])]
        assert row.sound == bool(flow["sound"])
        assert [row.steps, row.sample_count, row.wall_time] == [flow["steps"], flow["sample_count"], flow["wall_time"]]
        assert [row.limit_w2_0, row.limit_w2_1, row.limit_w2_2] == flow["limit_w2"].values.tolist()
        assert [getattr(row, f"true_filter_{tap}") for tap in range(7)] == flow["true_filter"].values.tolist()
    assert not any(name.startswith("end_to_end_filter") or name == "time" for name in table.columns)


def test_a_table_carries_configuration_and_units(stored, tmp_path):
    schema = pq.read_schema(export(directory_of(tmp_path, stored), "parquet"))
    assert schema.metadata[b"configuration"].decode() == stored.attrs["configuration"]
    assert schema.metadata[b"format"].decode() == stored.attrs["format"]
    for name, column in {
        "limit_risk": "limit_risk",
        "limit_filter": "limit_filter_3",
        "norm_bound": "norm_bound_2",
    }.items():
        assert schema.field(column).metadata[b"units"].decode() == stored[name].attrs["units"]
        assert schema.field(column).metadata[b"long_name"].decode() == stored[name].attrs["long_name"]
    for name in ("verdict", "kind", "certificate"):
        assert str(schema.field(name).type).startswith("dictionary<")


@pytest.mark.usefixtures("small_slabs")
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_trajectories_are_a_second_table_with_a_row_a_flow_and_time(stored, tmp_path, kind):
    stored = stored.isel(time=slice(20))
    path = export(directory_of(tmp_path, stored), kind, tmp_path / f"flows.{kind}", trajectories=True)
    table = table_of(path.with_name(f"flows-trajectories.{kind}"))
    assert len(table) == 3 * 2 * 12 * 20
    assert "verdict" not in table.columns
    shape = (3, 2, 12, 20)
    assert np.array_equal(table["risk"].to_numpy().reshape(shape), stored["risk"].values)
    assert np.array_equal(table["balancedness_1"].to_numpy().reshape(shape), stored["balancedness"].values[..., 1])
    assert np.array_equal(table["time"].to_numpy().reshape(shape)[1, 1, 5], stored["time"].values)
    assert np.array_equal(table["samples"].to_numpy().reshape(shape)[0, :, 3, 7], [32, 64])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_memory_of_tables_does_not_grow_with_the_number_of_flows(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(flow_table, "_GROUP_BYTES", 2**17)
    few = fakes.results(tmp_path).isel(loss=[0], time=slice(20))
    peaks, sizes = [], []
    for flows in (50, 200, 800):
        dataset = few.isel(seed=np.arange(flows) % 12).assign_coords(seed=np.arange(flows))
        folder = tmp_path / str(flows)
        folder.mkdir()
        chunks = {name: {"chunks": [min(n, 50) for n in v.shape]} for name, v in dataset.data_vars.items() if v.ndim}
        directory = directory_of(folder, dataset, encoding=chunks)
        tracemalloc.start()
        export(directory, kind, folder / "measured", trajectories=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        sizes.append(dataset.nbytes)
    # the first was a warm-up; one variable alone, end_to_end_filter, is 36% of the whole
    assert peaks[2] - peaks[1] < 0.2 * (sizes[2] - sizes[1])


@pytest.mark.parametrize("kind", ["netcdf", "parquet", "csv"])
def test_what_exists_is_never_written_over(stored, tmp_path, kind):
    directory = directory_of(tmp_path, stored)
    export(directory, kind)
    with pytest.raises(UserError, match="exists and is not written over: name another file with --out"):
        export(directory, kind)
    (tmp_path / "x-trajectories.parquet").write_text("mine")
    with pytest.raises(UserError, match="x-trajectories"):
        export(directory, "parquet", tmp_path / "x.parquet", trajectories=True)
    assert not (tmp_path / "x.parquet").exists()
    with pytest.raises(UserError, match="exists"):
        export(directory, kind, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("parqet", None), 'no format "parqet"; known: csv, parquet, netcdf; did you mean "parquet"?'),
        (("netcdf", "{}/nowhere/x.nc"), "nowhere/x.nc cannot be written (No such file or directory)"),
        (("parquet", "{}/nowhere/x.nc"), "nowhere/x.nc cannot be written (Failed to open local file"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(stored, tmp_path, arguments, message):
    kind, out = arguments
    with pytest.raises(UserError) as error:
        export(directory_of(tmp_path, stored), kind, out and Path(out.format(tmp_path)))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("kind", "name"), [("netcdf", "h5netcdf"), ("netcdf", "h5py"), ("parquet", "pyarrow")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(stored, tmp_path, monkeypatch, kind, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf'the package {name} is missing: pip install "lcnn_flow\[export\]"'):
        export(directory_of(tmp_path, stored), kind)
    assert os.listdir(tmp_path / "run") == ["results.zarr"]


def test_comma_separated_values_need_no_further_package(stored, tmp_path, monkeypatch):
    for name in ("h5netcdf", "h5py", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)
    points = xr.DataArray(np.zeros((3, 2, 5)), dims=("loss", "noise", "point"))
    path = export(directory_of(tmp_path, stored.assign(shown_target=points)), "csv")
    assert "shown_target_0" not in path.read_text().splitlines()[0].split(",")


def test_trajectories_that_were_not_stored_are_refused(stored, tmp_path):
    without = stored.drop_dims("time")
    with pytest.raises(UserError, match="holds no trajectories"):
        export(directory_of(tmp_path, without), "parquet", trajectories=True)


@pytest.mark.parametrize("kind", ["netcdf", "parquet", "csv"])
def test_damage_is_said_to_be_damage_and_leaves_no_file(stored, tmp_path, kind):
    directory = directory_of(tmp_path, stored)
    chunk = next(file for file in sorted((directory / "results.zarr" / "limit_w1" / "c").rglob("*")) if file.is_file())
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(UserError, match="limit_w1 is damaged and cannot be read"):
        export(directory, kind)
    assert os.listdir(directory) == ["results.zarr"]


def test_a_code_without_a_meaning_is_said_to_be_damage(stored, tmp_path):
    stored["kind"][0, 0, 3] = 77
    with pytest.raises(UserError, match="kind holds a code without a meaning"):
        export(directory_of(tmp_path, stored), "parquet")


@pytest.mark.parametrize("sizes", [(0, 20_000), pytest.param((3_000, 50_000), marks=pytest.mark.slow)], ids=str)
def test_a_full_disk_ends_in_one_line_and_leaves_no_file(stored, tmp_path, sizes):
    directory = directory_of(tmp_path, stored.isel(loss=[0]))
    code = (
        "import pathlib, resource, sys\n"
        "from experiments.results.export import export\n"
        f"for size in {sizes}:\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))\n"
        "    for kind in ('netcdf', 'parquet', 'csv'):\n"
        "        try:\n"
        "            export(pathlib.Path(sys.argv[1]), kind, trajectories=True)\n"
        "        except Exception as error:\n"
        "            print(type(error).__name__, 'too large' in str(error), len(str(error).splitlines()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(directory)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "UserError True 1\n" * 6
    assert os.listdir(directory) == ["results.zarr"]


def test_netcdf_that_does_not_fit_in_memory_is_refused_with_another_format(stored, tmp_path, monkeypatch):
    directory = directory_of(tmp_path, stored)
    monkeypatch.setattr(export_module, "physical_memory", lambda: 2 * stored.nbytes)
    with pytest.raises(UserError, match=r"netCDF would need .* GiB of memory, .*: write parquet"):
        export(directory, "netcdf")
    assert os.listdir(directory) == ["results.zarr"]


def test_ctrl_c_leaves_no_file(stored, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    directory = directory_of(tmp_path, stored)
    for module, kind in ((export_module, "netcdf"), (flow_table, "parquet"), (flow_table, "csv")):
        monkeypatch.setattr(module, "read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export(directory, kind)
    assert os.listdir(directory) == ["results.zarr"]
