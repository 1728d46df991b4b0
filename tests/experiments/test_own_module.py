"""Modules of a user's own file, and the scales of a configuration."""

import re
from pathlib import Path

import fakes
import pytest

from experiments.cli import main
from experiments.errors import UserError
from experiments.faults import ConfigurationError
from experiments.modules.finding import absolute_name, find_module
from experiments.planning.loading import load
from experiments.reporting.report import claims_of

ROOT = Path(__file__).parents[2]
OWN = fakes.CONFIGURATION.replace('"identification"', '"mine/own.py:MODULE"')


@pytest.fixture
def documented(tmp_path):
    """The module that the documentation prints, in a folder beside the configuration."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own_module.md").read_text(), flags=re.DOTALL)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own.py").write_text(code)
    return tmp_path


def test_a_module_of_a_file_is_found_from_the_configuration_and_judges_results(documented, capsys, monkeypatch):
    dataset = fakes.results(documented, OWN)
    assert dataset.attrs["module"] == f"{documented}/mine/own.py:MODULE"
    assert [claim.conclusion for claim in claims_of(dataset)] == ["agrees"]
    dataset["verdict"][0, :4] = 5
    assert [claim.conclusion for claim in claims_of(dataset)] == ["disagrees"]
    again = documented / "again.toml"
    again.write_text(dataset.attrs["configuration"])
    assert load(again).configuration.experiment.module == dataset.attrs["module"]
    monkeypatch.chdir(documented)
    assert main(["describe", "mine/own.py:MODULE"]) == 0
    assert "At least nine flows of ten CONVERGED, in every cell." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("absent.py:MODULE", "", "no such file"),
        ("own.py:OTHER", "MODULE = 1", "OTHER is not there"),
        ("own.py:MODULE", "MODULE = 1", "MODULE is of type int"),
        ("own.py:MODULE", "1 / 0", "cannot be executed: ZeroDivisionError"),
        ("own.txt:MODULE", "MODULE = 1", "its name must end in .py"),
    ],
)
def test_a_file_that_is_no_module_is_a_fault_in_one_line(tmp_path, name, code, message):
    (tmp_path / "own.py").write_text(code)
    (tmp_path / "own.txt").write_text(code)
    found = fakes.faults(tmp_path, fakes.CONFIGURATION.replace('"identification"', f'"{name}"'))
    assert message in found["experiment.module"]
    assert len(found["experiment.module"].splitlines()) == 1
    with pytest.raises(UserError, match=message):
        find_module(absolute_name(name, tmp_path))


def test_scales_are_put_over_the_configuration_table_by_table(tmp_path):
    file = tmp_path / "scaled.toml"
    scales = (
        '[scale.small]\nseeds = 3\n[scale.small.flow.times]\ncount = 10\n[scale.full.sweep]\n"data.seed" = [1, 2]\n'
    )
    file.write_text(fakes.CONFIGURATION + scales)
    plain, small, full = (load(file, scale=scale) for scale in ("default", "small", "full"))
    assert (plain.configuration.seeds, plain.shape) == (12, (3,))
    times = small.configuration.flow.times
    assert (small.configuration.seeds, small.shape, times.count, times.stop) == (3, (3,), 10, 1e4)
    assert (full.configuration.seeds, full.shape) == (12, (3, 2))
    assert load(file, ["seeds=5"], scale="small").configuration.seeds == 5
    assert "scale" not in small.base


def test_a_scale_of_another_name_and_faults_inside_of_one_are_shown(tmp_path):
    file = tmp_path / "scaled.toml"
    file.write_text(fakes.CONFIGURATION + "[scale.tiny]\nseeds = 3\n")
    with pytest.raises(ConfigurationError, match=r"scale.tiny: write \[scale.small\] or \[scale.full\]"):
        load(file)
    file.write_text(fakes.CONFIGURATION + "[scale.small]\nseeds = 0\n")
    assert load(file).configuration.seeds == 12
    with pytest.raises(ConfigurationError, match="seeds: found 0"):
        load(file, scale="small")


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.toml")), ids=lambda file: file.stem)
def test_every_shipped_configuration_is_valid_at_every_scale_and_small_is_no_larger(file):
    flows = {}
    for scale in ("small", "default", "full"):
        sweep = load(file, scale=scale)
        flows[scale] = len(sweep.cells) * sweep.configuration.seeds
    assert flows["small"] <= flows["default"] <= flows["full"]
