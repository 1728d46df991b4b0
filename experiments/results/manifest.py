"""Validates the manifest of a run, a JSON file that may have been edited, cut off or exchanged."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["is_manifest", "manifest_of"]

_Kinds = dict[str, type | tuple[type, ...]]

_NUMBER = (int, float)
_WHOLE: _Kinds = {
    "configuration_sha256": str,
    "started": str,
    "command": str,
    "cells": int,
    "wall_time_s": _NUMBER,
    **dict.fromkeys(("data", "seeds", "lanes", "versions", "device", "precision"), dict),
    **dict.fromkeys(("compile_groups", "batches", "sessions"), list),
    "git": (dict, type(None)),
}
_GIT: _Kinds = {"revision": str, "dirty": bool}
_SESSION: _Kinds = {
    **dict.fromkeys(("name", "started", "ended", "host", "engine"), str),
    "devices": list,
    "batches": int,
    "compilation_s": _NUMBER,
    "wall_time_s": _NUMBER,
}


def is_manifest(found: Any) -> bool:
    """Whether every entry that exists has the type with which it is written; entries may be missing."""
    if not _fits(found, _WHOLE) or not all(_fits(session, _SESSION) for session in found.get("sessions", [])):
        return False
    git = found.get("git")
    return git is None or (_fits(git, _GIT) and git.keys() >= _GIT.keys())


def _fits(table: Any, kinds: _Kinds) -> bool:
    return isinstance(table, Mapping) and all(
        isinstance(table[name], kind) for name, kind in kinds.items() if name in table
    )


def manifest_of(dataset: "xr.Dataset") -> dict[str, Any]:
    """The manifest that is stored in the results; `open_results` has validated it."""
    return json.loads(dataset.attrs["manifest"])
