"""Reports come from stored results alone, load nothing from elsewhere, refuse what is no run directory."""

import re
import shutil
from html.parser import HTMLParser

import fakes
import numpy as np
import pytest
import xarray as xr

import lcnn_flow as lf
from experiments.errors import UserError
from experiments.figures import filter_error, house_style, risk
from experiments.figures.series import panels
from experiments.reporting import report
from experiments.reporting.report import write_report
from experiments.reporting.summary import summary_csv
from experiments.results.opening import open_results


@pytest.fixture
def run_directory(tmp_path):
    """A directory that holds nothing but results.zarr."""
    directory = tmp_path / "run"
    directory.mkdir()
    fakes.write_results(directory, fakes.results(tmp_path))
    return directory


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A directory with results and its report, which tests read only; with what `write_report` returned."""
    directory = tmp_path_factory.mktemp("written")
    fakes.write_results(directory, fakes.results(directory))
    return directory, *write_report(directory)


def without_scripts(html):
    """A page as it is where scripts do not run."""
    return re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


class Requests(HTMLParser):
    """Collects everything that a browser would load."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            loads = name in ("src", "srcset", "data", "poster") or (name == "href" and tag in ("link", "image"))
            if (loads or (name.endswith("href") and tag != "a")) and value and not value.startswith(("#", "data:")):
                self.found.append((tag, name, value))


def test_the_report_is_rebuilt_from_results_alone_and_loads_nothing(written):
    directory, path, claims, answer = written
    html = path.read_text()
    parser = Requests()
    parser.feed(html)
    assert parser.found == []
    assert html.index(answer[:20]) < html.index('<figure id="filters">') < html.index("<table")
    assert re.findall("<script[^>]*>", html) == [
        "<script>",  # sorts tables
        '<script type="application/json" id="explore-data">',
        *["<script>"] * 2,
    ]
    html = without_scripts(html)
    assert not re.search(r"@import|url\((?!#)", html)
    assert len(claims) == html.count('<td class="mark') - sum(len(c.details) for c in claims if len(c.details) > 1)
    for name in ("risk", "gradient_norm", "path_length", "balancedness_drift", "filters", "filter_error"):
        assert (directory / "figures" / f"{name}.svg").read_bytes().startswith(b"<?xml")
        assert (directory / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f'<figure id="{name}">' in html


@pytest.mark.slow
def test_a_report_of_results_too_large_for_memory_is_the_same_and_finds_damage(run_directory, monkeypatch):
    whole = write_report(run_directory)[0].read_text()
    summary = (run_directory / "summary.csv").read_bytes()
    monkeypatch.setattr(report, "_MOST_IN_MEMORY", 1000)
    assert write_report(run_directory)[0].read_text() == whole
    assert (run_directory / "summary.csv").read_bytes() == summary
    chunk = next(file for file in (run_directory / "results.zarr" / "final_time" / "c").rglob("*") if file.is_file())
    chunk.write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"final_time is damaged"):
        write_report(run_directory)


