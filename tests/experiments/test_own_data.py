"""Data of one's own: what can be read is learned from, what cannot is said in one line that names the file."""

import re
from pathlib import Path

import fakes
import numpy as np
import pytest
import xarray as xr

from experiments.cli import main
from experiments.computing.build import build_data
from experiments.figures import filters, house_style
from experiments.networks import architecture
from experiments.planning.loading import load
from experiments.reporting.report import write_report

FOLDER = Path(__file__).parents[2] / "configs"
(RECIPE,) = re.findall(r"```python\n(.*?)```", (FOLDER / "data" / "README.md").read_text(), flags=re.DOTALL)

CONFIGURATION = """
seeds = 2
[experiment]
module = "convergence"
[network]
input_shape = 6
kernel_sizes = [2, 2]
[loss]
kind = "square"
[initializer]
kind = "gaussian"
std = 0.5
"""
FILTER = np.array([1.0, -2.0, 0.5])
INPUTS = np.random.default_rng(0).normal(size=(20, 6)).round(3)
TARGETS = np.stack([np.correlate(x, FILTER, mode="valid") for x in INPUTS])


@pytest.fixture
def validated(tmp_path, capsys):
    """Validates a configuration of file data through the command line; returns exit code and standard error."""

    def run(name, *keys):
        (tmp_path / "own.toml").write_text(
            "\n".join([CONFIGURATION, '[data]\nkind = "file"', f'path = "{name}"', *keys])
        )
        code = main(["validate", str(tmp_path / "own.toml")])
        return code, capsys.readouterr().err

    return run


def csv(rows, header=True):
    """Comma-separated values, with the header that the library reads."""
    names = [f"x{i}" for i in range(6)] + [f"y{i}" for i in range(4)]
    lines = [",".join(names)] * header + [",".join(map(str, row)) for row in rows]
    return "\n".join(lines) + "\n"


def test_files_of_every_kind_hold_the_same_data_from_beside_the_configuration(tmp_path):
    table = np.hstack([INPUTS, TARGETS])
    (tmp_path / "a.csv").write_text(csv(table.tolist()))
    (tmp_path / "b.csv").write_text(csv(table.tolist(), header=False))
    np.save(tmp_path / "c.npy", table)
    np.savez(tmp_path / "d.npz", inputs=INPUTS, targets=TARGETS)
    np.savez(tmp_path / "e.npz", measured=TARGETS, given=INPUTS, weights=np.ones(20), true_filter=FILTER)
    (tmp_path / "own.toml").write_text(
        CONFIGURATION
        + "[sweep]\ndata = ["
        + '{ kind = "file", label = "a", path = "a.csv" }, { kind = "file", label = "b", path = "b.csv", split = 6 },'
        + '{ kind = "file", label = "c", path = "c.npy", split = 6 }, { kind = "file", label = "d", path = "d.npz" },'
        + '{ kind = "file", label = "e", path = "e.npz", inputs = "given", targets = "measured" }]\n'
    )
    sweep = load(tmp_path / "own.toml")
    assert len(sweep.cells) == 5
    found = [build_data(cell.configuration, architecture(cell.configuration)) for cell in sweep.cells]
    for data in found:
        assert np.array_equal(data.inputs, INPUTS)
        assert np.array_equal(data.targets, TARGETS)
    weights, true_filter = found[-1].weights, found[-1].true_filter
    assert weights is not None
    assert true_filter is not None
    assert np.array_equal(weights, np.ones(20))
    assert np.array_equal(true_filter, FILTER)
    (tmp_path / "again.toml").write_text(sweep.toml())
    assert load(tmp_path / "again.toml") == sweep


