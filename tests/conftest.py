"""Strict settings for every test: float64, no silent rank promotion, warnings as errors (pyproject.toml)."""

import ctypes
import os
from importlib.metadata import version
from pathlib import Path

import pytest

_LAST_WITH_TWO_EMITTERS = 10
"""Minor version of the last jaxlib that is known to know the flags below; it refuses to start with unknown ones."""

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several workers may share one GPU

os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"  # most programs run once: see pytest_runtest_setup
if version("jaxlib") < "1" and int(version("jaxlib").split(".")[1]) <= _LAST_WITH_TWO_EMITTERS:
    _flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_flags}"

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "1")  # of the processes that tests start too: they share its programs
os.environ["XDG_CACHE_HOME"] = str(Path(__file__).parent.parent / ".jax_cache")  # of the processes that tests start too

import hypothesis
import jax
import jaxtyping

with jaxtyping.install_import_hook("lcnn_flow", "type_checks.checked"):
    import lcnn_flow as lf

hypothesis.settings.register_profile("busy", deadline=None)  # what compiles, or a busy machine, is no failure
hypothesis.settings.load_profile("busy")

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
lf.enable_compilation_cache()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Switches XLA's optimisations on for tests marked `optimised` or `slow`, and off for all others.

    A test compiles its programs and runs them once: without optimisations that takes about half the time. Claims about
    what the compiler makes of a program (bits, fusion) are tested on optimised programs, as users run them.
    """
    off = not any(item.get_closest_marker(name) for name in ("optimised", "slow"))
    if off != jax.config.read("jax_disable_most_optimizations"):
        jax.clear_caches()  # a program in memory is used whatever its optimisations; those on disk are kept apart
        jax.config.update("jax_disable_most_optimizations", off)
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(off).lower()


@pytest.fixture(autouse=True, scope="module")
def forgotten_programs():
    """A worker keeps the compiled programs of one module at a time in memory; the others stay on disk."""
    yield
    jax.clear_caches()
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
