"""The site in headless Chromium: it draws, sorts, filters, explains, and can be used by everyone."""

import csv
import functools
import os
import shutil
from pathlib import Path

import pytest

from bbh_bench.leaderboard import render
from bbh_bench.records.store import Store

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install 'bbh-bench[test]'"
)
CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome", "chrome"])), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")

PUBLISHED = Path(__file__).parent.parent / "leaderboard"
RECORD = "records/digits5-v3-156429/bbh-seed0.html"
METHODS = {record.method.name for record in Store(PUBLISHED).records() if record.task.name == "digits5"}
LARGE = ("tasks/cifar5-short", "tasks/digits5-v", "tasks/mnist-short")
LARGEST_FIRST_PAGE = 2_000_000
"""Bytes, with scripts and styles."""
WITHOUT_NETWORK = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    store = Store(PUBLISHED)
    out = tmp_path_factory.mktemp("board")
    render(store.records(), out, store.arrays)
    return out / "site"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=WITHOUT_NETWORK)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(site, browser):
    """Opens a page by its path in the site; console messages and requests are collected on it."""
    contexts = []

    def opened(path, width=1300, theme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        page.messages, page.requested = [], []
        page.on("console", lambda message: page.messages.append(message.text))
        page.on("pageerror", lambda error: page.messages.append(str(error)))
        page.on("request", lambda request: page.requested.append(request.url))
        page.goto((site / path).as_uri())
        page.wait_for_function("document.querySelectorAll('.chart:not([data-drawn])').length === 0", timeout=60_000)
        return page

    yield opened
    for context in contexts:
        context.close()


def paths(site):
    return [
        "index.html",
        *sorted(str(path.relative_to(site)) for path in site.glob("tasks/*.html")),
        "methods/bbh.html",
        RECORD,
    ]


@pytest.mark.parametrize(("theme", "width"), [("light", 1300), ("dark", 390)])
def test_every_kind_of_page_draws_without_a_message_or_a_request_and_fits_the_screen(site, visit, theme, width):
    drawn = {}
    for path in paths(site):
        page = visit(path, width, theme)
        assert page.messages == [], path
        assert all(url.startswith(("file:", "data:", "blob:")) for url in page.requested), path
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path
        marks = page.evaluate(
            "[...document.querySelectorAll('.chart')].map((each) => each.querySelectorAll("
            "'svg .mark-symbol path, svg .mark-line path, svg .mark-area path').length)"
        )
        assert all(marks), path
        drawn[path] = len(marks)
    assert all(drawn[path] >= 6 for path in paths(site) if path.startswith(("index", "tasks")))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_violates_a_rule_of_accessibility(site, visit, theme):
    """In the dark, smaller pages of the same kinds stand for the large ones, which take half a minute."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    for path in paths(site):
        if theme == "dark" and path.startswith(LARGE):
            continue
        results = axe.Axe().run(visit(path, theme=theme))
        assert results.violations_count == 0, f"{path}: {results.generate_report()}"


def explorer(page, task="digits5"):
    return page.locator(f".explorer:has(table[data-name^='{task}-v'])")


def shown(table, column=1):
    return [text.rstrip("*") for text in table.locator(f"tbody tr:visible > :nth-child({column})").all_inner_texts()]


def values_of(table, column):
    cells = table.locator(f"tbody tr > :nth-child({column})").all()
    return [float(cell.get_attribute("data-value")) for cell in cells]


def test_tables_sort_by_numbers_and_by_names_and_say_so(visit):
    table = explorer(visit("index.html")).locator("table")
    nll = table.locator("th[data-name='test/nll']")
    column = nll.evaluate("(each) => each.cellIndex") + 1
    nll.locator("button").click()
    assert nll.get_attribute("aria-sort") == "ascending"
    values = values_of(table, column)
    assert values == sorted(values)
    assert len(values) == len(METHODS)
    nll.locator("button").focus()
    nll.page.keyboard.press("Enter")
    assert nll.get_attribute("aria-sort") == "descending"
    assert values_of(table, column) == sorted(values, reverse=True)
    table.locator("thead button").first.click()
    names = shown(table)
    assert nll.get_attribute("aria-sort") == "none"
    assert names == sorted(names)


def test_a_filter_leaves_the_rows_that_have_all_words(visit):
    own = explorer(visit("index.html"))
    own.locator("input[type=search]").fill("bbh sliced")
    assert shown(own.locator("table")) == ["bbh-sliced"]
    assert own.locator("output").inner_text() == f"1 of {len(METHODS)} rows"
    own.locator("input[type=search]").fill("")
    assert sorted(shown(own.locator("table"))) == sorted(METHODS)


def test_columns_are_chosen_by_section_and_the_csv_has_what_is_shown(visit, tmp_path):
    page = visit("tasks/digits5-v3-156429.html")
    own = explorer(page)
    headings = own.locator("th[scope=col]:visible")
    assert "FPR95 ↓" not in [text.replace("\xa0", " ") for text in headings.all_inner_texts()]
    own.locator("summary").click()
    for box in own.get_by_role("checkbox").all():
        box.set_checked("OOD" in box.locator("xpath=..").inner_text())
    texts = [text.replace("\xa0", " ").strip() for text in headings.all_inner_texts()]
    assert "FPR95 ↓" in texts
    assert "error % ↓" not in texts
    own.locator("input[type=search]").fill("ensemble")
    with page.expect_download() as download:
        own.locator("button.csv").click()
    download.value.save_as(tmp_path / "shown.csv")
    heading, *rows = csv.reader((tmp_path / "shown.csv").read_text().splitlines())
    assert sorted(row[0] for row in rows) == sorted(name for name in METHODS if "ensemble" in name)
    (row,) = (row for row in rows if row[0] == "ensemble")
    values = dict(zip(heading, row, strict=True))
    assert 0.9 < float(values["ood/digits5-9/auroc"]) < 1
    assert float(values["ood/digits5-9/auroc (half of the 95 % interval)"]) > 0
    assert "test/error" not in values


def test_headings_are_explained_where_the_pointer_rests_and_for_the_keyboard(visit):
    page = visit("index.html")
    heading = explorer(page).locator("th[data-name='test/ece']")
    heading.hover()
    assert "calibration" in page.locator("#tip").inner_text()
    page.mouse.move(0, 0)
    assert page.locator("#tip").is_hidden()
    heading.locator("button").focus()
    assert "calibration" in page.locator("#tip").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    assert "calibration" in heading.locator("button").get_attribute("aria-description")


def test_the_button_changes_the_colours_of_page_and_charts(visit):
    page = visit("index.html", theme="light")
    background = functools.partial(page.evaluate, "getComputedStyle(document.body).backgroundColor")
    label = functools.partial(page.evaluate, "document.querySelector('.chart svg text').getAttribute('fill')")
    before = background(), label()
    page.locator("#theme").click()
    page.wait_for_function(
        "(old) => document.querySelector('.chart svg text').getAttribute('fill') !== old", arg=before[1]
    )
    assert background() != before[0]
    assert page.locator("#theme").inner_text() == "Light"


def test_a_record_is_two_clicks_away_and_has_the_command_that_makes_it_again(visit):
    page = visit("index.html")
    explorer(page).get_by_role("link", name="bbh", exact=True).click()
    page.locator("a[href*='digits5-v'][href$='bbh-seed0.html']").click()
    assert "bbh-bench run --task digits5 --method bbh --seeds 0" in page.locator("pre").first.inner_text()


def test_the_first_page_is_small(site):
    files = [site / "index.html", *(site / "assets").glob("*")]
    assert sum(os.path.getsize(path) for path in files) <= LARGEST_FIRST_PAGE
