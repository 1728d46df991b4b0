"""Strict settings for every test: float64, no silent rank promotion, warnings as errors (pyproject.toml)."""

import os

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several workers may share one GPU

import hypothesis
import jax

hypothesis.settings.register_profile("busy", deadline=None)  # what compiles, or a busy machine, is no failure
hypothesis.settings.load_profile("busy")

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_report_header() -> str:
    """What the tests run on."""
    devices = jax.devices()
    return f"jax {jax.__version__} on {len(devices)} {devices[0].platform} device(s), {devices[0].device_kind}"
