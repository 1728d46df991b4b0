"""The script of the charts is bundled once per user; a file with other bytes is not used."""

import pytest
import vl_convert

from experiments.reporting.vega import vega_bundle


@pytest.fixture
def bundled(monkeypatch, tmp_path):
    """How often the script was bundled, in a cache folder of its own."""
    calls = []

    def bundle(entry):
        calls.append(entry)
        return "let a = 'é\r\n</script>';" + entry

    monkeypatch.setattr(vl_convert, "javascript_bundle", bundle)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return calls


def fresh():
    """The script as another process finds it."""
    return vega_bundle.__wrapped__()


def test_a_second_process_reads_the_same_script_and_no_script_ends_its_element(bundled):
    first = fresh()
    assert fresh() == first
    assert len(bundled) == 1
    assert "vegaEmbed" in first
    assert "</script" not in first


@pytest.mark.parametrize("damage", [lambda x: x[:-1], lambda x: b"\xff" + x, lambda x: b"", lambda x: x + b"alert(1)"])
def test_a_damaged_script_is_bundled_anew(bundled, tmp_path, damage):
    first = fresh()
    (file,) = tmp_path.rglob("vega-*.js")
    file.write_bytes(damage(file.read_bytes()))
    assert fresh() == first
    assert fresh() == first
    assert len(bundled) == 2


def test_a_folder_that_cannot_be_written_is_said_and_does_not_matter(bundled, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.warns(UserWarning, match="cannot be kept in"):
        first = fresh()
    assert "vegaEmbed" in first
