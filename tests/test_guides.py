"""The code of the guides runs as printed. Sphinx runs the tutorials, and other tests the code of the README."""

import re
from pathlib import Path

import numpy as np
import pytest

from experiments.planning.loading import load

ROOT = Path(__file__).parent.parent


def blocks(page, language):
    """The code of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_first_five_minutes_run_as_printed(capsys):
    shown = {}
    for code in blocks("docs/start.md", "python"):
        exec(compile(code, "start.md", "exec"), shown)
    printed = capsys.readouterr().out
    assert printed.startswith("Flow(CONVERGED")
    assert "1000 flows" in printed
    assert shown["flow"].trajectory.risk.shape == (100,)
    assert "certified: a critical point of index 0 within" in printed
    assert "the hypotheses of convergence to a critical point hold" in printed


def test_the_configurations_of_the_tutorial_are_valid(tmp_path):
    whole, own = blocks("docs/tutorials/your_own_experiment.md", "toml")
    (tmp_path / "mine.toml").write_text(whole)
    sweep = load(tmp_path / "mine.toml")
    assert sweep.shape == (2, 3)
    (saved,) = (code for code in blocks("docs/tutorials/your_own_experiment.md", "python") if "savez" in code)
    arrays = {"inputs": np.ones((9, 25)), "targets": np.ones((9, 10))}
    exec(saved.replace("mine.npz", str(tmp_path / "mine.npz")), arrays)
    others = re.sub(r"^\[(experiment|data)\].*?\n\n", "", whole, flags=re.DOTALL | re.MULTILINE)
    (tmp_path / "own.toml").write_text(f"{others}\n{own}")
    assert load(tmp_path / "own.toml").shape == (2, 3)
