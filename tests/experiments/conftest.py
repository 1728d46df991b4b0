"""The runner is optional; its tests are skipped where its packages are missing."""

import pytest

pytest.importorskip("xarray")
pytest.importorskip("pydantic")


@pytest.fixture
def quick_figures(monkeypatch):
    """Figures are built but not drawn, for tests that look at everything else of a report."""
    import experiments.report

    def render(drawing):
        return {f"{drawing.name}.svg": b"<svg></svg>", f"{drawing.name}.png": b""}

    monkeypatch.setattr(experiments.report, "render", render)
