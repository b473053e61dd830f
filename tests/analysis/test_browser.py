"""The page in a real browser: Debian's Chromium, driven by Playwright, from a file and with the network off."""

import shutil

import pytest
from synthetic import make_run, make_tuning_run, seeded_finals
from synthetic_rank import make_rank_run

from analysis.report import build_report

DRAWN = True
pytestmark = pytest.mark.browser
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra browser)")
CHROMIUM = shutil.which("chromium")
FINALS = seeded_finals({"norm": 0.86, "lora": 0.87, "parallel": 0.85, "deep_lora": 0.88}, 3)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module", params=["continual", "tuning", "rank"])
def report(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "tuning":
        return build_report(make_tuning_run(folder, FINALS))
    if request.param == "rank":
        return build_report(make_rank_run(folder, seeded_finals({"head": 0.6, "r=1": 0.7, "r=2": 0.72}, 3)))
    return build_report(make_run(folder, seeded_finals({"baseline": 0.44, "alpha=0.1": 0.40}, 3)))


@pytest.fixture(params=[390, 1280])
def page(request, browser, report):
    context = browser.new_context(viewport={"width": request.param, "height": 900}, offline=True)
    opened, said = context.new_page(), []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on(
        "request", lambda request: said.append(request.url) if request.url[:5] not in ("file:", "data:") else None
    )
    opened.goto(report.page.as_uri())
    opened.wait_for_load_state("load")
    yield opened
    assert said == []
    context.close()


def test_every_picture_is_drawn(page, report):
    widths = page.evaluate("[...document.images].map(image => image.complete ? image.naturalWidth : 0)")
    assert len(widths) == sum(len(part.pictures) for part in report.parts) and min(widths) > 0


def test_nothing_hangs_over_the_side_and_letters_are_large_enough(page, report):
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    cells = page.evaluate(
        """[...document.querySelectorAll('th, td, .caption, figcaption, li, p, dd')].map(element => {
            const box = element.closest('.scroll') ?? element;
            return [parseFloat(getComputedStyle(element).fontSize), box.getBoundingClientRect().right];
        })"""
    )
    tables = [table for part in report.parts for table in part.tables]
    assert len(cells) > sum(len(table.rows) * len(table.columns) for table in tables)
    assert min(size for size, _ in cells) >= 12
    assert max(right for _, right in cells) <= page.viewport_size["width"]


def test_a_table_that_is_too_wide_scrolls_in_its_own_box_with_its_rows_named(page):
    wide = page.locator(".scroll:has(table)").first
    wide.evaluate("box => { box.scrollLeft = box.scrollWidth }")
    box, name = wide.bounding_box(), wide.locator("tbody th").first.bounding_box()
    assert name["x"] == pytest.approx(box["x"], abs=1)
    if page.viewport_size["width"] == 390:
        assert wide.evaluate("box => box.scrollLeft") > 0


def test_three_sentences_are_at_the_top(page, report):
    assert page.locator(".answer p").all_inner_texts() == report.answer
    if page.viewport_size["width"] == 1280:
        assert page.locator(".answer").bounding_box()["y"] < 300


def test_it_prints(page, report):
    pdf = page.pdf(prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF") and len(pdf) > 20_000
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"


def test_it_follows_a_dark_desktop(page):
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 26)"
    # The letters of a picture are dark, so its paper stays white.
    assert page.evaluate("getComputedStyle(document.images[0]).backgroundColor") == "rgb(255, 255, 255)"
