"""Axes: products and zips, their names and coordinates, and cells that are put together from checked sections."""

import copy
import itertools
import json
import tempfile
import time
from pathlib import Path

import fakes
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.faults import ConfigurationError
from experiments.planning.checks import check_plan
from experiments.planning.loading import load, sweep_of_toml
from experiments.schema import Configuration
from experiments.sweeps.axes import Axis
from experiments.sweeps.coordinates import coordinates
from experiments.sweeps.sweep import Sweep

BASE = fakes.CONFIGURATION.split("[sweep]")[0] + '[loss]\nkind = "square"\n'
ZIP = """
[sweep]
initializer.std = [0.5, 1.0]
[[sweep.zip]]
data.noise = [0.0, 0.1, 0.2]
data.samples = [32, 64, 128]
"""


@pytest.fixture
def file(tmp_path):
    """A configuration of one axis and one zip."""
    path = tmp_path / "some.toml"
    path.write_text(BASE + ZIP)
    return path


def faults_of(tmp_path, sweep="", **options):
    """Faults by path of a configuration with these lines on axes; empty for a good one."""
    file = tmp_path / "some.toml"
    file.write_text(BASE + sweep)
    try:
        load(file, **options)
    except ConfigurationError as error:
        return {fault.path: fault.message for fault in error.faults}
    return {}


def numbers(sweep):
    """What varies in the cells of the configuration above."""
    cells = [cell.configuration for cell in sweep.cells]
    return [(cell.initializer.std, cell.data.noise, cell.data.samples) for cell in cells]


def test_keys_of_a_zip_vary_together_and_multiply_with_other_axes(file):
    sweep = load(file)
    assert sweep.shape == (2, 3)
    together = [(0.0, 32), (0.1, 64), (0.2, 128)]
    assert numbers(sweep) == [(std, *pair) for std in (0.5, 1.0) for pair in together]
    assert sweep.cells[1].name == "std = 0.5, noise = 0.1, samples = 64"
    assert [len(group) for group in sweep.groups] == [2, 2, 2]  # another number of samples compiles anew


