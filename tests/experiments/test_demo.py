"""The answer of the demo, against an evaluation of results.zarr of its own."""

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from experiments.cli import main

DEMO = Path(__file__).parents[2] / "configs" / "losses_on_ecg.toml"


def best_loss_and_spurious_share(out):
    """Name of the loss of the least median error, its error, and how many square-loss starts end above the lowest."""
    with xr.open_zarr(out / "results.zarr", consolidated=False) as stored:
        results = stored.load()
    true, learned = results["true_filter"].values[:, None], results["limit_filter"].values
    error = np.median(np.linalg.norm(learned - true, axis=-1) / np.linalg.norm(true, axis=-1), axis=1)
    square = results["limit_risk"].sel(loss="square").values
    above = int((square > square.min() * (1 + 1e-6)).sum())
    return results["loss"].values[error.argmin()], error.min(), above, square.size


def check(out, answer):
    """Whether the answer says what the results say."""
    best, error, above, total = best_loss_and_spurious_share(out)
    assert answer.startswith(f"{best} finds the filter best: median relative error {error:.3g}")
    found = re.search(r"Spurious minima catch square: (\d+) of (\d+) starts", answer)
    assert found is not None
    assert (int(found[1]), int(found[2])) == (above, total)
    assert 0 < above < total
    html = (out / "report.html").read_text()
    assert answer[:60] in html
    assert f"{above} of {total} starts" in html


@pytest.mark.slow
def test_the_answer_of_the_whole_demo(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["run", str(DEMO), "--out", str(out), "--no-cache"]) == 0
    answer = capsys.readouterr().out
    check(out, answer)
    assert "59 of 64 starts (83% to 97%), 0.008 above the lowest limit (10.9934)" in answer