def test_two_reports_of_the_same_results_are_equal_and_all_references_in_them_resolve(written, run_directory):
    html = written[1].read_text()
    assert write_report(run_directory)[0].read_text() == html
    html = without_scripts(html)
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers))
    references = set(re.findall(r'xlink:href="#([^"]+)"', html)) | set(re.findall(r"url\(#([^)]+)\)", html))
    links = set(re.findall(r'<a href="#([^"]+)"', html))
    described = set(re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', html))
    assert {"claims", "distinct-limits", "risk"} <= links
    assert references
    assert references | links | described <= set(identifiers)


def test_the_contrast_of_the_dark_is_that_of_the_guidelines_for_words_and_for_the_colours_of_series(written):
    assert fakes.contrast("#000000", "#ffffff") == pytest.approx(21)
    html = without_scripts(written[1].read_text())
    dark = re.search(r"prefers-color-scheme: dark.*?:root \{(.*?)\}", html, flags=re.DOTALL)[1]
    value = dict(re.findall(r"--(\w+): (#\w{6})", dark))
    words = ("ink", "soft", "good", "bad", "open", "link", "222222", "333333", "555555")
    assert min(fakes.contrast(value[name], value[ground]) for name in words for ground in ("paper", "wash")) >= 4.5
    series = [lf.plot.look(number).colour.lower() for number in range(7)]
    assert min(fakes.contrast(value.get(colour[1:], colour), value["paper"]) for colour in series) >= 4.5


def test_greys_and_dim_colours_of_figures_turn_in_the_dark(written):
    html = without_scripts(written[1].read_text())
    greys = set(re.findall(r"var\(--(\w+),#\1\)", html))
    dark = re.search(r"prefers-color-scheme: dark.*?:root \{(.*?)\}", html, flags=re.DOTALL)[1]
    assert {"ffffff", "e6e6e6", "222222", "0072b2"} <= greys <= set(re.findall(r"--(\w+): #", dark))
    svgs = "".join(re.findall("<svg.*?</svg>", html, flags=re.DOTALL))
    plain = {
        colour
        for colour in re.findall(r"[ \"]#([0-9a-f]{6})\b", svgs)
        if len({colour[:2], colour[2:4], colour[4:]}) == 1
    }
    assert plain == set()


@pytest.mark.usefixtures("quick_figures")
def test_long_tables_fold_and_short_ones_do_not(tmp_path):
    fakes.write_results(tmp_path, fakes.results(tmp_path, orbit=lambda a: np.arange(a.size, dtype=float)))
    html = write_report(tmp_path)[0].read_text()
    assert re.search(r'<h2 id="distinct-limits">Distinct limits</h2>\s*<details><summary>18 rows', html)
    assert re.search(r'<h2 id="verdicts">Verdicts</h2>\s*<div', html)


@pytest.mark.usefixtures("quick_figures")
def test_a_report_shows_disagreement(tmp_path):
    def rising(risk):
        risk[:, 30] = 5.0
        return risk

    fakes.write_results(tmp_path, fakes.results(tmp_path, risk=rising))
    html = write_report(tmp_path)[0].read_text()
    assert "✗ disagrees" in html
    assert re.search(r"of 10 claims agree with the data, \d disagree", html)


@pytest.mark.usefixtures("quick_figures")
def test_markup_in_a_title_is_shown_and_not_obeyed(tmp_path):
    dataset = fakes.results(tmp_path)
    dataset.attrs["title"] = "<script>alert(1)</script>"
    fakes.write_results(tmp_path, dataset)
    assert "<script>alert" not in write_report(tmp_path)[0].read_text()


def test_results_open_with_named_dimensions_labels_and_flag_meanings(run_directory):
    dataset = xr.open_zarr(run_directory / "results.zarr", consolidated=False)
    assert dataset["risk"].dims == ("loss", "seed", "time")
    assert dataset["limit_filter"].dims == ("loss", "seed", "tap")
    assert dataset["squared_norms"].dims == ("loss", "seed", "time", "layer")
    assert list(dataset["loss"].values) == ["square", "l_4", "pseudo_huber(0.1)"]
    verdict = dataset["verdict"]
    meaning = dict(zip(verdict.attrs["flag_values"], verdict.attrs["flag_meanings"].split(), strict=True))
    assert meaning[0] == "CONVERGED"
    assert meaning[-1] == "NOT_COMPUTED"
    assert all("long_name" in v.attrs for v in dataset.data_vars.values())
    assert all(("units" in v.attrs) != ("flag_meanings" in v.attrs) for v in dataset.data_vars.values())


@pytest.mark.usefixtures("quick_figures")
def test_cells_that_were_not_computed_are_said_to_be_missing(tmp_path):
    sweep = fakes.sweep_of(tmp_path)
    times = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 60)])
    dataset = fakes.assemble(sweep, {0: fakes.cell_arrays(times), 2: fakes.cell_arrays(times)}, fakes.MANIFEST)
    assert (dataset["verdict"].sel(loss="l_4") == -1).all()
    assert [one.label for one in next(panels(dataset))[1]] == ["square", "pseudo-Huber(0.1)"]
    fakes.write_results(tmp_path, dataset)
    assert "12 flows were not computed" in write_report(tmp_path)[0].read_text()


