"""A run that was stopped or damaged is resumed, and its results are those of an uninterrupted run."""

import json
import os
import shutil
import signal
import time
from types import SimpleNamespace

import fakes
import numpy as np
import pytest
import xarray as xr
import zarr

import experiments.running.compute
import experiments.running.engines.local
import experiments.running.execute
import experiments.running.slab_writing
from experiments.cli import main
from experiments.errors import UserError
from experiments.planning.loading import load
from experiments.planning.plan import plan_of
from experiments.results.opening import open_results
from experiments.running.record import begin
from experiments.running.store import RunDirectory


def run(configuration, out, *options):
    """Exit code of a run."""
    return main(["run", configuration, "--out", str(out), "--no-cache", *options])


def not_computed(out):
    """Cells of which no flow was computed."""
    return (open_results(out)["verdict"] == -1).all("seed").values.tolist()


def same(first, second, but=()):
    """Whether two runs have the same results, bit for bit."""
    first, second = (open_results(out).drop_attrs().drop_vars(but) for out in (first, second))
    return second.equals(first)


@pytest.mark.usefixtures("made_up_cells", "no_figures")
def test_an_interrupted_run_keeps_its_finished_batches_and_is_resumed(configuration, tmp_path, capsys, monkeypatch):
    out, whole = tmp_path / "run", tmp_path / "whole"
    assert run(configuration, whole) == 0
    compute = experiments.running.compute.compute_batch

    def slow(sweep, batch, tell, certifier):
        if batch.number == 1 and not out.joinpath("results.zarr").exists():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)  # so that the signal is handled before the batch is finished
        return compute(sweep, batch, tell, certifier)

    monkeypatch.setattr(experiments.running.compute, "compute_batch", slow)
    capsys.readouterr()
    assert run(configuration, out) == 130
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert f"2 of 3 batches were finished and are kept in {out}" in message
    assert f"python -m experiments resume {out}" in message
    with xr.open_zarr(out / "results.zarr", consolidated=False) as dataset:
        assert (dataset["verdict"].values == -1).all(axis=1).tolist() == [False, False, True]
    assert main(["report", str(out)]) == 0
    assert main(["resume", str(out)]) == 0
    assert same(out, whole)
    assert len(json.loads((out / "manifest.json").read_text())["sessions"]) == 2
    assert not list((out / "locks").glob("0*.lock"))