def test_a_zip_by_hand_is_the_zip_of_a_file(file, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(BASE + ZIP.split("[[")[0])
    assert load(other, zips=["data.noise=[0.0, 0.1, 0.2]", "data.samples=[32, 64, 128]"]) == load(file)


def test_axes_are_ordered_as_products_then_zips_then_those_by_hand(file):
    sweep = load(
        file, axes=["root_seed=[1, 2]", "flow.rtol=[1e-6, 1e-8]"], zips=["data.seed=[1, 2]", "data.noise=[0.5, 0.6]"]
    )
    paths = [[key.path for key in axis.keys] for axis in sweep.axes]
    by_hand = [["root_seed"], ["flow.rtol"], ["data.seed", "data.noise"]]
    assert paths == [["initializer.std"], ["data.samples"], *by_hand]
    assert sweep_of_toml(sweep.toml()) == sweep


def test_what_is_set_by_hand_leaves_a_zip_and_the_rest_of_it_stays(file):
    assert numbers(load(file, ["data.noise=0.3"], ["initializer.std=[0.7]"])) == [
        (0.7, 0.3, 32),
        (0.7, 0.3, 64),
        (0.7, 0.3, 128),
    ]
    sweep = load(file, ["data.noise=0.3", "data.samples=5", "initializer.std=0.7"])
    assert (sweep.axes, numbers(sweep)) == ((), [(0.7, 0.3, 5)])


def test_a_zip_of_one_key_is_an_axis_like_any_other(file, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(BASE + "[sweep]\ndata.noise = [0.0, 0.1]\n")
    file.write_text(BASE + "[[sweep.zip]]\ndata.noise = [0.0, 0.1]\n")
    assert load(file) == load(other) == load(file, zips=["data.noise=[0.0, 0.1]"])


PAIR = "[[sweep.zip]]\ndata.noise = [0.0, 0.1]\n"


@pytest.mark.parametrize(
    ("sweep", "path", "shown"),
    [
        (PAIR + "data.samples = [3]", "sweep.zip[0].data.samples", "1 value, and data.noise has 2"),
        (PAIR + PAIR + "data.samples = [1, 2, 3]", "sweep.zip[1].data.noise", "twice"),
        ("[sweep]\ndata.noise = [0.5]\n" + PAIR, "sweep.data.noise", "twice"),
        (PAIR + "data.samples = 3", "sweep.zip[0].data.samples", "an axis is a list of values"),
        (PAIR + "data.samples = [3, 0]", "sweep.zip[0].data.samples[1]", "greater than or equal to 1"),
        (PAIR + "data.nose = [3, 0]", "sweep.zip[0].data.nose[0]", 'did you mean "noise"'),
        (PAIR + "seeds = [3, 4]", "sweep.zip[0].seeds", "cannot be an axis"),
        (PAIR + "[[sweep.zip]]", "sweep.zip[1]", "no keys"),
        (PAIR.replace("[[", "[").replace("]]", "]"), "sweep.zip", "[[sweep.zip]]"),
        ("[sweep]\nzip = [1]", "sweep.zip", "[[sweep.zip]]"),
        (PAIR.replace("0.1", "0.0") + "data.samples = [3, 4]", "sweep.zip[0].data.noise", "put first a key whose"),
        (
            PAIR + "[[sweep.zip]]\ninitializer = [{kind='gaussian', std=1.0}]\ninitializer.std = [1.0]",
            "sweep.zip[1].initializer.std",
            "inside the axis initializer",
        ),
        (
            "[sweep]\ninitializer = [{kind='gaussian', std=1.0}]\n" + PAIR + "initializer.std = [1.0, 2.0]",
            "sweep.zip[0].initializer.std",
            "inside the axis initializer",
        ),
    ],
)
def test_a_bad_zip_is_refused_where_it_was_written(tmp_path, sweep, path, shown):
    sweep = sweep.replace("\ninitializer = ", '\n"initializer" = ').replace("\ninitializer.std", '\n"initializer.std"')
    found = faults_of(tmp_path, sweep)
    assert path in found
    assert shown in found[path]
    assert all(fault.startswith(("sweep.zip", "sweep.data.noise")) for fault in found)


def test_faults_of_a_zip_by_hand_count_it_after_those_of_the_file(tmp_path):
    found = faults_of(tmp_path, PAIR, zips=["data.seed=[1, 2]", "data.samples=[3, 0]"])
    assert set(found) == {"sweep.zip[1].data.samples[1]"}
    assert set(faults_of(tmp_path, PAIR, zips=["data.seed=[1, 2]", "data.seed=[3, 4]"])) == {"sweep.zip[1].data.seed"}
    assert set(faults_of(tmp_path, zips=["data.seed=[1, 2]", "data.samples=[3]"])) == {"sweep.zip[0].data.samples"}


def test_a_value_inside_a_table_of_a_zip_is_not_set_by_hand(tmp_path):
    sweep = "[[sweep.zip]]\nloss = [{kind='lp', p=3}, {kind='lp', p=4}]\ndata.noise = [0.0, 0.1]\n"
    assert "every value of the axis loss" in faults_of(tmp_path, sweep, overrides=["loss.p=5"])["loss.p"]


def test_values_that_results_would_call_alike_must_not_come_first(tmp_path):
    data = "{kind='synthetic', label='mine', samples=%d, inputs={kind='white'}, targets={kind='planted'}}"
    alike = f"[[sweep.zip]]\ndata = [{data % 3}, {data % 4}]\nroot_seed = [5, 6]\n"
    found = faults_of(tmp_path, alike)
    assert set(found) == {"sweep.zip[0].data[1]"}
    assert 'called "mine"' in found["sweep.zip[0].data[1]"]
    assert "put first a key whose values differ" in found["sweep.zip[0].data[1]"]
    better = f"[[sweep.zip]]\nroot_seed = [5, 6]\ndata = [{data % 3}, {data % 4}]\n"
    assert faults_of(tmp_path, better) == {}


def test_coordinates_of_a_zip_share_the_dimension_of_its_first_key(file):
    found = coordinates(load(file))
    assert {name: variable.dims for name, variable in found.items()} == {
        "seed": ("seed",),
        "std": ("std",),
        "noise": ("noise",),
        "samples": ("noise",),
        "time": ("time",),
    }
    assert found["samples"].values.tolist() == [32, 64, 128]
    assert found["samples"].attrs == {"path": "data.samples", "long_name": "samples"}
    assert np.allclose(found["time"][1:], np.geomspace(1e-3, 1e4, 60), rtol=1e-12)
    assert found["time"].values[0] == 0


def test_no_coordinate_is_called_like_a_variable_of_the_results(file):
    axes = ["flow.norm_bound=[1e3, 1e4]", 'initializer.kind=["gaussian", "balanced"]']
    assert [axis.name for axis in load(file, axes=axes).axes[2:]] == ["flow_norm_bound", "initializer_kind"]


@pytest.mark.parametrize(
    ("axis", "stored"),
    [
        ("network.strides=[1, [1, 1, 5]]", ["1", "[1, 1, 5]"]),
        ("flow.polish=[true, false]", [True, False]),
        ("data.seed=[1, 2]", [1.0, 2.0]),
    ],
)
def test_labels_of_every_kind_can_be_stored(tmp_path, file, axis, stored):
    sweep = load(file, ["initializer.std=1.0", "data.noise=0.0", "data.samples=3"], [axis])
    xr.Dataset({}, coordinates(sweep)).to_zarr(tmp_path / "some.zarr", consolidated=False)
    with xr.open_zarr(tmp_path / "some.zarr", consolidated=False) as dataset:
        assert dataset[sweep.axes[0].name].values.tolist() == stored


def paths(sweep):
    """Data files of all cells."""
    return [cell.configuration.model_dump()["data"]["path"] for cell in sweep.cells]


def test_data_files_in_axes_are_found_from_any_directory(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    file = folder / "some.toml"
    tables = "data = [{kind='file', path='a.npz', label='a'}, {kind='file', path='sub/b.npz', label='b'}]"
    file.write_text(BASE.replace("identification", "convergence") + f"[[sweep.zip]]\n{tables}\nroot_seed = [1, 2]\n")
    monkeypatch.chdir(folder)
    sweep = load("some.toml")
    assert paths(sweep) == [str(folder / name) for name in ("a.npz", "sub/b.npz")]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text(sweep.toml())
    monkeypatch.chdir(tmp_path)
    assert load("run/config.toml") == sweep == sweep_of_toml(sweep.toml())
    again = load(file, ["data={kind='file', path='a.npz'}", "root_seed=1"], zips=["data.path=['a.npz', 'sub/b.npz']"])
    assert paths(again) == paths(sweep)


WORDS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="$"), min_size=1, max_size=8)
DATA = {"kind": "synthetic", "samples": 5, "inputs": {"kind": "white"}, "targets": {"kind": "planted"}}
VALUES = {
    "initializer.std": st.floats(1e-3, 1e3),
    "root_seed": st.integers(0, 2**32 - 1),
    "flow.rtol": st.floats(1e-12, 1e-3),
    "flow.polish": st.booleans(),
    "loss": st.sampled_from([{"kind": "square"}, {"kind": "lp", "p": 4}, {"kind": "pseudo_huber", "delta": 0.1}]),
    "data": WORDS.map(lambda word: {**DATA, "label": word}),
    "network.kernel_sizes": st.lists(st.integers(1, 4), min_size=1, max_size=3),
}


@st.composite
def tables(draw):
    """A table `[sweep]`: some keys, as axes of their own or together in zips, with random values."""
    keys = draw(st.permutations(sorted(VALUES)))[: draw(st.integers(0, 6))]
    table = {}
    while keys:
        count = draw(st.integers(1, len(keys)))
        together, keys = keys[:count], keys[count:]
        size = draw(st.integers(1, 2 if together[0] == "flow.polish" else 3))
        first = draw(st.lists(VALUES[together[0]], min_size=size, max_size=size, unique_by=json.dumps))
        lists = [first] + [draw(st.lists(VALUES[key], min_size=size, max_size=size)) for key in together[1:]]
        if count == 1 and draw(st.booleans()):
            table[together[0]] = first
        else:
            table.setdefault("zip", []).append(dict(zip(together, lists, strict=True)))
    return table


def inline(value):
    """TOML of a value, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def lines(table):
    """TOML of a table of axes, in its order."""
    return "".join(f'"{key}" = {inline(values)}\n' for key, values in table.items())


@settings(deadline=None, max_examples=40)
@given(tables(), st.booleans())
def test_any_sweep_is_stored_as_text_that_loads_as_the_same_sweep(table, by_hand):
    zips = table.pop("zip", [])
    text = f"{BASE}[sweep]\n{lines(table)}" + "".join(f"[[sweep.zip]]\n{lines(entry)}" for entry in zips)
    with tempfile.TemporaryDirectory() as folder:
        file, again = Path(folder) / "some.toml", Path(folder) / "config.toml"
        file.write_text(text, encoding="utf-8")
        sweep = load(file, axes=["flow.gradient_rtol=[1e-8, 1e-9]"] if by_hand else [])
        again.write_text(sweep.toml(), encoding="utf-8")
        loaded = load(again)
    assert loaded == sweep == sweep_of_toml(sweep.toml())
    assert loaded.toml() == sweep.toml()
    written = [[key] for key in table] + [list(entry) for entry in zips] + [["flow.gradient_rtol"]] * by_hand
    assert [[key.path for key in axis.keys] for axis in sweep.axes] == written
    names = [cell.name for cell in sweep.cells]
    assert len(set(names)) == len(names) == np.prod(sweep.shape)
    for cell, other in zip(sweep.cells, sweep_of_toml(sweep.toml()).cells, strict=True):
        assert cell == other


def whole(sweep, index):
    """The configuration of a cell from all values of its axes, checked as one."""
    raw = copy.deepcopy(dict(sweep.base))
    for axis, i in zip(sweep.axes, index, strict=True):
        for key in axis.keys:
            *parents, last = key.path.split(".")
            table = raw
            for parent in parents:
                table = table[parent]
            table[last] = key.values[i]
    return Configuration.model_validate(raw)


def test_cells_put_together_from_sections_are_those_that_are_checked_as_a_whole(file):
    axes = ["loss=[{kind='square'}, {kind='lp', p=4}]", "data.seed=[1, 2]", "root_seed=[3, 4]"]
    sweep = load(file, axes=axes, zips=["flow.rtol=[1e-6, 1e-7]", "data.outliers.fraction=[0.2, 0.3]"])
    indices = itertools.product(range(2), range(3), range(2), range(2), range(2), range(2))
    for cell, (number, index) in zip(sweep.cells, enumerate(indices), strict=True):
        assert (cell.number, cell.index) == (number, index)
        assert cell.configuration == whole(sweep, index)


def test_values_that_do_not_go_together_are_refused_with_their_cell(file):
    base = load(file).base
    axes = (
        Axis("noise", "data.noise", (0.0, 0.1)),
        Axis("inputs", "data.inputs", ({"kind": "white"}, {"kind": "autoregressive", "rho": 2.0})),
    )
    (fault,) = check_plan(Sweep(base, axes))
    assert fault.path == "data.inputs.rho"
    assert "(first in the cell noise = 0.0, autoregressive(2))" in fault.message


def test_ten_thousand_cells_are_loaded_and_checked_in_three_seconds(file):
    noise, std = [i / 1000 for i in range(100)], [0.1 + i / 1000 for i in range(100)]
    started = time.process_time()
    axes = [f"data.noise={noise}", f"initializer.std={std}"]
    sweep = load(file, ["data.samples=32"], axes)
    assert len(sweep.cells) == 10_000
    assert len(sweep.groups) == 1
    assert time.process_time() - started < 3
