"""Real runs, small: from a file to results and report, reproducibly; and the code that README and guides show."""

import re
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr

from experiments.cli import main
from experiments.planning.loading import load

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TOUR = (ROOT / "docs" / "tour.md").read_text()
EXPERIMENTS = (ROOT / "docs" / "experiments.md").read_text()
NETWORK = ["--set", "network={input_shape=8, kernel_sizes=[2, 2]}"]
TIMES = ["--set", "flow.times={start=1e-3, stop=1e3, count=30}"]
OVERRIDES = ["--seeds", "4", *NETWORK, *TIMES, "--no-cache"]
AXES = ["--set", "loss.delta=0.2", "--axis", "data.noise=[0.0, 0.2]"]


def results(directory):
    """Results in memory."""
    return xr.open_zarr(directory / "results.zarr", consolidated=False).load()


def test_a_small_run_obeys_the_theory_finds_the_filter_and_runs_again_to_the_same_bits(tmp_path, request):
    out = tmp_path / "first"
    assert main(["run", str(ROOT / "configs" / "quickstart.toml"), "--out", str(out), *OVERRIDES, *AXES]) == 0
    first = results(out)
    assert first["risk"].sizes == {"noise": 2, "seed": 4, "time": 31}
    assert (first["verdict"] == 0).all()
    html = (out / "report.html").read_text()
    assert html.count("✓ agrees") >= 7
    assert "✗ disagrees" not in html

    start = first.isel(time=0)
    assert float(start["time"]) == 0
    assert (start["path_length"] == 0).all()
    assert np.array_equal(start["squared_norms"].sel(noise=0.0), start["squared_norms"].sel(noise=0.2))

    error = np.abs(first["limit_filter"] - first["true_filter"]).max("tap").sel(noise=0.0)
    assert (error < 0.05 * np.abs(first["true_filter"]).max()).all()  # in spite of 5% outliers: the loss is robust

    request.getfixturevalue("quick_figures")  # from here on only numbers are looked at
    again = tmp_path / "again"
    assert main(["run", str(out / "config.toml"), "--out", str(again), "--no-cache"]) == 0
    second = results(again)
    for name in set(first.data_vars) - {"wall_time"}:
        assert np.array_equal(first[name].values, second[name].values, equal_nan=True), name


def test_the_code_of_the_readme_runs_as_printed(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line and not line.startswith("import")]) <= 10
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "CONVERGED" in printed
    assert "100 flows" in printed


@pytest.mark.slow
def test_the_code_of_the_tour_runs_as_printed(capsys):
    about_limits, any_function, networks, descent = re.findall(r"```python\n(.*?)```", TOUR, flags=re.DOTALL)
    exec(compile(about_limits, "tour.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "the hypotheses of convergence to a critical point hold" in printed
    assert "CriticalPoint(minimum: risk 2.60006, index 0" in printed
    assert "certified: a critical point of index 0 within" in printed
    assert "certified_complete" in printed
    shown = {}
    with jax.numpy_rank_promotion("allow"):  # users broadcast
        exec(compile(any_function, "tour.md", "exec"), shown)
        check_derivative(shown["learned"], np.sin(3 * np.asarray(shown["x"])))
    printed = capsys.readouterr().out
    assert printed.count("CONVERGED") == 2
    assert printed.count("(not isolated)") == 1
    exec(compile(networks, "tour.md", "exec"), shown)
    assert "CONVERGED" in capsys.readouterr().out
    exec(compile(descent, "tour.md", "exec"), shown)
    coarse, fine = shown["runs"].distance_to_flow().max(axis=-1)[:, 0]
    assert 1.9 <= coarse / fine <= 2.1
    assert "Descent(CONVERGED" in capsys.readouterr().out


def check_derivative(function, point):
    """Against a difference in one direction."""
    direction = np.cos(np.arange(len(point)))
    difference = (function(point + 1e-5 * direction) - function(point - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(jax.grad(function)(point) @ direction, difference, rtol=1e-6)


def test_the_configuration_of_the_guide_is_valid(tmp_path):
    text, zipped = re.findall(r"```toml\n(.*?)```", EXPERIMENTS, flags=re.DOTALL)
    (tmp_path / "mine.toml").write_text(text)
    sweep = load(tmp_path / "mine.toml")
    assert sweep.shape == (2, 3)
    assert len(sweep.groups) == 2
    (printed,) = re.findall(r"python -m experiments run mine.toml --out runs/mine (.*)", EXPERIMENTS)
    _, override, _, axis = shlex.split(printed)
    assert load(tmp_path / "mine.toml", [override], [axis]).shape == (2, 3, 2)
    (tmp_path / "mine.toml").write_text(f"{text}\n{zipped}")
    assert load(tmp_path / "mine.toml").shape == (2, 3, 3)
