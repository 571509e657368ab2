"""A board is rendered again only where its records changed, and is always the one that all records give."""

import msgspec
import pytest
from record_factory import record, with_task

from bbh_bench.errors import RecordError
from bbh_bench.leaderboard import files, render_folder
from bbh_bench.records.store import Store
from bbh_bench.records.verifications import Verification, add_to_log

replace = msgspec.structs.replace


@pytest.fixture
def folder(tmp_path):
    """Three tasks with two methods each."""
    for name in ("t", "u", "v"):
        for method, level in (("a", 0.1), ("b", 0.2)):
            for seed in range(3):
                put(tmp_path, with_task(record(method, seed, level + seed / 100), name=name))
    return tmp_path


def put(folder, new):
    path = folder / new.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(new.to_json())


def rendered(folder):
    page, unreadable = render_folder(Store(folder), folder)
    assert page.exists()
    return unreadable


def times(folder, *patterns):
    return {path: path.stat().st_mtime_ns for pattern in patterns for path in folder.glob(pattern)}


def assert_is_whole(folder):
    """All pages are those of a board that is rendered from all records at once."""
    expected = files(Store(folder).readable()[0], Store(folder).arrays)
    assert {path for path, content in expected.items() if (folder / path).read_bytes() != content} == set()


def test_nothing_is_written_again_but_the_pages_about_all_tasks(folder):
    rendered(folder)
    assert_is_whole(folder)
    before = times(folder, "t-*", "site/tasks/*", "site/records/*/*")
    assert len(before) > 20
    rendered(folder)
    assert times(folder, "t-*", "site/tasks/*", "site/records/*/*") == before
    assert_is_whole(folder)


def test_a_new_record_changes_the_pages_of_its_task_only(folder):
    rendered(folder)
    others = times(folder, "[uv]-*", "site/tasks/[uv]-*", "site/records/*/*")
    put(folder, with_task(record("a", 3, 0.5), name="t"))
    rendered(folder)
    assert_is_whole(folder)
    after = times(folder, "[uv]-*", "site/tasks/[uv]-*", "site/records/*/*")
    assert {path: after[path] for path in others} == others
    assert [path.name for path in after.keys() - others.keys()] == ["a-seed3.html"]


@pytest.mark.parametrize(
    "new", [record("c"), with_task(record("a"), name="w"), with_task(record("a"), fingerprint="g")]
)
def test_a_new_method_or_task_shows_on_every_page(folder, new):
    rendered(folder)
    put(folder, with_task(new, name="w") if new.task.name == "w" else with_task(new, name="t"))
    rendered(folder)
    assert_is_whole(folder)


def test_a_changed_and_a_deleted_record_are_seen(folder):
    rendered(folder)
    put(folder, with_task(record("a", 0, 0.7), name="u"))
    (folder / "v/v1/b/seed2.json").unlink()
    rendered(folder)
    assert_is_whole(folder)


def test_a_damaged_record_is_named_each_time_and_its_repair_is_seen(folder):
    path = folder / "u/v1/a/seed1.json"
    good = path.read_bytes()
    rendered(folder)
    path.write_bytes(good[:100])
    for _ in range(2):
        (sentence,) = rendered(folder)
        assert str(path) in sentence
        assert_is_whole(folder)
    path.write_bytes(good)
    assert rendered(folder) == []
    assert_is_whole(folder)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"code": 1}', b"\xff" * 100, b"[" * 10_000])
def test_a_damaged_state_is_as_none(folder, content):
    rendered(folder)
    (folder / "site/.state.json").write_bytes(content)
    assert rendered(folder) == []
    assert_is_whole(folder)


def test_a_deleted_page_is_written_again(folder):
    rendered(folder)
    for pattern in ("t-*.md", "site/tasks/u-*", "LEADERBOARD.md", "site/index.html"):
        next(folder.glob(pattern)).unlink()
    rendered(folder)
    assert_is_whole(folder)


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(RecordError, match="no records"):
        render_folder(Store(tmp_path), tmp_path)


def test_an_entry_of_the_log_changes_the_pages_of_its_record_and_task_only(folder):
    rendered(folder)
    others = times(folder, "[uv]-*", "site/tasks/[uv]-*", "site/records/*/*")
    task = times(folder, "t-*.md")
    entry = Verification(
        record="t/v1/a/seed0.json",
        predictions="a" * 64,
        level="recomputed",
        result="",
        by="",
        when="2026-01-01T00:00:00Z",
        suite="1",
        commit=None,
        vector=None,
    )
    add_to_log(folder, [entry])
    rendered(folder)
    after = times(folder, "[uv]-*", "site/tasks/[uv]-*", "site/records/*/*")
    assert [path.name for path in others if after[path] != others[path]] == ["a-seed0.html"]
    assert times(folder, "t-*.md") != task
