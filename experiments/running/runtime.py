"""Settings of JAX for a run, made before the first array; the library itself never touches them."""

import importlib.metadata
import os
import platform
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import jax

import lcnn_flow as lf

__all__ = ["configure", "environment"]

_PACKAGES = ("lcnn_flow", "jax", "jaxlib", "diffrax", "equinox", "numpy", "xarray", "zarr")


def configure(precision: str, cache: bool = True, host_only: bool = False) -> None:
    """Sets precision and, unless `cache` is False, the folder where compiled programs outlive the process.

    With `host_only` this process leaves GPUs alone: they are for its workers.
    """
    if host_only:
        jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", precision == "float64")
    if precision == "float32":  # chosen in the configuration
        warnings.filterwarnings("ignore", message="float64 data become float32")
    jax.config.update("jax_default_matmul_precision", "highest")
    if cache:
        try:
            lf.enable_compilation_cache()
        except lf.LcnnFlowError as error:
            print(f"compiled programs are not kept: {error}", file=sys.stderr)


def environment() -> dict[str, Any]:
    """What the results depend on besides the configuration: versions, device, precision, source revision."""
    device = jax.devices()[0]
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
            "host": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        },
        "precision": {
            "x64": bool(_setting("jax_enable_x64")),
            "matmul": str(_setting("jax_default_matmul_precision")),
        },
        "git": _revision(),
        "command": " ".join(["python -m experiments", *sys.argv[1:]]),
    }


def _setting(name: str) -> Any:
    return getattr(jax.config, name)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def _revision() -> dict[str, Any] | None:
    """Revision of the source tree and whether it has changes; None outside a git tree."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    revision = git("rev-parse", "HEAD")
    if revision is None or git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return {"revision": revision, "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
