"""Compiled programs that outlive the process: what is kept, where, and what a second process does with it."""

import subprocess
import sys

import jax
import pytest

import lcnn_flow as lf
from lcnn_flow import compilation_cache

FLOW_WITH_TIMES = """
import sys, jax
counts = {}
jax.monitoring.register_event_listener(lambda event, **_: counts.update({event: counts.get(event, 0) + 1}))
import jax.numpy as jnp, lcnn_flow as lf
jax.config.update("jax_enable_x64", True)
start = (jnp.array([1.3, 0.7]), jnp.array([0.7, 1.2]))  # before the cache is switched on: JAX has compiled already
lf.enable_compilation_cache(sys.argv[1])
data = lf.Dataset(jnp.eye(3), jnp.array([[1.0], [3.0], [1.0]]))
risk = lf.EmpiricalRisk(lf.Architecture(3, (2, 2)), lf.losses.Square(), data)
flow = lf.gradient_flow(risk, start, times=lf.log_times(1e-3, 1e2, 20))
print(int(flow.verdict), float(flow.trajectory.risk[5]).hex())
print(counts.get("/jax/compilation_cache/cache_hits", 0), counts.get("/jax/compilation_cache/cache_misses", 0))
"""


def test_a_second_process_loads_every_program_of_a_flow_with_times_and_gets_the_same_bits(tmp_path):
    def run() -> list[str]:
        command = [sys.executable, "-c", FLOW_WITH_TIMES, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    verdict, bits, hits, misses = run()
    assert int(misses) > 0
    again = run()
    assert again[:2] == [verdict, bits]
    assert int(again[3]) == 0
    assert int(again[2]) == int(hits) + int(misses)


def test_importing_the_library_changes_no_setting():
    script = "import jax; before = jax.config.values.copy(); import lcnn_flow; assert before == jax.config.values"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def same_cache_afterwards():
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.compilation_cache.reset_cache()


@pytest.mark.usefixtures("same_cache_afterwards")
def test_other_versions_of_jaxlib_and_other_processors_have_other_folders(tmp_path, monkeypatch):
    here = lf.enable_compilation_cache(tmp_path)
    assert here.parent == tmp_path
    assert here.is_dir()
    monkeypatch.setattr(compilation_cache, "_processor_features", lambda: "another")
    elsewhere = lf.enable_compilation_cache(tmp_path)
    monkeypatch.setattr(compilation_cache, "version", lambda name: "0.0.1")
    assert len({here, elsewhere, lf.enable_compilation_cache(tmp_path)}) == 3


@pytest.mark.usefixtures("same_cache_afterwards")
def test_the_default_folder_is_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert lf.enable_compilation_cache().parent == tmp_path / "lcnn_flow" / "programs"


def test_a_folder_that_cannot_be_made_is_refused_with_the_fix(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(lf.LcnnFlowError, match="pass a folder that can be written"):
        lf.enable_compilation_cache(tmp_path / "file")
