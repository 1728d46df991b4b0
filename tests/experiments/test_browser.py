"""Reports in a browser: interactive charts follow boxes, sliders and pointer, in the dark, on a phone and on paper."""

import re
import shutil

import fakes
import pytest

from experiments.reporting import report

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium")
TEXT = fakes.CONFIGURATION + '"data.noise" = [0.0, 0.1]\n'


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Address of the report of three losses and two levels of noise, 12 seeds each, with empty figures."""
    directory = tmp_path_factory.mktemp("run")
    fakes.write_results(directory, fakes.results(directory, TEXT))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "render", lambda d: {f"{d.name}.svg": b'<svg height="50" width="640"></svg>'})
        return report.write_report(directory).path.as_uri()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def visit(browser, address):
    """Opens the report in a context with the given options; what it said and asked for is checked at the end."""
    said, asked, contexts = [], [], []

    def open_report(**options):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        if options.get("java_script_enabled", True):
            page.evaluate("() => window.explored.then(() => null)")
        return page

    yield open_report
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith("blob:")] == [address] * len(contexts)


def lines(page, chart="risk"):
    """Paths of the curves of a chart."""
    return page.locator(f"#explore-{chart} svg g.drawn_marks path")


def test_boxes_take_a_loss_out_of_all_charts_and_a_slider_changes_the_cell(visit):
    page = visit()
    assert lines(page).count() == 36
    before = lines(page).first.get_attribute("d")
    page.locator("input[name=series]").nth(1).uncheck()
    for chart in ("risk", "gradient", "limits"):
        playwright.expect(lines(page, chart)).to_have_count(24)
    page.locator("input[name=place]").fill("1")
    playwright.expect(page.locator("output").first).to_have_text("0.1")
    playwright.expect(lines(page).first).not_to_have_attribute("d", before)
    playwright.expect(lines(page)).to_have_count(24)


def test_the_flow_under_the_pointer_is_told_and_drawn_in_all_charts(visit):
    page = visit()
    focused = page.locator("#explore-focus")
    chart = page.locator("#explore-gradient svg.marks")
    chart.hover(position={"x": 150, "y": 20})
    playwright.expect(focused).to_have_text(re.compile(r"^loss .*, noise 0, seed \d+, CONVERGED, minimum, path length"))
    for name in ("risk", "gradient", "limits"):
        playwright.expect(page.locator(f"#explore-{name} svg g.focus_marks path")).to_have_count(1)
    page.mouse.move(0, 0)
    playwright.expect(focused).to_have_text("")
    page.locator("#explore-risk").focus()
    page.keyboard.press("ArrowRight")
    playwright.expect(focused).to_have_text(re.compile("^loss square, .*seed 0,"))
    page.keyboard.press("ArrowLeft")
    playwright.expect(focused).to_have_text(re.compile(r"^loss pseudo-Huber\(0.1\), .*seed 11,"))


def test_axes_may_be_linear_and_those_of_the_limits_chosen(visit):
    page = visit()
    title = page.locator("#explore-limits svg g.role-axis-title text")
    playwright.expect(title.filter(has_text="relative error")).to_have_count(1)
    page.locator("select[name=y]").select_option("steps")
    playwright.expect(title.filter(has_text="integration steps")).to_have_count(1)
    ticks = page.locator("#explore-gradient svg g.role-axis-label text")
    playwright.expect(ticks.filter(has_text="1e-16")).to_have_count(1)
    page.locator("input[name=log]").uncheck()
    playwright.expect(ticks.filter(has_text="1e-16")).to_have_count(0)
    playwright.expect(ticks.filter(has_text="0.5")).to_have_count(1)


def test_a_table_is_sorted_by_the_heading_that_is_pressed_and_then_the_other_way(visit):
    page = visit()
    table = page.locator("#verdicts ~ .scroll table, #verdicts ~ details table").first
    heading = table.locator("thead th").nth(1)
    rows = table.locator("tbody tr td:nth-child(2)")
    before = rows.all_inner_texts()
    assert len(set(before)) == 2, "the noise of the cells"
    heading.get_by_role("button").press("Enter")
    assert rows.all_inner_texts() == sorted(before, key=float) != before
    playwright.expect(heading).to_have_attribute("aria-sort", "ascending")
    heading.get_by_role("button").click()
    assert rows.all_inner_texts() == sorted(before, key=float, reverse=True)
    playwright.expect(heading).to_have_attribute("aria-sort", "descending")


def test_a_chart_is_saved_as_vector_graphics_with_text(visit):
    page = visit()
    page.locator("#explore-risk summary").click()
    with page.expect_download() as saved:
        page.locator("#explore-risk a", has_text="SVG").click()
    assert saved.value.suggested_filename == "risk.svg"
    assert "flow time t" in saved.value.path().read_text()


def test_in_the_dark_paper_words_and_charts_are_those_of_the_dark(visit):
    page = visit(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(25, 25, 25)"
    label = page.locator("#explore-risk svg g.role-axis-label text").first
    assert label.get_attribute("fill") == page.evaluate(
        "getComputedStyle(document.documentElement).getPropertyValue('--ink')"
    )
    page.emulate_media(color_scheme="light")
    playwright.expect(label).to_have_attribute("fill", "#1d2430")


def test_on_a_phone_nothing_is_wider_than_the_screen_and_charts_stand_below_each_other(visit):
    page = visit(viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    first, second = (page.locator(f"#explore-{name} svg.marks").bounding_box() for name in ("risk", "gradient"))
    assert first["y"] + first["height"] <= second["y"]
    assert first["x"] + first["width"] <= 390


def test_without_scripts_and_on_paper_the_figures_are_there_and_the_charts_are_not(visit):
    plain = visit(java_script_enabled=False)
    assert plain.locator("#explore").is_hidden()
    assert plain.locator('a[href="#explore"]').is_hidden()
    assert plain.locator("#filters svg").is_visible()
    paper = visit()
    paper.emulate_media(media="print")
    assert paper.locator("#explore").is_hidden()
    assert paper.locator("#filters svg").is_visible()
