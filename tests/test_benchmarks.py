"""The benchmarks: statistics of the timing, the numpy risk that peers integrate, and tables that hold only what was
measured."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import lcnn_flow as lf

pytest.importorskip("sksundae")
pytest.importorskip("matplotlib")

from benchmarks import cli, descent, peers, problems, references, report, timing, waiting
from benchmarks.peer_codes import numpy_form

DESCENTS = {
    "jit(vmap(scan)), one device": [2e-5],
    "the same with ends hardly tested": [25e-6],
    "lcnn_flow ensemble, one device": [3e-5],
    "lcnn_flow ensemble": [1e-5],
}


class FakeClock:
    """Time passes only while a candidate runs."""

    def __init__(self):
        self.now, self.ran = 0.0, []

    def candidate(self, name: str, costs: list[float], flows: int = 1) -> timing.Candidate:
        left = iter(costs)

        def run():
            self.ran.append(name)
            self.now += next(left)

        return timing.Candidate(name, run, flows)

    def __call__(self) -> float:
        return self.now


def test_candidates_run_in_turns_and_times_are_divided_by_flows():
    clock = FakeClock()
    candidates = [clock.candidate("a", [1.0, 3.0, 2.0]), clock.candidate("b", [40.0, 20.0, 60.0], flows=10)]
    seconds = timing.in_turns(candidates, turns=3, patience=1e9, clock=clock)
    assert clock.ran == ["a", "b", "a", "b", "a", "b"]
    assert seconds == {"a": [1.0, 3.0, 2.0], "b": [4.0, 2.0, 6.0]}


def test_a_slow_candidate_runs_at_least_once_and_then_sits_out():
    clock = FakeClock()
    candidates = [clock.candidate("slow", [11.0, 11.0]), clock.candidate("fast", [6.0, 6.0, 6.0])]
    seconds = timing.in_turns(candidates, turns=3, patience=10.0, clock=clock)
    assert clock.ran == ["slow", "fast", "fast"]
    assert {name: len(found) for name, found in seconds.items()} == {"slow": 1, "fast": 2}


def test_two_candidates_of_one_name_are_refused():
    clock = FakeClock()
    with pytest.raises(ValueError, match="same name"):
        timing.in_turns([clock.candidate("a", [1.0]), clock.candidate("a", [1.0])], turns=1, clock=clock)


def test_ratios_are_taken_within_a_turn():
    # the machine is three times as slow in the second turn: ratios do not see it
    assert timing.ratio([10.0, 30.0, 10.0], [2.0, 6.0, 2.0]) == 5.0
    assert timing.ratio([8.0], [2.0, 100.0, 100.0]) == 4.0
    assert timing.median([5.0, 1.0, 2.0]) == 2.0
    assert timing.spread([5.0, 1.0, 2.0]) == (1.0, 5.0)


@pytest.mark.parametrize("name", problems.PROBLEMS)
def test_the_numpy_risk_is_the_library_s(name):
    risk, form = problems.named(name), numpy_form(problems.named(name))
    vector = problems.matrix(problems.starts(risk.arch, 1))[0]
    gradient, hessian = jax.jit(lambda w: (risk.gradient(w), risk.hessian(w)))(vector)
    np.testing.assert_allclose(form.gradient(vector), gradient, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(form.hessian(vector), hessian, rtol=1e-12, atol=1e-12 * np.abs(hessian).max())


def test_few_seeds_are_the_first_of_many():
    arch = problems.named("SMALL").arch
    few, many = problems.matrix(problems.starts(arch, 3)), problems.matrix(problems.starts(arch, 5))
    np.testing.assert_array_equal(few, many[:3])


def test_a_reference_limit_is_a_critical_point_on_the_leaf_of_its_start():
    form = numpy_form(problems.named("ILL"))
    start = problems.matrix(problems.starts(problems.named("ILL").arch, 1))[0]
    end = references.cvode(form, start, 1e-10, 1e-12, 1e-10)[-1]
    limit, confirmed = form.polish(end, form.balance(start))
    assert confirmed
    assert np.linalg.norm(form.gradient(limit)) < 1e-13
    np.testing.assert_allclose(form.balance(limit), form.balance(start), rtol=1e-12)
    assert 0 < np.linalg.norm(limit - end) < 1e-6


def _row(seconds, flows, median, largest, arrived):
    quality = {"median_distance": median, "max_distance": largest, "arrived": arrived}
    return {"seconds": seconds, "flows": flows, **quality}


def _stored() -> dict:
    """Raw numbers as a run stores them, none of them measured."""
    correctness = {"confirmed": 1000, "agree": 993, "flagged": 5, "unflagged": 2, "trusted": 995}
    rows = {
        "lcnn_flow ensemble": _row([2e-4, 4e-4, 3e-4], 1024, 2e-15, 3e-14, 1.0),
        "scipy LSODA, numpy": _row([4e-3, 4e-3, 9e-3], 32, 5e-7, 6e-6, 0.75),
    }
    found = {"rows": rows, "correctness": correctness}
    huber = {"pseudo-Huber(delta = 1)": {"seconds": [8e-4, 8e-4, 9e-4], "sound": 0.5, "operations": 8e6}}
    curve = {"problem": "SMALL", "quantity": "limit", "method": "Rodas4", "rtol": 1e-3}
    timed = {"first": 7.5, "later": [0.5, 0.25, 0.75]}
    gemm = {
        "seconds": {"gradient": [0.5, 0.25], "product": [0.1, 0.1]},
        "operations": {"gradient": 1e9, "product": 2e9},
    }
    scaling = {
        "axis": "seeds",
        "value": 4096,
        "flows": 4096,
        "seconds": [6e-5, 7e-5, 5e-5],
        "steps": 44.4,
        "sound": 1.0,
    }
    parts = {
        "peers": {"seeds": 1024, "problems": {"SMALL": found, "ILL": found}, "losses": huber},
        "work_precision": {
            "points": [
                curve | {"seconds": [3e-3], "flows": 8, "unfinished": 1, "error": 4e-5, "largest": 2e-4},
                curve
                | {"method": "Tsit5", "seconds": [5e-2], "flows": 8, "unfinished": 8, "error": None, "largest": None},
            ],
            "batch": 8,
            "max_steps": 999,
            "times": [1.0],
        },
        "scaling": {"points": [scaling], "devices": {"1": [8e-5, 9e-5], "2": [4e-5, 3e-5]}},
        "gemm": {"rows": 640, "k_v": 20, "seeds": 16} | gemm,
        "sweeps": {
            "flows": 1000,
            "real": 40,
            "bytes": 600_000,
            "pack": [1e-3],
            "batch": [0.05, 0.1, 0.2],
            "in_a_run": [0.0505, 0.102, 0.3],
            "collect": 0.02,
            "runs": [{"batches": 10_000, "seconds": 2e-3, "disk": 1.5e-3, "grown_kib": 512}],
        },
        "compile": {
            "seeds": 64,
            "losses": {"square": {"empty": timed, "filled": {"first": 2.5, "later": [0.5]}}},
            "emitters": {
                "compile": {"plain": [1.0], "quick": [1.5], "own": [3.0]},
                "run": {"plain": [2.0], "quick": [1.0], "own": [1.0]},
            },
        },
        "descent": {
            "seeds": 16,
            "steps": 1000,
            "every": 10,
            "devices": 2,
            "optimisers": {"Adam": {"limits": 3, "seconds": DESCENTS}},
        },
    }
    about = {
        "versions": {"jax": "0.0.1"},
        "device": {"platform": "cpu", "kind": "cpu", "count": 2, "host": "Linux, 2 cores"},
        "precision": {"x64": True},
        "git": None,
        "processor": "abacus",
        "date": "2001-02-03",
        "quick": False,
        "seconds": 600.0,
    }
    return {"parts": parts, "about": about}


def _table_rows(markdown: str) -> list[str]:
    """Rows of all tables, without heads and rules."""
    lines = markdown.splitlines()
    ruled = {i for i, line in enumerate(lines) if line.startswith("| ---")}
    return [line for i, line in enumerate(lines) if line.startswith("|") and i not in ruled and i + 1 not in ruled]


def test_every_number_of_every_table_comes_from_what_is_stored():
    peers_table = [
        "| lcnn_flow ensemble | 1024 | 300 us | 200 us to 400 us | 1.0 | 2e-15 | 3e-14 | 100.0% |",
        "| scipy LSODA, numpy | 32 | 4.0 ms | 4.0 ms to 9.0 ms | 20 | 5e-07 | 6e-06 | 75.0% |",
    ]
    assert _table_rows(report.markdown(_stored(), cli.PARTS)) == [
        *peers_table,
        *peers_table,
        "| SMALL | 1000 | 993 | 5 | 2 |",
        "| ILL | 1000 | 993 | 5 | 2 |",
        "| square | 300 us | 200 us to 400 us | 1 | - | - |",
        "| pseudo-Huber(delta = 1) | 800 us | 800 us to 900 us | 3.0 | 10 GFLOP/s | 50.0% |",
        "| SMALL | limit | Rodas4 | 0.001 | 3.0 ms | 4e-05 | 2e-04 | 1 of 8 |",
        "| SMALL | limit | Tsit5 | 0.001 | 50 ms | - | - | 8 of 8 |",
        "| 1 | 85 us | 80 us to 90 us |",
        "| 2 | 35 us | 30 us to 40 us |",
        "| seeds | 4,096 | 4,096 | 60 us | 50 us to 70 us | 44 | 100.0% |",
        "| product | 100 ms | 20 | 100% |",
        "| gradient | 380 ms | 3.0 | 15% |",
        "| 10,000 | 2.0 ms | 2.00% | 1.5 ms | 0.5 MiB |",
        "| square | 7.0 s | 2.0 s | 500 ms |",
        "| Adam, jit(vmap(scan)), one device | 20 ns | 1.00 | - |",
        "| Adam, lcnn_flow ensemble, one device | 30 ns | 1.50 | 3 |",
        "| Adam, the same with ends hardly tested | 25 ns | 1.25 | - |",
        "| Adam, lcnn_flow ensemble | 10 ns | 0.50 | 3 |",
    ]


def test_the_overhead_of_a_run_is_the_median_ratio_within_a_turn():
    assert "100 ms (50 ms to 200 ms)" in report.markdown(_stored(), cli.PARTS)
    assert ", +2.0%: it is packed, 1.0 ms," in report.markdown(_stored(), cli.PARTS)


def test_a_step_multiplies_matrices_for_six_gradients_and_one_hessian():
    rows, q = 64 * 10, 7  # 64 samples of 16 - 7 + 1 outputs
    product, pairs = 2 * rows * q, 2 * rows * 28
    assert peers._operations(problems.named("SMALL")) == 6 * 2 * product + pairs


@pytest.mark.slow
def test_figures_and_tables_are_drawn_again_from_the_stored_numbers(tmp_path):
    stored = _stored()
    report.write(stored, cli.PARTS, tmp_path)
    first = (tmp_path / "RESULTS.md").read_text()
    shown = re.findall(r"\]\((figures/[a-z_]+\.svg)\)", first)
    assert len(shown) == 3
    assert all((tmp_path / name).stat().st_size > 0 for name in shown)
    stored["parts"]["peers"]["seeds"] = 77
    (tmp_path / "results.json").write_text(json.dumps(stored))
    cli.main(["--draw", "--out", str(tmp_path)])
    assert "the first of the 77" in (tmp_path / "RESULTS.md").read_text()
    assert "the first of the 77" not in first


def test_quality_is_judged_against_confirmed_references_only():
    risk = problems.named("SMALL")
    start = problems.matrix(problems.starts(risk.arch, 2))
    limits = references.Limits(start, np.array([True, False]), np.ones(2))
    moved = start + np.array([[3e-13], [1.0]]) / 3.0  # by 3e-13 and by 3: only the first has a reference
    found = peers._quality(risk, limits, moved)
    assert found["max_distance"] == pytest.approx(3e-13, rel=1e-3)
    assert found["arrived"] == 0.0
    counts = peers._correctness(limits, moved, np.array([True, True]))
    assert counts == {"confirmed": 1, "agree": 1, "flagged": 0, "unflagged": 0, "trusted": 1}
    far = start + 1.0
    assert peers._correctness(limits, far, np.array([True, True]))["unflagged"] == 1
    assert peers._correctness(limits, far, np.array([False, True]))["flagged"] == 1


def test_the_hand_written_descent_ends_where_the_ensemble_does():
    risk = problems.named("SMALL")
    params = problems.starts(risk.arch, 2)
    (end, _), (rows, value, norm) = descent.hand_written(risk, params, optax.sgd(1e-3), 20, 10)()
    run = lf.gradient_descent_ensemble(risk, params, optax.sgd, {"learning_rate": 1e-3}, steps=20, record_every=10)
    for one, other, recorded in zip(run.final, end, rows, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
        np.testing.assert_array_equal(recorded[:, -1], other)
    np.testing.assert_allclose(run.trajectory.risk[:, 1:], value, rtol=1e-10)
    np.testing.assert_allclose(run.trajectory.gradient_norm[:, 1:], norm, rtol=1e-10)


def test_a_part_that_is_measured_again_replaces_its_own_and_says_when():
    stored = _stored()
    names = ("peers", "gemm")
    earlier = stored | {"parts": {name: stored["parts"][name] for name in names}}
    again = {
        "parts": {"gemm": stored["parts"]["gemm"] | {"seeds": 4321}},
        "about": stored["about"] | {"date": "2002-03-04"},
    }
    both = cli.updated(earlier, again)
    assert list(both["parts"]) == list(names)
    peers_, gemm_ = report.markdown(both, cli.PARTS).split("\n## ")[1:]
    assert "2002-03-04" not in peers_
    assert "4321" not in report.markdown(earlier, cli.PARTS)
    assert "Measured later than the other parts, on 2002-03-04." in gemm_
    assert "4,321" in gemm_ or "4321" in gemm_


@pytest.mark.parametrize("options", [["--update"], ["--update", "--only", "gemm", "--quick"]])
def test_an_update_needs_parts_and_no_quick_run(options, capsys):
    with pytest.raises(SystemExit):
        cli.main(options)
    assert "--update replaces the parts that --only names" in capsys.readouterr().err


def test_an_unknown_part_is_refused_by_name(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--only", "peers,speed"])
    assert "no part speed" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine may have a GPU")
def test_without_a_gpu_a_run_on_one_is_refused_in_one_line():
    command = [sys.executable, "-m", "benchmarks", "--device", "gpu", "--quick"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "python -m benchmarks: error: JAX sees no GPU: install .[bench,cuda13]"
    )
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_the_quick_run_measures_every_part(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--out", str(tmp_path)]  # it chooses its own devices
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stored = json.loads((tmp_path / "results.json").read_text())
    assert list(stored["parts"]) == list(cli.PARTS)
    for found in stored["parts"]["peers"]["problems"].values():
        assert found["correctness"]["unflagged"] == 0
    assert lf.__version__ in (tmp_path / "RESULTS.md").read_text()


@pytest.mark.slow
def test_what_is_waited_for_is_measured_as_a_whole_process_and_shown_first(tmp_path):
    spent = waiting._spent(["-m", "experiments", "list"], tmp_path, "empty")
    assert 0.01 < spent["cpu"] < 20
    assert 0.01 < spent["wall"] < 60
    assert next(iter(cli.PARTS)) == "waiting"
    flow = {"cpu": 15.0, "wall": 16.0, "stages": dict.fromkeys(waiting.STAGES, 2.5)}
    text = waiting.section({"list": {"empty": spent, "filled": spent}, "flow": {"empty": flow, "filled": flow}})
    (row,) = [line for line in text.splitlines() if line.startswith("| flow |")]
    assert re.findall(r"[0-9.]+", row) == ["15", "15", "16", "16", *["2.5"] * len(waiting.STAGES)]
    with pytest.raises(RuntimeError, match="no such file"):
        waiting._spent(["-m", "experiments", "validate", "nowhere.toml"], tmp_path, "empty")