@pytest.mark.usefixtures("quick_figures")
def test_cells_of_different_depth_are_filled_up_with_nan(tmp_path):
    text = fakes.CONFIGURATION.split("[sweep]")[0].replace("[initializer]", '[loss]\nkind="square"\n[initializer]')
    sweep = fakes.sweep_of(tmp_path, f'{text}[sweep]\n"network.kernel_sizes" = [[3, 3, 3], [3, 5]]')
    times = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 60)])
    cells = {0: fakes.cell_arrays(times), 1: fakes.cell_arrays(times, layers=2)}
    dataset = fakes.assemble(sweep, cells, fakes.MANIFEST)
    assert dataset["squared_norms"].sizes["layer"] == 3
    assert dataset["squared_norms"].isel(kernel_sizes=1, layer=2).isnull().all()
    fakes.write_results(tmp_path, dataset)
    assert write_report(tmp_path)[1][0].conclusion == "agrees"


def test_the_summary_has_a_row_a_cell_with_counts_and_quantiles(tmp_path):
    dataset = fakes.results(tmp_path)
    dataset["verdict"][1, :5] = 4
    header, *rows = [line.split(",") for line in summary_csv(dataset).splitlines()]
    table = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["loss"] for row in table] == ["square", "l_4", "pseudo_huber(0.1)"]
    assert [(row["CONVERGED"], row["TIME_LIMIT"]) for row in table] == [("12", "0"), ("7", "5"), ("12", "0")]
    risks = dataset["final_risk"].values[0]
    assert float(table[0]["final_risk_q90"]) == pytest.approx(np.quantile(risks, 0.9), rel=1e-8)
    error = risks.std(ddof=1) / np.sqrt(12)
    assert float(table[0]["final_risk_standard_error"]) == pytest.approx(error, rel=1e-8, abs=1e-15)


@pytest.mark.parametrize(
    "damage", ["missing", "empty", "foreign", "truncated", "stripped", "module", "axes", "variable"]
)
def test_a_directory_that_holds_no_results_is_refused_in_one_line(run_directory, damage):
    store = run_directory / "results.zarr"
    if damage == "missing":
        shutil.rmtree(store)
    elif damage == "empty":
        shutil.rmtree(store)
        store.mkdir()
    elif damage == "foreign":
        shutil.rmtree(store)
        xr.Dataset({"a": ("x", np.zeros(3))}).to_zarr(store, consolidated=False)
    elif damage == "truncated":
        for chunk in (store / "risk").rglob("0"):
            if chunk.is_file():
                chunk.write_bytes(chunk.read_bytes()[:50])
    elif damage == "variable":
        shutil.rmtree(store / "final_risk")
    else:
        dataset = open_results(run_directory)
        if damage == "axes":
            dataset.attrs["axes"] = '["los"]'
        dataset.attrs["module"] = "convergance"
        if damage == "stripped":
            del dataset.attrs["manifest"]
        fakes.write_results(run_directory, dataset)
    with pytest.raises(UserError) as error:
        write_report(run_directory)
    assert "\n" not in str(error.value)


def test_chunks_that_got_lost_are_missed(run_directory):
    shutil.rmtree(run_directory / "results.zarr" / "verdict" / "c")
    with pytest.raises(UserError, match="look at verdict"):
        open_results(run_directory)


def test_a_second_axis_makes_panels_and_a_numeric_one_the_scale_of_the_errors(tmp_path):
    text = fakes.CONFIGURATION + '"data.noise" = [0.0, 0.1, 0.2]\n'
    dataset = fakes.results(tmp_path, text)
    assert [title for title, _ in panels(dataset)] == ["noise = 0", "noise = 0.1", "noise = 0.2"]
    with house_style():
        drawing = filter_error(dataset)
    assert drawing is not None
    (axes,) = drawing.figure.axes
    assert axes.get_xlabel() == "noise"
    assert len(drawing.figure.legends[0].get_texts()) == 3


def test_bands_of_many_series_get_a_panel_each(tmp_path):
    losses = ", ".join(f'{{ kind = "lp", p = {p} }}' for p in (2, 3, 4, 5))
    text = fakes.CONFIGURATION.split("[sweep]")[0] + f"[sweep]\nloss = [{losses}]\n"
    with house_style():
        drawing = risk(fakes.results(tmp_path, text))
    assert drawing is not None
    titles = [panel.get_title(loc="left") or panel.get_title() for panel in drawing.figure.axes]
    assert titles == [rf"$\ell_{{{p}}}$" for p in (2, 3, 4, 5)]
