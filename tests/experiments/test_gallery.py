"""One page shows many runs, and a report opens in the browser."""

import re
import webbrowser

import fakes
import pytest

from experiments.cli import main
from experiments.reporting import report


def rising(risk):
    """A risk that grows for a moment."""
    risk[:, 30] = 5.0
    return risk


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs with reports, one of which disagrees with the theory, and one that is damaged."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "notes").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "render", lambda d: {f"{d.name}.svg": b"<svg></svg>", f"{d.name}.png": b"\x89PNG"})
        for name in ("first run", "second", "third"):
            (folder / name).mkdir()
            dataset = fakes.results(folder / name, **({"risk": rising} if name == "second" else {}))
            dataset.attrs["title"] = f"<{name}>"
            fakes.write_results(folder / name, dataset)
        (folder / "third" / "results.zarr" / "zarr.json").write_text("{")
        assert main(["gallery", str(folder)]) == 0
    return folder


def test_a_gallery_has_a_card_a_run_with_picture_answer_and_claims_and_links_to_its_report(runs):
    html = (runs / "index.html").read_text()
    assert html.count("<article>") == 2
    assert re.findall(r'<h2><a href="(.*?)">(.*?)</a>', html) == [
        ("first%20run/report.html", "&lt;first run&gt;"),
        ("second/report.html", "&lt;second&gt;"),
    ]
    assert (runs / "first run" / "report.html").is_file()
    assert html.count('<img src="data:image/png;base64,') == 2
    agree, disagree = html.split("<article>")[1:]
    assert disagree.count('<b class="disagrees">') == agree.count('<b class="disagrees">') + 1
    assert "<details open>" in disagree
    counts = [re.search(r"<summary>(\d+) of (\d+) claims agree with the data", card) for card in (agree, disagree)]
    (good, total), (fewer, same) = [map(int, found.groups()) for found in counts if found]
    assert (fewer, same) == (good - 1, total)
    assert f"2 runs: {good + fewer} of {2 * total} claims agree with the data" in html
    assert re.search(r"Left out: .*third.*damaged", html)
    assert not re.search(r'(src|href)="https?:', html)


@pytest.mark.parametrize("name", ["missing", "notes"])
def test_a_folder_without_runs_is_refused_in_one_line(runs, name, capsys):
    assert main(["gallery", str(runs / name)]) == 2
    assert re.fullmatch(r"error: .*name the (one|directory) .*\n", capsys.readouterr().err)


@pytest.mark.parametrize("works", [True, False])
def test_a_report_opens_in_the_browser_and_its_place_is_said(runs, monkeypatch, capsys, works):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or works)
    assert main(["open", str(runs / "first run")]) == 0
    assert opened == [(runs / "first run" / "report.html").as_uri()]
    told = capsys.readouterr().out
    assert str(runs / "first run" / "report.html") in told
    assert ("no browser could be started" in told) != works


def test_a_run_without_a_report_cannot_be_opened_and_the_command_that_writes_it_is_named(runs, capsys):
    assert main(["open", str(runs / "third")]) == 2
    assert "python -m experiments report" in capsys.readouterr().err
