"""Real runs, small: from a file to results and report, reproducibly; and the code that the README shows."""

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from experiments.cli import main
from experiments.loading import load

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
OVERRIDES = ["--seeds", "4", "--set", "flow.times={start=1e-3, stop=1e3, count=30}", "--no-cache"]
AXES = ["--set", "loss={kind='pseudo_huber', delta=0.2}", "--axis", "data.noise=[0.0, 0.2]"]


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory):
    """The quickstart with few seeds, one loss and two levels of noise."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["run", str(ROOT / "configs" / "quickstart.toml"), "--out", str(out), *OVERRIDES, *AXES]) == 0
    return out


def results(directory):
    """Results in memory."""
    return xr.open_zarr(directory / "results.zarr", consolidated=False).load()


def test_every_flow_of_a_small_run_converges_and_obeys_the_theory(run_directory):
    dataset = results(run_directory)
    assert dataset["risk"].sizes == {"noise": 2, "seed": 4, "time": 31}
    assert (dataset["verdict"] == 0).all()
    html = (run_directory / "report.html").read_text()
    assert html.count("✓ agrees") >= 7
    assert "✗ disagrees" not in html


def test_the_first_stored_time_is_that_of_the_initial_filters(run_directory):
    dataset = results(run_directory)
    start = dataset.isel(time=0)
    assert float(start["time"]) == 0
    assert (start["path_length"] == 0).all()
    assert np.array_equal(start["squared_norms"].sel(noise=0.0), start["squared_norms"].sel(noise=0.2))


def test_without_noise_the_planted_filter_is_found(run_directory):
    dataset = results(run_directory).isel(noise=0)
    text = (run_directory / "config.toml").read_text()
    assert "fraction = 0.05" in text  # outliers stay: only a robust loss gets close
    error = np.abs(dataset["limit_filter"] - dataset["true_filter"]).max("tap")
    assert (error < 0.05 * np.abs(dataset["true_filter"]).max()).all()


def test_the_stored_configuration_gives_the_same_results_bit_for_bit(run_directory, tmp_path):
    out = tmp_path / "again"
    assert main(["run", str(run_directory / "config.toml"), "--out", str(out), "--no-cache"]) == 0
    first, again = results(run_directory), results(out)
    for name in set(first.data_vars) - {"wall_time"}:
        assert np.array_equal(first[name].values, again[name].values, equal_nan=True), name


def test_the_code_of_the_readme_runs_as_printed(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line and not line.startswith("import")]) <= 10
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "CONVERGED" in printed
    assert "100 flows" in printed


def test_the_configuration_of_the_readme_is_valid(tmp_path):
    (text,) = re.findall(r"```toml\n(.*?)```", README, flags=re.DOTALL)
    (tmp_path / "mine.toml").write_text(text)
    sweep = load(tmp_path / "mine.toml")
    assert sweep.shape == (2, 3)
    assert len(sweep.groups()) == 2
