"""Strict settings for every test: float64, no silent rank promotion, warnings as errors (pyproject.toml)."""

import ctypes
import gc
import os
from pathlib import Path

import pytest
from quick_compilation import OPTIMISED, optimise, quick_flags

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several workers may share one GPU

os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
os.environ["XLA_FLAGS"] = quick_flags()
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "1")  # of the processes that tests start too: they share its programs
os.environ["XDG_CACHE_HOME"] = str(Path(__file__).parent.parent / ".jax_cache")  # of the processes that tests start too

import hypothesis
import jax
import jaxtyping

with jaxtyping.install_import_hook("lcnn_flow", "type_checks.checked"):
    import lcnn_flow as lf

from experiments.running.worker_environment import collect_rarely

hypothesis.settings.register_profile("busy", deadline=None)  # what compiles, or a busy machine, is no failure
hypothesis.settings.load_profile("busy")

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
lf.enable_compilation_cache()
collect_rarely()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before fixtures, which compile too."""
    optimise(any(item.get_closest_marker(name) for name in OPTIMISED))


@pytest.fixture(autouse=True, scope="module")
def forgotten_programs():
    """A worker keeps the compiled programs of one module at a time in memory; the others stay on disk."""
    yield
    jax.clear_caches()
    gc.collect()
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)  # glibc keeps what is freed, more than a GB after some modules


@pytest.fixture
def unchecked():
    """For tests that pass what annotations exclude, and want the library's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def pytest_report_header() -> str:
    """What the tests run on."""
    devices = jax.devices()
    return f"jax {jax.__version__} on {len(devices)} {devices[0].platform} device(s), {devices[0].device_kind}"
