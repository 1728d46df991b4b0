"""A manifest that is none is refused with a remedy by every command, and never trusted in part."""

import json

import fakes
import pytest

from experiments.cli import main
from experiments.errors import UserError
from experiments.results.manifest import is_manifest
from experiments.results.opening import open_results

BAD = [
    {"sessions": [{"wall_time_s": "x"}]},
    {"sessions": [{"wall_time_s": None}]},
    {"sessions": [{"devices": 3}]},
    {"sessions": [{"engine": ["local"]}]},
    {"sessions": 3},
    {"versions": 3},
    {"device": None},
    {"precision": [1]},
    {"git": "revision"},
    {"git": {"revision": 3, "dirty": False}},
    {"git": {"revision": "abc"}},
    {"compile_groups": "x"},
    {"started": 5},
    {"data": []},
    {"wall_time_s": "long"},
]


@pytest.mark.parametrize("found", [*BAD, [], 3, None, "manifest"], ids=str)
def test_parts_of_another_kind_make_it_none(found):
    assert not is_manifest(found)


def test_parts_may_be_missing_and_others_be_there():
    assert is_manifest({})
    assert is_manifest(fakes.MANIFEST)
    assert is_manifest({"git": None, "sessions": [{}], "note": ["mine"]})


@pytest.mark.usefixtures("made_up_cells", "no_figures")
def test_every_command_refuses_a_damaged_manifest_or_goes_on_without(configuration, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["run", configuration, "--out", str(out), "--no-cache"]) == 0
    file = out / "manifest.json"
    good = json.loads(file.read_text())
    for change, command in zip(BAD, ["status", "resume", "collect"] * 5, strict=True):
        file.write_text(json.dumps(good | change))
        capsys.readouterr()
        assert main([command, str(out)]) == 2
        told = capsys.readouterr().err
        assert told == f"error: {file} is no manifest of a run: move it away and resume the run\n"
    assert main(["compare", str(out), str(out)]) == 0
    assert "going on with results.zarr as it is" in capsys.readouterr().err


def test_results_with_a_foreign_manifest_are_refused_with_a_remedy(tmp_path):
    dataset = fakes.results(tmp_path)
    for number, text in enumerate(["{", "3", json.dumps({"device": None}), json.dumps(BAD[0])]):
        out = tmp_path / str(number)
        out.mkdir()
        dataset.attrs["manifest"] = text
        fakes.write_results(out, dataset)
        with pytest.raises(UserError, match=r"look at manifest\): remove it"):
            open_results(out)