@pytest.mark.parametrize(
    ("line", "change", "message"),
    [
        (3, "nan", "line 5, column 2: 'nan' is not a finite number"),
        (3, "inf", "line 5, column 2: 'inf' is not a finite number"),
        (0, "", "line 2, column 2: '' is not a finite number"),
        (7, "1.0,2.0", "line 9 has 11 cells, the first one 10"),
        (7, "twenty", "line 9, column 2: 'twenty' is not a finite number"),
    ],
)
def test_a_table_with_gaps_is_refused_with_its_line(validated, tmp_path, line, change, message):
    rows = np.hstack([INPUTS, TARGETS]).tolist()
    rows[line][1] = change
    (tmp_path / "own.csv").write_text(csv(rows))
    code, error = validated("own.csv")
    assert code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert f"own.csv: {message}" in error


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"inputs": INPUTS}, "no array 'targets'"),
        ({"inputs": INPUTS, "targets": TARGETS, "notes": np.zeros(3)}, "unknown array 'notes'"),
        ({"inputs": np.full((20, 6), np.nan), "targets": TARGETS}, "not finite"),
        (
            {"inputs": np.array([{"os": "system"}] * 20), "targets": TARGETS},
            "pickled Python objects, which are not read",
        ),
        ({"inputs": np.array(["a"] * 20), "targets": TARGETS}, "save an array of real numbers"),
        ({"inputs": INPUTS[:, :5], "targets": TARGETS}, "inputs of shape (5,) a sample, but this network needs (6,)"),
        ({"inputs": INPUTS, "targets": INPUTS}, "targets of shape (6,) a sample, but this network needs (4,)"),
        ({"inputs": INPUTS, "targets": TARGETS[:19]}, "20 inputs but 19 targets"),
        ({"inputs": INPUTS, "targets": TARGETS, "weights": -np.ones(20)}, "weights must be at least 0"),
        (
            {"inputs": INPUTS, "targets": TARGETS, "true_filter": np.ones(5)},
            "true_filter of shape (5,), but this network",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_line(validated, tmp_path, arrays, message):
    np.savez(tmp_path / "own.npz", **arrays)
    code, error = validated("own.npz")
    assert code == 2
    assert error.count("\n") == 1
    assert "own.npz" in error
    assert message in error


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("own.npz", ["split = 6"], "split is for .npy and .csv"),
        ("own.csv", ['inputs = "x"'], "inputs and targets name arrays of an .npz file"),
        ("own.csv", ["split = 10"], "split = 10 leaves no target"),
        ("own.csv", ["split = 7"], "inputs of shape (7,) a sample"),
        ("own.csv", ["split = 0"], "data.split: found 0"),
        ("own.csv", ["spilt = 6"], 'did you mean "split"?'),
        ("own.npy", [], "give split = number of input columns"),
        ("own.txt", [], "unknown suffix '.txt'"),
        ("nowhere.csv", [], "no such file"),
        ("folder.csv", [], "is a directory"),
        ("empty.csv", [], "is empty"),
        ("cut.npz", [], "damaged, or not a .npz file"),
        ("cut.npy", ["split = 6"], "truncated or damaged"),
        ("text.npz", [], "damaged, or not a .npz file"),
        ("bytes.csv", [], "damaged, or not a .csv file"),
    ],
)
def test_files_that_cannot_be_used_are_refused_without_a_traceback(validated, tmp_path, name, keys, message):
    table = np.hstack([INPUTS, TARGETS])
    (tmp_path / "own.csv").write_text(csv(table.tolist()))
    np.save(tmp_path / "own.npy", table)
    np.savez(tmp_path / "own.npz", inputs=INPUTS, targets=TARGETS)
    (tmp_path / "own.txt").write_text("1 2")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "empty.csv").touch()
    for suffix in ("npy", "npz"):
        (tmp_path / f"cut.{suffix}").write_bytes((tmp_path / f"own.{suffix}").read_bytes()[:300])
    (tmp_path / "text.npz").write_text("not an archive")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00\x81")
    code, error = validated(name, *keys)
    assert code == 2
    assert "Traceback" not in error
    assert message in error
    assert len(error.splitlines()) == (2 if "data.sp" in error else 1)  # faults of a configuration stand below its name


def test_the_files_of_the_example_are_what_their_recipe_makes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = {}
    exec(compile(RECIPE, "README.md", "exec"), made)
    csv_data, npz_data = (
        build_data(cell.configuration, architecture(cell.configuration))
        for cell in load(FOLDER / "own_data.toml").cells
    )
    for data in (csv_data, npz_data):
        # rounded to 0.01 K: another mathematical library may round a reading to the neighbour
        assert np.abs(data.inputs - made["inputs"]).max() < 0.0101
        assert np.abs(data.targets - made["targets"]).max() < 0.0101
    assert csv_data.weights is None
    assert npz_data.weights is not None
    assert np.array_equal(npz_data.weights, made["weights"])
    assert int((made["weights"] == 0).sum()) == 7
    assert sum(file.stat().st_size for file in (FOLDER / "data").iterdir()) < 30_000


@pytest.mark.slow
@pytest.mark.usefixtures("quick_figures")
def test_the_example_learns_the_thermometer_from_both_files_and_obeys_the_theory(tmp_path):
    out = tmp_path / "run"
    few = ["--seeds", "4", "--set", "analysis.certify=1", "--no-cache"]
    assert main(["run", str(FOLDER / "own_data.toml"), "--out", str(out), *few]) == 0
    claims = write_report(out).claims
    assert {claim.conclusion for claim in claims} == {"agrees"}
    thermometer = np.polymul([0.2, 0.3, 0.5], [0.1, 0.3, 0.6])
    with xr.open_zarr(out / "results.zarr", consolidated=False) as stored:
        readings, weighted = np.abs(stored["limit_filter"].values - thermometer).max((1, 2))
    assert readings < 1e-3
    assert weighted < 1e-4 < readings  # rows with failures weigh nothing: what is left is rounding to 0.01 K


def test_filters_are_drawn_for_the_cells_that_were_computed(tmp_path):
    text = fakes.CONFIGURATION + "data.noise = [0.0, 0.1]\n"
    dataset = fakes.results(tmp_path, text)
    verdict = dataset["verdict"].copy()
    verdict[:, 0] = -1
    with house_style():
        drawing = filters(dataset.assign(verdict=verdict))
        assert drawing is not None
        assert [panel.get_title("left").split("\n")[1] for panel in drawing.figure.axes] == ["noise = 0.1"] * 3
        assert filters(dataset.assign(verdict=verdict * 0 - 1)) is None
