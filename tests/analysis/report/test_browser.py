"""The page in a real browser: Debian's Chromium, driven by Playwright, from a file and with the network off."""

import shutil

import pytest
from synthetic import make_run, seeded_finals

from analysis.report import build_report

DRAWN = True
pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra browser)")
CHROMIUM = shutil.which("chromium")
FINALS = seeded_finals({"baseline": 0.44, "a <b>": 0.40, "c": 0.30}, 5)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return build_report(make_run(tmp_path_factory.mktemp("run"), FINALS))


@pytest.fixture(params=[(1280, "light"), (390, "light"), (1280, "dark")], ids=["wide", "phone", "dark"])
def page(browser, report, request):
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    opened, said = context.new_page(), []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on(
        "request", lambda request: said.append(request.url) if request.url[:5] not in ("file:", "data:") else None
    )
    opened.goto(report.page.as_uri())
    opened.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    for chart in opened.locator("[data-chart]").all():
        chart.scroll_into_view_if_needed()
        chart.locator("svg.marks").wait_for()
    opened.evaluate("window.scrollTo(0, 0)")
    yield opened
    assert said == []
    context.close()


def test_every_chart_is_drawn_inside_the_page(page, report):
    assert page.locator("[data-chart] svg.marks").count() == len(report.charts) >= 4
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    sizes = page.evaluate(
        "[...document.querySelectorAll('th, td, li, p')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 12
    ink, ground = page.evaluate(
        """['color', 'backgroundColor'].map(name => getComputedStyle(document.body)[name].match(/[0-9]+/g).slice(0, 3)
           .map(Number).reduce((a, b) => a + b))"""
    )
    assert abs(ink - ground) > 450  # text stands out, in the dark too


def test_first_the_answer_then_the_table_then_the_picture(page, report):
    tops = [page.locator(one).first.bounding_box()["y"] for one in (".answer", "main > .scroll table", "main > figure")]
    assert tops == sorted(tops)
    assert page.locator(".answer p").all_inner_texts() == report.answer
    assert "<b>" in page.locator("main > .scroll table").first.inner_text()


def test_a_dot_says_what_it_is_and_a_click_singles_its_configuration_out(page):
    dots = page.locator("[data-chart=seeds] svg.marks path[aria-roledescription='circle']")
    count = dots.count()
    assert count == 15
    dots.first.hover(force=True)  # on a phone dots overlap
    page.locator("#vg-tooltip-element.visible").wait_for()
    assert "configuration" in page.locator("#vg-tooltip-element").inner_text()
    dots.first.click(force=True)
    page.wait_for_timeout(300)
    faint = page.evaluate(
        """[...document.querySelectorAll("[data-chart=seeds] path[aria-roledescription='circle']")]
           .filter(e => parseFloat(e.getAttribute('opacity') ?? 1) < 0.5).length"""
    )
    assert faint == 10


def test_rows_are_sorted_by_a_click_and_by_the_keyboard(page):
    table = page.locator("main > .scroll table").first
    heading = table.locator("th button").nth(2)
    heading.click()
    values = [float(text.split()[0]) for text in table.locator("tbody tr td:nth-child(3)").all_inner_texts()]
    assert values == sorted(values)
    heading.focus()
    page.keyboard.press("Enter")
    values = [float(text.split()[0]) for text in table.locator("tbody tr td:nth-child(3)").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    assert table.locator("th").nth(2).get_attribute("aria-sort") == "descending"


def test_behind_every_chart_is_a_table_for_a_screen_reader(page, report):
    assert page.locator("details.behind table").count() == len(report.charts)
    assert all(
        page.locator("details.behind table").nth(place).locator("tbody tr").count()
        for place in range(len(report.charts))
    )
