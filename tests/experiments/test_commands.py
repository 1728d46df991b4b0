"""Commands end with the right exit code and one message, never a traceback, and keep what was computed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import fakes
import numpy as np
import pytest
import xarray as xr

import experiments.execute
from experiments import store
from experiments.cli import main
from experiments.loading import load
from experiments.store import RunDirectory

ROOT = Path(__file__).parents[2]
CONFIGURATIONS = sorted((ROOT / "configs").glob("*.toml"))


@pytest.fixture
def configuration(tmp_path):
    """A good configuration file of three cells."""
    file = tmp_path / "made_up.toml"
    file.write_text(fakes.CONFIGURATION)
    return str(file)


@pytest.fixture
def made_up_cells(monkeypatch):
    """Replaces the computation of cells; the returned dictionary maps cell numbers to exceptions to raise."""
    failures = {}

    def run_cell(cell, report=None, certifier=None):
        if cell.number in failures:
            raise failures[cell.number]
        times = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 60)])
        return fakes.cell_arrays(times, seed=cell.number)

    monkeypatch.setattr(experiments.execute, "run_cell", run_cell)
    return failures


def full(*_):
    """A writer on a full disk."""
    raise OSError(28, "No space left on device")


@pytest.fixture
def full_disk(monkeypatch):
    """A disk that takes all files but those whose names hold one of the strings in the returned set."""
    refused = set()
    write = store.write_atomically

    def refuse(path, content):
        if any(word in path.name for word in refused):
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(store, "write_atomically", refuse)
    return refused


@pytest.mark.parametrize(
    "arguments",
    [
        ["rnu"],
        ["run"],
        ["run", "{config}", "--sedes", "3"],
        ["run", "{config}", "--seeds", "three"],
        ["run", "{config}", "--seeds", "0"],
        ["run", "{config}", "--set", "flow.rtol=-1"],
        ["run", "nowhere.toml"],
        ["validate", "{config}", "--axis", "data.noise=3"],
        ["describe", "identificaton"],
        ["report", "nowhere"],
        ["report", "{folder}"],
    ],
)
def test_mistakes_of_the_user_end_with_exit_code_2_and_a_message(arguments, configuration, tmp_path, capsys):
    filled = [a.format(config=configuration, folder=tmp_path) for a in arguments]
    assert main(filled) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_a_mistake_ends_the_process_with_exit_code_2_and_no_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "run", "nowhere.toml"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == "error: nowhere.toml: no such file\n"


@pytest.mark.parametrize("command", [["list"], ["describe", "identification"], ["--help"], ["run", "--help"]])
def test_informative_commands_print_and_succeed(command, capsys):
    assert main(command) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.name)
def test_every_configuration_of_the_project_is_valid(file, capsys):
    assert main(["validate", str(file)]) == 0
    assert "flows in" in capsys.readouterr().out


def test_validate_prints_the_plan_and_the_resolved_configuration(configuration, tmp_path, capsys):
    assert main(["validate", configuration, "--axis", "data.noise=[0.0, 0.1]", "--toml"]) == 0
    plan, _, toml = capsys.readouterr().out.partition("\n\n")
    assert plan.startswith("6 cells x 12 seeds = 72 flows in 3 compile groups")
    (tmp_path / "again.toml").write_text(toml)
    assert load(tmp_path / "again.toml").shape == (3, 2)


@pytest.mark.usefixtures("made_up_cells", "quick_figures")
def test_a_run_writes_all_files_and_a_configuration_that_runs_again(configuration, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["run", configuration, "--out", str(out), "--no-cache"]) == 0
    assert f"report: {out / 'report.html'}" in capsys.readouterr().out
    assert {"config.toml", "manifest.json", "results.zarr", "summary.csv", "report.html"} <= {
        entry.name for entry in out.iterdir()
    }
    assert load(out / "config.toml") == load(configuration)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["cells_finished"] == 3
    assert manifest["precision"] == {"x64": True, "matmul": "highest"}
    assert manifest["versions"]["jax"] == __import__("jax").__version__
    assert not list(out.rglob("*.tmp"))


@pytest.mark.usefixtures("made_up_cells")
@pytest.mark.parametrize("place", ["file/run", "full"])
def test_a_folder_that_cannot_be_used_is_refused_before_computing(
    configuration, tmp_path, place, made_up_cells, capsys
):
    made_up_cells[0] = AssertionError("computed although there is no place for results")
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    assert main(["run", configuration, "--out", str(tmp_path / place), "--no-cache"]) == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.usefixtures("quick_figures")
def test_an_interrupted_run_keeps_its_finished_cells_and_reports_them(configuration, tmp_path, made_up_cells, capsys):
    made_up_cells[2] = KeyboardInterrupt()
    out = tmp_path / "run"
    assert main(["run", configuration, "--out", str(out), "--no-cache"]) == 130
    assert "Traceback" not in capsys.readouterr().err
    with xr.open_zarr(out / "results.zarr", consolidated=False) as dataset:
        assert (dataset["verdict"].values == -1).all(axis=1).tolist() == [False, False, True]
    assert main(["report", str(out)]) == 0


@pytest.mark.usefixtures("made_up_cells", "quick_figures")
def test_a_disk_that_fills_up_loses_no_finished_cell(configuration, tmp_path, full_disk, capsys):
    out = tmp_path / "run"
    full_disk.add("cell-00002")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDirectory, "write_results", full)
        assert main(["run", configuration, "--out", str(out), "--no-cache"]) == 1
    message = capsys.readouterr().err
    assert "2 of 3 cells were finished" in message
    assert f"python -m experiments report {out}" in message
    assert main(["report", str(out)]) == 0
    assert (store.open_results(out)["verdict"] == -1).all("seed").values.tolist() == [False, False, True]


@pytest.mark.usefixtures("made_up_cells", "quick_figures")
def test_a_report_without_room_fails_the_run_and_says_how_to_get_it(configuration, tmp_path, full_disk, capsys):
    full_disk.add("report.html")
    out = tmp_path / "run"
    assert main(["run", configuration, "--out", str(out), "--no-cache"]) == 1
    assert f"report again with: python -m experiments report {out}" in capsys.readouterr().err
    full_disk.clear()
    assert main(["report", str(out)]) == 0


@pytest.mark.usefixtures("made_up_cells", "quick_figures")
def test_a_killed_run_is_reported_from_its_cells_and_a_damaged_cell_is_named(configuration, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["run", configuration, "--out", str(out), "--no-cache"]) == 0
    shutil.rmtree(out / "results.zarr")
    (out / "batches" / "cell-00001.npz").unlink()
    assert main(["report", str(out)]) == 0
    shutil.rmtree(out / "results.zarr")
    (out / "batches" / "cell-00000.npz").write_bytes(b"PK")
    assert main(["report", str(out)]) == 2
    assert "cell-00000.npz is damaged" in capsys.readouterr().err


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write_atomically(tmp_path / "file", "text")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick_figures")
def test_a_failing_cell_ends_with_exit_code_1_and_keeps_the_others(configuration, tmp_path, made_up_cells, capsys):
    made_up_cells[1] = RuntimeError("out of memory")
    out = tmp_path / "run"
    assert main(["run", configuration, "--out", str(out), "--no-cache"]) == 1
    message = capsys.readouterr().err
    assert "cell l_4 failed: RuntimeError: out of memory" in message
    assert "1 of 3 cells were finished" in message
    assert "Traceback" not in message
    assert main(["report", str(out)]) == 0


def test_results_are_never_half_written_under_their_final_name(tmp_path, monkeypatch):
    dataset = fakes.results(tmp_path)
    directory = RunDirectory(tmp_path)
    directory.write_results(dataset)
    whole = xr.Dataset.to_zarr

    def killed(self, store, **options):
        whole(self[["verdict", "kind", "certificate"]], store, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(xr.Dataset, "to_zarr", killed)
    with pytest.raises(KeyboardInterrupt):
        directory.write_results(dataset)
    with xr.open_zarr(tmp_path / "results.zarr", consolidated=False) as kept:
        assert set(kept.data_vars) == set(dataset.data_vars)


def test_data_of_ones_own_are_read_from_beside_the_configuration(configuration, tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", inputs=rng.normal(size=(20, 12)), targets=rng.normal(size=(20, 6)))
    own = ["--set", "experiment.module=convergence", "--set", "data={kind='file', path='mine.npz'}"]
    assert main(["validate", configuration, *own]) == 0
    (tmp_path / "mine.npz").write_bytes(b"not an archive")
    assert main(["validate", configuration, *own]) == 2
    (tmp_path / "mine.npz").unlink()
    assert main(["validate", configuration, *own]) == 2
    messages = capsys.readouterr().err.splitlines()
    assert len(messages) == 2
    assert all(line.startswith("error: ") and "mine.npz" in line for line in messages)
