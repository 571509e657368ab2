"""The site of the documentation: complete, and as ``tox -e docs`` builds it, readable on every screen without a network."""

import ast
import re
import shutil
from pathlib import Path

import pytest

import bbh_bench.testing

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install 'bbh-bench[test]'"
)
CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome", "chrome"])), None)
ROOT = Path(__file__).parents[1]
SITE = ROOT / "build" / "docs"
REFERENCE = "\n".join(page.read_text() for page in sorted((ROOT / "docs" / "reference").glob("*.md")))
DOCUMENTED = re.findall(r"^::: (bbh_bench[\w.]*)$", REFERENCE, re.MULTILINE)
WITHOUT_NETWORK = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def public_names(module: str) -> set[str]:
    """Classes, functions and documented aliases that a module defines."""
    body = ast.parse((ROOT / "bbh_bench" / f"{module}.py").read_text()).body
    defined = {node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    aliases = {node.target.id for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    return {name for name in defined | aliases if not name.startswith("_")}


@pytest.mark.parametrize("module", ["api", "problem"])
def test_the_reference_has_every_public_name_of_a_contract(module):
    assert public_names(module) <= {path.rpartition(".")[2] for path in DOCUMENTED}


def test_the_reference_has_every_contract_test():
    assert {f"bbh_bench.testing.{name}" for name in bbh_bench.testing.__all__} <= set(DOCUMENTED)


def test_the_reference_has_every_name_that_the_package_exports():
    names = {path.rpartition(".")[2] for path in DOCUMENTED} | public_names("errors") | {"hookimpl"}
    assert set(bbh_bench.__all__) <= names
    assert {"bbh_bench.errors", "bbh_bench.hookspecs"} <= set(DOCUMENTED)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    if not (SITE / "index.html").exists():
        pytest.skip("the site is not built: tox -e docs builds it and runs this test")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=WITHOUT_NETWORK)
        yield chromium
        chromium.close()


def page_files():
    """Of all pages, by name."""
    names = sorted(str(path.relative_to(ROOT / "docs").with_suffix("")) for path in (ROOT / "docs").rglob("*.md"))
    return {name: SITE / ("index.html" if name == "index" else f"{name}/index.html") for name in names}


@pytest.fixture(params=[("light", 1300), ("dark", 360)], ids=["light and wide", "dark and narrow"])
def context(request, browser):
    theme, width = request.param
    opened = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    yield opened
    opened.close()


def test_each_page_fits_the_screen_and_loads_nothing_from_elsewhere(context):
    page = context.new_page()
    requested, messages = [], []
    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: messages.append(str(error)))
    too_wide = []
    for name, file in page_files().items():
        page.goto(file.as_uri())
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            too_wide.append(name)
    assert not too_wide
    assert not messages
    assert not [url for url in requested if not url.startswith(("file:", "data:", "blob:"))]


@pytest.mark.parametrize("name", ["index", "plugins", "submitting"])
def test_texts_have_contrast_and_links_are_not_told_by_colour_alone(context, name):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = context.new_page()
    page.goto(page_files()[name].as_uri())
    results = axe.Axe().run(page, options={"runOnly": ["color-contrast", "link-in-text-block", "document-title"]})
    assert results.violations_count == 0, results.generate_report()
