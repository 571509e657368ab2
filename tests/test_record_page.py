"""One record, as a user reads it."""

from pathlib import Path

import msgspec
import pytest
from record_factory import PROVENANCE, failed, record

from bbh_bench.leaderboard.record_page import record_page
from bbh_bench.records.record import Record

replace = msgspec.structs.replace
SCHEMA_2 = sorted((Path(__file__).parent / "data" / "schema2").glob("*/v*/*/seed*.json"))


def line(page, name):
    return next(text.split() for text in page.splitlines() if text.split()[:1] == [name])


def test_a_page_has_settings_origin_scores_audit_and_costs():
    page = record_page(record("m", 3))
    assert page.splitlines()[0] == "t v1, m v1, seed 3: finished"
    assert line(page, "lr") == ["lr", "0.01"]
    assert line(page, "attacks") == ["attacks", "a"]
    assert line(page, "source") == ["source", "digest", "c0de"]
    assert line(page, "test/nll") == ["test/nll", "0.1", "lower", "is", "better"]
    assert line(page, "pgd_vs_fgsm")[1:6] == ["pass", "-1.25", "points", "(limit", "2)"]
    assert line(page, "gradients")[1:3] == ["not", "applicable"]
    assert line(page, "fit/relative") == ["fit/relative", "1.25"]
    assert "bbh-bench run, 2026-01-01T00:00:00Z, on cpu" in page
    assert "commit 0123456789abcdef" in page
    assert "a processor, 2 threads, 4 cores, AVX2, 8.0 GiB of memory, Linux" in page
    titles = [text for text in page.splitlines() if text and not text.startswith(" ")]
    assert titles[1:] == ["Settings", "Origin", "Scores", "Audit", "Costs"]


def test_warnings_are_shown():
    page = record_page(record("m", warnings=["this could not be measured, " * 10, "nor this"]))
    assert "\n  - this could not be measured," in page
    assert "\n  - nor this" in page
    assert "Warnings" not in record_page(record("m"))
    assert max(map(len, page.splitlines())) <= 120


def test_a_cached_posterior_names_the_run_that_fitted_it():
    fit = replace(
        PROVENANCE, commit="feedface", command="bbh-bench run --seeds 7", started="2025-05-05T05:05:05Z", dirty=True
    )
    page = record_page(record("m", provenance=replace(PROVENANCE, fit=fit)))
    assert (
        "from the cache; fitted by bbh-bench run --seeds 7 at commit feedface with uncommitted changes on 2025-" in page
    )
    assert "fitted by" not in record_page(record("m"))


def test_a_failed_cell_has_its_location_and_traceback():
    page = record_page(failed("m"))
    assert page.splitlines()[0] == "t v1, m v1, seed 0: failed"
    assert "Diverged at net.py:7: the loss\nwas nan" in page
    assert page.endswith("Traceback:\n  net.py, line 7")
    assert "Scores" not in page


def test_what_is_not_known_is_said():
    original = record("m")
    package = replace(original.method.package, version=None, commit=None)
    page = record_page(replace(original, method=replace(original.method, package=package, source=None)))
    assert "bbh-bench (unknown version), unknown commit" in page
    assert line(page, "source") == ["source", "digest", "unknown"]


@pytest.mark.parametrize("path", SCHEMA_2, ids=str)
def test_records_of_schema_2_have_a_page(path):
    original = Record.read(path)
    page = record_page(original)
    for name, value in original.scores.items():
        assert line(page, name)[1] == f"{value:.6g}"
