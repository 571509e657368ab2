"""The files of the site: links lead somewhere, texts from outside stay texts, records say how to make them again."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

import msgspec
import pytest
from record_factory import FAILED, PROVENANCE, failed, record, with_task

from bbh_bench.leaderboard import files
from bbh_bench.leaderboard.pareto import pareto_front
from bbh_bench.leaderboard.site.record_page import commands
from bbh_bench.leaderboard.tables import by_task
from bbh_bench.records.record import Failure
from bbh_bench.records.store import Store

PUBLISHED = Path(__file__).parent.parent / "leaderboard"
replace = msgspec.structs.replace
HOSTILE = [
    "<script>EVIL()</script>",
    "\"'><img src=x onerror=EVIL()>",
    "</script><script>EVIL()</script>",
    "[EVIL](javascript:EVIL())",
    "![EVIL](https://example.org/EVIL.png)",
    "{{ EVIL }}{% EVIL %}",
    "`EVIL` **EVIL** ~~EVIL~~ | EVIL\n\n# EVIL",
    "../../EVIL",
    "EVIL\x00\u202e\x1b[31m",
    "EVIL" * 500,
]


class Page(HTMLParser):
    """Tags with their attributes, and the targets of links."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.links = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.links += [value for name, value in attributes if name in ("href", "src")]


def rendered(records, read=None):
    return {
        path.removeprefix("site/"): content
        for path, content in files(records, read).items()
        if path.startswith("site/")
    }


@pytest.fixture(scope="module")
def published():
    store = Store(PUBLISHED)
    return rendered(store.records(), store.arrays)


def pages(site):
    return {path: Page(content.decode()) for path, content in site.items() if path.endswith(".html")}


def test_captions_are_plain_text_that_no_paragraph_repeats(published):
    captions = 0
    for path, content in published.items():
        if path.startswith("tasks/"):
            text = " ".join(content.decode().split())
            for caption in re.findall("<figcaption>(.*?)</figcaption>", text):
                captions += 1
                assert not re.search(r"\\[^\w\s]", caption)
                assert f"<p>{caption}</p>" not in text
    assert captions > 10


def test_every_link_leads_to_a_file_of_the_site_or_to_an_anchor(published):
    anchors = {
        path: {attributes["id"] for _, attributes in page.tags if "id" in attributes}
        for path, page in pages(published).items()
    }
    links = 0
    for path, page in pages(published).items():
        for link in page.links:
            if link.startswith("data:"):
                continue
            target, _, anchor = link.partition("#")
            parts = []
            for part in (PurePosixPath(path).parent / target).parts:
                parts = parts[:-1] if part == ".." else [*parts, part]
            found = "/".join(parts) if target else path
            assert found in published, f"{path}: {link}"
            assert not anchor or anchor in anchors[found], f"{path}: {link}"
            links += 1
    assert links > 1000


def test_there_is_a_page_for_each_record_method_and_task(published):
    records = Store(PUBLISHED).records()
    assert sum(path.startswith("records/") for path in published) == len(records)
    assert sum(path.startswith("methods/") for path in published) == len({each.method.name for each in records})
    assert sum(path.startswith("tasks/") for path in published) == len(by_task(records))


def with_text(base, text):
    """A record with one text from outside in each place that a board shows."""
    method = replace(
        base.method,
        name=text,
        description=text,
        hyperparameters={text: text},
        package=replace(base.method.package, name=text, version=text, commit=text),
    )
    run = replace(base.provenance, command=text, packages={"bbh-bench": text, "torch": text}, commit=text)
    run = replace(
        run, hardware=replace(run.hardware, processor=text, system=text), started=text, python=text, device=text
    )
    task = replace(base.task, name=text, title=text, fingerprint=text)
    check = replace(FAILED, verdict="fail", value=9.0, limit=1.0, description=text, unit=text)
    audit = {text: check} if base.audit else {}
    parts = {"method": method, "provenance": run, "task": task, "warnings": [text]}
    if not base.finished:
        return replace(base, **parts, error=Failure(type=text, message=text, location=text, traceback=text))
    scores = base.scores | {f"test/{text}": 1.0, f"ood/{text}/auroc": 0.5, text: 0.0}
    return replace(
        base, **parts, audit=audit, scores=scores, curves=base.curves | {f"attack/{text}": base.curves["attack/a"]}
    )


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("base", [record(), failed()], ids=["finished", "failed"])
def test_texts_from_outside_add_no_markup_and_no_address(text, base):
    plain, hostile = rendered([base]), rendered([with_text(base, text)])
    assert len(hostile) == len(plain)
    for path, page in pages(hostile).items():
        assert ".." not in PurePosixPath(path).parts
        assert len(path) < 250
        assert not {tag for tag, _ in page.tags} & {"img", "iframe", "object", "embed", "form", "base"}
        scripts = [attributes for tag, attributes in page.tags if tag == "script"]
        assert all(each.get("src", "").lstrip("./").startswith("assets/") for each in scripts if "src" in each)
        own = [each for each in scripts if "src" not in each and each.get("type") != "application/json"]
        assert len(own) == 1  # which chooses light or dark
        assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
        assert not [link for link in page.links if ":" in link and link != "data:,"]
        assert "EVIL" not in {attributes.get("href") for _, attributes in page.tags}


def test_data_of_charts_and_explanations_is_json(published):
    for path, content in published.items():
        if path.startswith(("tasks/", "index")):
            blocks = re.findall(r"<script type=.application/json.[^>]*>(.*?)</script>", content.decode(), re.DOTALL)
            assert len(blocks) > 5
            for block in blocks:
                json.loads(block)


def test_the_command_of_a_record_has_its_cell_and_the_options_that_decide_scores():
    original = (
        "bbh-bench run --task t,u --seeds 0-9 --attack 'my attack' --executor processes --jobs 4 --no-fast --records x"
    )
    made = replace(record("m", 7), provenance=replace(PROVENANCE, command=original))
    checkout, run, diff = commands(made)
    assert checkout == "git checkout 0123456789abcdef"
    assert run == "bbh-bench run --task t --method m --seeds 7 --attack 'my attack' --no-fast --records again"
    assert diff == "bbh-bench diff leaderboard/t/v1/m/seed7.json again/t/v1/m/seed7.json"
    assert len(commands(replace(made, provenance=replace(PROVENANCE, dirty=True)))) == 2


def test_a_method_on_the_front_is_dominated_by_none():
    points = {
        "cheap": [1.0, 0.5],
        "good": [5.0, 0.9],
        "worse": [6.0, 0.8],
        "twin": [5.0, 0.9],
        "unknown": [0.0, float("nan")],
    }
    assert pareto_front(points, ["lower", "higher"]) == ["cheap", "good", "twin"]


def test_tasks_with_one_name_are_told_apart_in_the_navigation():
    site = rendered([record(), with_task(record(), version=2), with_task(record(), fingerprint="g")])
    links = re.findall(r'<a href="tasks/[^"]*">([^<]*)</a>', site["index.html"].decode().partition("<main")[0])
    assert sorted(links) == ["t v1 f", "t v1 g", "t v2 f"]


def test_a_board_without_records_has_a_page_that_says_so():
    assert "There are no records yet" in rendered([])["index.html"].decode()
