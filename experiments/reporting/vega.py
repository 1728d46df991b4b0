"""The JavaScript of Vega, which charts in a report need.

To bundle it takes seconds. The bundle is kept in the user's cache folder, beside compiled programs, under the version
of vl-convert and its own hash: a file with other bytes is not used.
"""

import functools
import hashlib
import os
import warnings
from importlib.metadata import version
from pathlib import Path

import vl_convert
from markupsafe import Markup

from experiments.results.files import write_atomically

__all__ = ["vega_bundle"]

_ENTRY = "window.vegaEmbed = vegaEmbed;"


@functools.cache
def vega_bundle() -> Markup:
    """A script that defines `vegaEmbed`, safe within an HTML element."""
    file = _folder() / f"vega-{version('vl-convert-python')}.js"
    script = _kept(file)
    if script is None:
        script = vl_convert.javascript_bundle(_ENTRY).replace("</script", "<\\/script")
        _keep(script, file)
    return Markup(script)


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "lcnn_flow" / "scripts"


def _kept(file: Path) -> str | None:
    """The script in a file; None if there is none or it is not what was written."""
    try:
        digest, _, script = file.read_bytes().decode().partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return script if digest == _digest(script) else None


def _keep(script: str, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, f"{_digest(script)}\n{script}")
    except OSError as error:
        text = f"the script of the charts cannot be kept in {file.parent}: {error.strerror}"
        warnings.warn(text, UserWarning, stacklevel=4)


def _digest(script: str) -> str:
    return hashlib.sha256(script.encode()).hexdigest()