@pytest.mark.usefixtures("made_up_cells", "no_figures")
def test_a_disk_that_fills_up_loses_no_finished_batch(configuration, tmp_path, full_disk, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    out = tmp_path / "run"
    full_disk.add("000002-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments.running.execute, "collect", full)
        assert run(configuration, out) == 1
    message = capsys.readouterr().err
    assert "2 of 3 batches were finished" in message
    assert "batch 2 cannot be stored: No space left on device" in message
    assert f"python -m experiments resume {out}" in message
    assert main(["collect", str(out)]) == 0
    assert capsys.readouterr().out.startswith("2 of 3 batches are in")
    assert main(["report", str(out)]) == 0
    assert not_computed(out) == [False, False, True]


@pytest.mark.usefixtures("made_up_cells", "no_figures")
def test_a_damaged_batch_is_set_aside_and_computed_again(configuration, tmp_path, capsys):
    out, whole = tmp_path / "run", tmp_path / "whole"
    assert run(configuration, whole) == 0
    assert run(configuration, out) == 0
    (file,) = (out / "batches").glob("000000-*.npz")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    (out / "batches" / "000001.npz").write_bytes(b"PK")
    capsys.readouterr()
    assert main(["status", str(out), "--verify"]) == 0
    told = capsys.readouterr().out
    assert "2 of 3 batches done (24 flows), 0 running, 0 failed, 1 missing" in told
    assert "1 files in batches/ belong to another configuration" in told
    assert (out / "batches" / "damaged" / file.name).read_bytes() == content
    assert main(["resume", str(out)]) == 0
    assert same(out, whole)


@pytest.mark.usefixtures("made_up_cells", "no_figures")
def test_collecting_twice_changes_nothing(configuration, tmp_path):
    def files():
        found = [file for file in out.rglob("*") if file.is_file()]
        times = {file: file.stat().st_mtime_ns for file in found if file.parent.name != "locks"}  # taking a lock is new
        return {file: (times.get(file), file.read_bytes()) for file in found}

    out = tmp_path / "run"
    assert run(configuration, out) == 0
    before = files()
    assert main(["collect", str(out)]) == 0
    assert files() == before
    shutil.rmtree(out / "results.zarr")
    assert main(["collect", str(out)]) == 0
    assert {file: content for file, (_, content) in files().items()} == {
        file: content for file, (_, content) in before.items()
    }


@pytest.mark.usefixtures("made_up_cells", "no_figures")
def test_results_are_kept_when_batches_are_gone_and_healed_when_chunks_are(configuration, tmp_path, capsys):
    out = tmp_path / "run"
    with zarr.config.set({"array.write_empty_chunks": False}):  # the default of zarr
        assert run(configuration, out) == 0
        before = open_results(out)
        for name in ("verdict", "lojasiewicz_exponent"):
            shutil.rmtree(out / "results.zarr" / name / "c")
        assert main(["resume", str(out)]) == 0
        assert open_results(out).drop_attrs().equals(before.drop_attrs())
    next((out / "batches").glob("*.npz")).unlink()
    assert main(["collect", str(out)]) == 2
    assert "holds 1 batches whose files are gone" in capsys.readouterr().err
    assert main(["report", str(out)]) == 0
    assert "going on with results.zarr as it is" in capsys.readouterr().err
    assert open_results(out).drop_attrs().equals(before.drop_attrs())


@pytest.mark.usefixtures("no_figures")
def test_data_that_change_during_a_run_or_after_it_are_refused(configuration, tmp_path, capsys, monkeypatch):
    rng, file, out = np.random.default_rng(0), tmp_path / "mine.npz", tmp_path / "run"

    def write(size):
        np.savez(file, inputs=size * rng.normal(size=(20, 12)), targets=rng.normal(size=(20, 6)))

    def change(*_):  # the problem has been built from the old file before
        write(2.0)
        return [None]

    def nothing(*_):
        return {}

    configured = SimpleNamespace(analysis=SimpleNamespace(census=False), certificates=None)
    cell, risk = SimpleNamespace(number=0, configuration=configured), SimpleNamespace(network=None)
    problem = SimpleNamespace(cell=cell, risk=risk, start=(), stored={})
    write(1.0)
    good = file.read_bytes()
    own = ["--set", "experiment.module=convergence", "--set", f"data={{kind='file', path='{file}'}}"]
    made_up = dict.fromkeys(("flow_arrays", "shown_flows", "analyse"), nothing)
    for name, replaced in {"_Problem": lambda *_: problem, "_flows": change, **made_up}.items():
        monkeypatch.setattr(experiments.running.compute, name, replaced)
    assert run(configuration, out, *own, "--set", "loss={kind='square'}") == 1
    message = capsys.readouterr().err
    assert "all 1 batches failed" in message
    assert "a data file has changed during the run" in message
    assert main(["resume", str(out)]) == 2
    assert f"{file} has changed since the run was begun" in capsys.readouterr().err
    file.write_bytes(good)
    assert main(["status", str(out)]) == 0


@pytest.mark.usefixtures("made_up_cells", "no_figures")
def test_a_run_is_not_begun_where_another_was(configuration, tmp_path, capsys):
    begun = RunDirectory.create(tmp_path / "run", "x")
    other = RunDirectory.create(tmp_path / "run", "x")  # neither has written anything yet
    begin(plan_of(load(configuration)), begun)
    with pytest.raises(UserError, match="another run was begun there"):
        begin(plan_of(load(configuration)), other)
    assert main(["run", configuration, "--out", str(tmp_path / "run")]) == 2
    assert "resume" in capsys.readouterr().err
    names = {RunDirectory.create(None, str(tmp_path / "x")).path for _ in range(2)}
    assert len(names) == 2


@pytest.mark.usefixtures("no_figures")
def test_an_engine_that_is_lost_ends_with_one_message_and_a_session(configuration, tmp_path, made_up_cells, capsys):
    def lost(self, task):
        if task.batch.number == 1:
            raise ConnectionError("the scheduler has gone")
        return whole(self, task)

    out, whole = tmp_path / "run", experiments.running.engines.local.LocalEngine.submit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments.running.engines.local.LocalEngine, "submit", lost)
        assert run(configuration, out) == 1
    message = capsys.readouterr().err
    assert "the engine was lost: ConnectionError: the scheduler has gone" in message
    assert "Traceback" not in message
    assert len(json.loads((out / "manifest.json").read_text())["sessions"]) == 1
    assert main(["resume", str(out)]) == 0


@pytest.mark.usefixtures("made_up_cells", "no_figures")
def test_batches_of_another_configuration_alone_are_refused(configuration, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(configuration, out) == 0
    (out / "manifest.json").unlink()
    text = (out / "config.toml").read_text()
    (out / "config.toml").write_text(text.replace("root_seed = 0", "root_seed = 1"))
    assert main(["resume", str(out)]) == 2
    assert "those of another configuration" in capsys.readouterr().err


@pytest.mark.usefixtures("made_up_cells", "no_figures")
def test_a_collection_that_is_killed_leaves_the_store_as_it_was(configuration, tmp_path, monkeypatch):
    out = tmp_path / "run"
    assert run(configuration, out, "--axis", "data.noise=[0.0, 0.1]") == 0
    before = open_results(out)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments.running.collect, "_stored_checksums", lambda _: {})
    monkeypatch.setattr(experiments.running.slab_writing._Slab, "write", killed)
    assert main(["collect", str(out)]) == 130
    assert open_results(out).identical(before)
    assert not list(out.glob(".*.tmp"))


@pytest.mark.usefixtures("made_up_cells", "no_figures")
@pytest.mark.parametrize("command", ["resume", "status", "collect"])
def test_damaged_files_of_a_run_are_mistakes_with_a_remedy(command, configuration, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(configuration, out) == 0
    good = {name: (out / name).read_text() for name in ("config.toml", "manifest.json")}
    for file, content, message in [
        ("config.toml", "seeds = ", "broken TOML"),
        ("config.toml", good["config.toml"].replace("seeds = 12", "seeds = 13"), "has changed since the run was begun"),
        ("manifest.json", "{", "is damaged"),
        ("manifest.json", "[1]", "is no manifest"),
        ("manifest.json", '{"sessions": 3}', "is no manifest"),
        ("manifest.json", '{"configuration_sha256": "0"}', "has changed since the run was begun"),
        ("config.toml", None, "has no config.toml"),
    ]:
        for name, text in good.items():
            (out / name).write_text(text)
        if content is None:
            (out / file).unlink()
        else:
            (out / file).write_text(content)
        capsys.readouterr()
        assert main([command, str(out)]) == 2
        told = capsys.readouterr().err
        assert message in told
        assert len(told.splitlines()) == 1


@pytest.mark.usefixtures("no_figures")
def test_a_failing_batch_ends_with_exit_code_1_while_the_others_go_on(configuration, tmp_path, made_up_cells, capsys):
    made_up_cells[1] = RuntimeError("RESOURCE_EXHAUSTED: out of memory")
    out = tmp_path / "run"
    assert run(configuration, out) == 1
    message = capsys.readouterr().err
    assert "1 of 3 batches failed:\n  l_4: RuntimeError: RESOURCE_EXHAUSTED: out of memory" in message
    assert f"to try them again: python -m experiments resume {out}" in message
    assert "Traceback" not in message
    assert not_computed(out) == [False, True, False]
    assert main(["status", str(out)]) == 0
    assert "failed:  l_4: RuntimeError: RESOURCE_EXHAUSTED" in capsys.readouterr().out
    made_up_cells.clear()
    assert main(["resume", str(out)]) == 0
    assert not_computed(out) == [False, False, False]


@pytest.mark.usefixtures("made_up_cells", "no_figures")
def test_a_run_that_is_resumed_with_other_versions_says_so(configuration, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(configuration, out) == 0
    assert main(["resume", str(out)]) == 0
    assert "note:" not in capsys.readouterr().err
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["versions"]["jax"] = "0.4.2"
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert main(["resume", str(out)]) == 0
    assert "note: jax was 0.4.2 when the run was begun" in capsys.readouterr().err


@pytest.mark.usefixtures("no_figures")
def test_a_run_of_which_all_fails_says_so(configuration, tmp_path, made_up_cells, capsys):
    made_up_cells |= dict.fromkeys(range(3), ValueError("no luck"))
    assert run(configuration, tmp_path / "run") == 1
    message = capsys.readouterr().err
    assert "all 3 batches failed" in message
    assert "Traceback" not in message


@pytest.mark.usefixtures("made_up_cells", "no_figures")
def test_a_cell_in_several_batches_is_the_same_as_in_one(configuration, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(configuration, whole) == 0
    assert run(configuration, parts, "--set", "compute.batch_size=5") == 0
    assert len(list((parts / "batches").glob("*.npz"))) == 9
    assert same(parts, whole, but=["wall_time", "orbit"])  # the made-up orbits do not fit the made-up limits
    times = [open_results(out)["wall_time"].values for out in (whole, parts)]
    assert np.allclose(times[1], 3 * times[0])


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_cells", "no_figures")
def test_results_in_many_slabs_are_those_in_one(configuration, tmp_path, monkeypatch):
    axes = ["--axis", "data.noise=[0.0, 0.1]", "--axis", "initializer.std=[0.1, 0.2]"]
    out, cut = tmp_path / "one", tmp_path / "cut"
    assert run(configuration, out, *axes) == 0
    shutil.copytree(out, cut)
    for size in (200_000, 1_000_000):
        shutil.rmtree(cut / "results.zarr")
        monkeypatch.setattr(experiments.running.slab_writing, "_SLAB_BYTES", size)
        assert main(["collect", str(cut)]) == 0
        assert same(cut, out)


@pytest.mark.usefixtures("made_up_cells", "no_figures")
def test_orbits_of_a_cell_in_several_batches_are_numbered_over_all_of_it(configuration, tmp_path, monkeypatch):
    compute = experiments.running.compute.compute_batch
    points = fakes.cell_arrays(fakes.TIMES)
    kinds = np.asarray([2, 2, 1, 1, 1, 0, 0, 0, 0, 0, 1, 0])  # 6 flows end in 0, 4 in 1, 2 in 2

    def with_orbits(sweep, batch, tell, certifier):
        stored = compute(sweep, batch, tell, certifier)
        mine = kinds[batch.start : batch.stop]
        known = list(dict.fromkeys(mine))  # a batch numbers its orbits in the order of its flows
        for cell in batch.cells:
            stored[f"{cell}/orbit"] = np.asarray([known.index(k) for k in mine], float)
            for layer in range(1, 4):
                stored[f"{cell}/limit_w{layer}"] = points[f"limit_w{layer}"][mine]
        return stored

    monkeypatch.setattr(experiments.running.compute, "compute_batch", with_orbits)
    out = tmp_path / "run"
    assert run(configuration, out, "--set", "compute.batch_size=5") == 0
    assert (open_results(out)["orbit"] == kinds).all()
