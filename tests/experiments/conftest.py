"""The runner is optional; its tests are skipped where its packages are missing."""

import pytest

pytest.importorskip("xarray")
pytest.importorskip("pydantic")
