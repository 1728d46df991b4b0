"""Settings of JAX for all measurements, what the numbers depend on, and runs in processes of their own."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from experiments.running import runtime

__all__ = ["about", "child", "choose", "configure", "has_gpu"]

_ROOT = Path(__file__).resolve().parents[1]


def configure(devices: int | None = None) -> None:
    """float64, one CPU device a core unless `devices` says otherwise; before the first array."""
    runtime.configure("float64", cache=False)
    jax.config.update("jax_num_cpu_devices", devices or os.cpu_count() or 1)


def choose(device: str) -> None:
    """Makes JAX compute on this kind of device, in this process and in those that it starts; before `configure`."""
    platform = {"cpu": "cpu", "gpu": "cuda,cpu"}[device]
    os.environ["JAX_PLATFORMS"] = platform
    jax.config.update("jax_platforms", platform)


def has_gpu() -> bool:
    """Whether JAX computes on a GPU; after `configure`."""
    try:
        return jax.default_backend() == "gpu"
    except RuntimeError:  # JAX has no backend of the chosen name
        return False


def about() -> dict[str, Any]:
    """Machine, versions and revision."""
    found = runtime.environment()
    found["versions"] |= {name: importlib.metadata.version(name) for name in ("scipy", "scikit-sundae")}
    return found | {"processor": _processor()}


def _processor() -> str:
    """Name of the processor, as the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def child(**options: object) -> dict[str, Any]:
    """What `benchmarks.child` measures with these options, in a new process."""
    command = [sys.executable, "-m", "benchmarks.child", json.dumps(options)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])
