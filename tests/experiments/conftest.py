"""The runner is optional; its tests are skipped where its packages are missing."""

import pytest

pytest.importorskip("xarray")
pytest.importorskip("pydantic")


@pytest.fixture
def quick_figures(monkeypatch):
    """Figures are built but not drawn, for tests that look at everything else of a report."""
    import experiments.reporting.report

    def render(drawing):
        return {f"{drawing.name}.svg": b"<svg></svg>", f"{drawing.name}.png": b""}

    monkeypatch.setattr(experiments.reporting.report, "render", render)


@pytest.fixture
def no_figures(monkeypatch):
    """Reports have words and tables alone, for tests that look at results."""
    import experiments.reporting.report

    monkeypatch.setattr(experiments.reporting.report, "drawings", lambda dataset, module: [])
    monkeypatch.setattr(experiments.reporting.report, "explorer", lambda dataset: None)


@pytest.fixture
def configuration(tmp_path):
    """A good configuration file of three cells."""
    import fakes

    file = tmp_path / "made_up.toml"
    file.write_text(fakes.CONFIGURATION)
    return str(file)


@pytest.fixture
def made_up_cells(monkeypatch):
    """Replaces the computation of batches; the returned dictionary maps cell numbers to exceptions to raise."""
    import fakes

    import experiments.running.compute

    failures = {}

    def compute_batch(sweep, batch, tell, certifier):
        for number in batch.cells:
            if number in failures:
                raise failures[number]
        return fakes.batch_arrays(sweep, batch)

    monkeypatch.setattr(experiments.running.compute, "compute_batch", compute_batch)
    return failures


@pytest.fixture
def full_disk(monkeypatch):
    """A disk that takes all files but those whose names hold one of the strings in the returned set."""
    from experiments.running import store

    refused = set()
    write = store.write_atomically

    def refuse(path, content):
        if any(word in path.name for word in refused):
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(store, "write_atomically", refuse)
    return refused


@pytest.fixture(autouse=True)
def whole_stores():
    """Stores that tests write themselves have all their chunks, as those of the runner do."""
    import zarr

    with zarr.config.set({"array.write_empty_chunks": True}):
        yield


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch):
    """Commands do not say that they are busy, however slow the machine is: tests look at what else they say."""
    from experiments.running import busy

    monkeypatch.setattr(busy, "_FIRST", 3600.0)
