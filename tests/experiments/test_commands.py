"""Commands end with the right exit code and one message, never a traceback, and keep what was computed."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import describing
from experiments.cli import main
from experiments.planning.loading import load
from experiments.planning.plan import plan_of
from experiments.results import files
from experiments.running.begun import begun_plan
from experiments.running.record import begin
from experiments.running.store import RunDirectory

ROOT = Path(__file__).parents[2]
CONFIGURATIONS = sorted((ROOT / "configs").glob("*.toml"))
QUICK = ("data_conditions", "losses_on_ecg", "own_data", "quickstart", "tuned_loss")
"""Configurations of few programs: a plan traces every one of them."""


@pytest.mark.parametrize(
    "arguments",
    [
        ["rnu"],
        ["run"],
        ["run", "{config}", "--sedes", "3"],
        ["run", "{config}", "--seeds", "three"],
        ["run", "{config}", "--seeds", "0"],
        ["run", "{config}", "--set", "flow.rtol=-1"],
        ["run", "zzzz.toml"],
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


@pytest.mark.parametrize(
    ("written", "remedy"),
    [
        ("data.noise=0.1,0.2", "write --axis 'data.noise=[0.1, 0.2]'"),
        ("loss.kind=square,log_cosh", """write --axis 'loss.kind=["square", "log_cosh"]'"""),
        ("loss.kind=[square, log_cosh]", """write --axis 'loss.kind=["square", "log_cosh"]'"""),
        ("loss.kind=!", "quote strings"),
    ],
)
def test_a_list_that_is_no_toml_is_answered_by_one_that_is(written, remedy, configuration, capsys):
    assert main(["validate", configuration, "--axis", written]) == 2
    assert capsys.readouterr().err.endswith(f"{remedy}\n")


def test_a_mistake_ends_the_process_with_exit_code_2_and_no_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "experiments", "run", "zzzz.toml"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == "error: zzzz.toml: no such file\n"


@pytest.mark.parametrize("command", [["list"], ["describe", "identification"], ["--help"], ["run", "--help"]])
def test_informative_commands_print_and_succeed(command, capsys):
    assert main(command) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    "file",
    [pytest.param(file, marks=[] if file.stem in QUICK else pytest.mark.slow, id=file.name) for file in CONFIGURATIONS],
)
def test_every_configuration_of_the_project_has_a_plan(file, capsys):
    assert main(["validate", str(file)]) == 0
    assert re.search(r"= \d+ (flows|descents) in", capsys.readouterr().out)


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
    assert [session["batches"] for session in manifest["sessions"]] == [3]
    assert manifest["batches"] == [f"cells {cell} seeds 0-11" for cell in range(3)]
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


@pytest.mark.usefixtures("made_up_cells", "quick_figures")
def test_a_report_without_room_fails_the_run_and_says_how_to_get_it(configuration, tmp_path, full_disk, capsys):
    full_disk.add("report.html")
    out = tmp_path / "run"
    assert main(["run", configuration, "--out", str(out), "--no-cache"]) == 1
    assert f"report again with: python -m experiments report {out}" in capsys.readouterr().err
    full_disk.clear()
    assert main(["report", str(out)]) == 0


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomically(tmp_path / "file", "text")
    assert list(tmp_path.iterdir()) == []


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


HEAVY = "{'jax', 'lcnn_flow', 'xarray', 'matplotlib', 'zarr'} & set(sys.modules)"


def heavy_imports_of(*arguments):
    """Which of the packages that take long to import a command has imported when it ends, and its exit code."""
    code = (
        "import sys\n"
        "from experiments.cli import main\n"
        "code = main(sys.argv[1:])\n"
        f"print(sorted({HEAVY}), file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    return done.stderr, done.returncode


@pytest.mark.parametrize("arguments", [["list"], ["--help"], ["describe", "rates"]])
def test_what_needs_no_run_imports_nothing_heavy(arguments):
    assert heavy_imports_of(*arguments) == ("[]\n", 0)


def test_status_imports_nothing_heavy_as_long_as_the_configuration_is_as_the_run_wrote_it(configuration, tmp_path):
    sweep, directory = load(configuration), RunDirectory.create(tmp_path / "run", "any")
    begin(plan_of(sweep), directory)
    assert heavy_imports_of("status", directory.path) == ("[]\n", 0)
    file = directory.path / "config.toml"
    file.write_text(f"# a comment changes nothing that counts\n{file.read_text()}")
    assert begun_plan(directory) == plan_of(sweep)
    file.write_text(file.read_text().replace("seeds = ", "seeds = 1"))
    assert heavy_imports_of("status", directory.path)[1] == 2


def test_status_cuts_a_run_anew_where_its_manifest_does_not_say_how_it_was_cut(configuration, tmp_path):
    plan, directory = plan_of(load(configuration)), RunDirectory.create(tmp_path / "run", "any")
    begin(plan, directory)
    manifest = directory.read_manifest()
    for lines in ([], ["cells 0"], ["cells 99 seeds 0-1"], ["cells 0 seeds 0-100000"], [3]):
        directory.write_manifest({**manifest, "batches": lines})
        assert begun_plan(directory) == plan


def test_what_is_stored_of_the_modules_is_what_they_say():
    stored = json.loads(describing.STORED.read_text(encoding="utf-8"))
    assert stored == describing.descriptions(), "write it again with: python -m experiments.describing"


def test_every_command_is_listed_with_the_first_line_of_its_help():
    from experiments import cli
    from experiments.modules import MODULES

    assert set(MODULES) == set(cli.QUESTIONS)
    for place, words in cli._COMMANDS.values():
        module, function = place.split(":")
        assert getattr(importlib.import_module(f"experiments.{module}"), function).__doc__.splitlines()[0] == words
