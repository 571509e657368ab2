"""Verify, rescore and publish: scores follow from the stored arrays, and nothing else gets onto a board."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import QUICK, TINY, Failing, NoProgress, context, planned
from msgspec.structs import replace as changed

from bbh_bench.api import Metric
from bbh_bench.attacks.builtin import NOISE_LINF
from bbh_bench.errors import RecordError
from bbh_bench.plugins import Registered, Registry, load_plugins
from bbh_bench.publishing.publish import publish
from bbh_bench.publishing.rescore import rescore
from bbh_bench.publishing.verify import verify_records
from bbh_bench.records.record import Record
from bbh_bench.records.store import Store
from bbh_bench.running.runner import run_cell

PUBLISHED = Path(__file__).parents[1] / "leaderboard"
COMMIT = "0123456789abcdef" * 3


@pytest.fixture(autouse=True)
def not_in_a_clone(monkeypatch):
    """The suite cannot look commits up."""
    monkeypatch.setattr("bbh_bench.publishing.plausible.exists", lambda commit: None)


@pytest.fixture(scope="module")
def plugins():
    """The built-in plugins, and the task ``tiny``."""
    builtin = load_plugins(external=False)
    tiny = Registered(TINY, "tests", TINY.title)
    quick = Registered(QUICK, "bbh-bench", builtin.methods.registered("map").description)
    return replace(
        builtin,
        tasks=Registry("task", {**builtin.tasks.entries, "tiny": tiny}),
        methods=Registry("method", {**builtin.methods.entries, "quick": quick}),
    )


@pytest.fixture(scope="module")
def results():
    """A finished cell, and a failed one."""
    loaded, bench = TINY.load(Path()), context()
    done = [run_cell(bench, planned(TINY, method), lambda: loaded, NoProgress()) for method in (QUICK, Failing())]
    return [replace(result, record=clean(result.record)) for result in done]


def clean(record):
    """As if the suite had no uncommitted changes, with which nothing is published."""
    return changed(record, provenance=changed(record.provenance, dirty=False, commit=COMMIT))


@pytest.fixture
def store(results, tmp_path):
    """With the finished cell."""
    store = Store(tmp_path / "runs")
    store.put(results[0].record, results[0].arrays)
    return store


def edit(store, **changes):
    """Change fields of the one record."""
    (record,) = store.records()
    path = store.root / record.path
    path.write_text(changed(record, **changes).to_json())
    return store.records()[0]


def complaint(store, plugins):
    (text,) = verify_records(store.records(), store, plugins).values()
    return text


def test_a_record_as_it_was_made_has_no_fault(store, plugins):
    assert complaint(store, plugins) == ""


@pytest.mark.parametrize(
    ("field", "name"),
    [("scores", "test/nll"), ("scores", "attack/fgsm/robust_accuracy_auc"), ("scores", "robust/linf/degradation")],
)
def test_a_changed_score_is_named(store, plugins, field, name):
    (record,) = store.records()
    edit(store, scores=record.scores | {name: record.scores[name] + 1e-6})
    assert name in complaint(store, plugins)


def test_a_changed_point_of_a_curve_and_a_changed_check_are_named(store, plugins):
    (record,) = store.records()
    curve = record.curves["attack/fgsm"]
    curves = record.curves | {"attack/fgsm": curve | {"accuracy": [1.0, *curve["accuracy"][1:]]}}
    audit = record.audit | {"gradients": changed(record.audit["gradients"], verdict="fail")}
    edit(store, curves=curves, audit=audit)
    text = complaint(store, plugins)
    assert "attack/fgsm/accuracy/0" in text or curve["accuracy"][0] == 1.0
    assert "audit/gradients" in text


def test_the_text_of_a_check_may_be_reworded(store, plugins):
    (record,) = store.records()
    edit(store, audit={name: changed(check, description="other words") for name, check in record.audit.items()})
    assert complaint(store, plugins) == ""


def test_an_invented_or_missing_score_is_named(store, plugins):
    (record,) = store.records()
    edit(store, scores=record.scores | {"invented": 1.0})
    assert "invented" in complaint(store, plugins)
    edit(store, scores={name: value for name, value in record.scores.items() if name != "test/brier"})
    assert "test/brier" in complaint(store, plugins)


def test_changed_arrays_are_no_arrays_of_this_record(store, plugins):
    (path,) = store.root.rglob("*.npz")
    path.write_bytes(path.read_bytes() + b"x")
    assert "are not those of their record" in complaint(store, plugins)


def test_arrays_that_cannot_be_scored_are_no_traceback(store, plugins):
    (record,) = store.records()
    store.put(record, {"test/labels": np.zeros(3, np.uint8)})
    assert "labels of the test images are not those of the data set" in complaint(store, plugins)
    unknown = replace(
        plugins, tasks=Registry("task", {"tiny": Registered(replace(TINY, sets=None), "tests", TINY.title)})
    )
    assert "test/log_odds is missing" in complaint(store, unknown)


def test_a_task_that_is_not_installed_cannot_be_verified(store, plugins):
    others = replace(plugins, tasks=Registry("task", {}))
    assert "the task is not installed here" in complaint(store, others)


MARGIN = Metric(
    "margin", "labelled", "higher", "mean probability of the label", lambda p, y: p.probs[range(len(y)), y].mean()
)


def with_metric(plugins):
    entries = {**plugins.metrics.entries, "margin": Registered(MARGIN, "tests", MARGIN.description)}
    return replace(plugins, metrics=Registry("metric", entries))


def test_a_metric_that_is_added_later_is_computed_from_the_stored_predictions(store, plugins):
    (before,) = store.records()
    later = with_metric(plugins)
    assert complaint(store, later) == ""  # the record does not claim to have it
    assert rescore(store, later) == [before.path]
    (after,) = store.records()
    assert 0.2 < after.scores["test/margin"] < 1
    assert after.directions["margin"] == "higher"
    assert {name: after.scores[name] for name in before.scores} == before.scores
    assert (after.curves, after.cost, after.provenance) == (before.curves, before.cost, before.provenance)
    assert complaint(store, later) == ""
    assert rescore(store, later) == []  # nothing is left to do
    assert complaint(store, plugins) == ""  # without the plugin its score is passed over


def test_rescore_does_not_bless_a_changed_score(store, plugins):
    (record,) = store.records()
    edit(store, scores=record.scores | {"test/nll": 0.0})
    content = (store.root / record.path).read_bytes()
    with pytest.raises(RecordError, match=r"test/nll.*no record was changed"):
        rescore(store, with_metric(plugins))
    assert (store.root / record.path).read_bytes() == content


def test_rescore_refreshes_text_and_leaves_other_tasks_alone(store, plugins):
    (record,) = store.records()
    edit(store, task=changed(record.task, title="an old title"), method=changed(record.method, description="old"))
    rescore(store, plugins)
    (after,) = store.records()
    assert (after.task.title, after.method.description) == (TINY.title, plugins.methods.registered("quick").description)
    edit(store, task=changed(record.task, title="an old title", fingerprint="another"))
    assert rescore(store, plugins) == []
    assert rescore(store, replace(plugins, tasks=Registry("task", {}))) == []


def test_rescore_does_not_relabel_an_attack_that_had_other_settings(store, plugins):
    """Its version and epsilons are those of the installed attack; its algorithm took other steps."""
    (record,) = store.records()
    attacks = [attack | {"algorithm": {"type": "Fgsm", "steps": 1}} for attack in record.task.attacks]
    edit(store, task=changed(record.task, title="an old title", attacks=attacks))
    rescore(store, plugins)
    (after,) = store.records()
    assert after.task.title == TINY.title
    assert after.task.attacks == attacks


@pytest.fixture
def old_store(tmp_path):
    """Three records as schema 2 stored them, with their arrays."""
    folder = tmp_path / "old"
    shutil.copytree(Path(__file__).parent / "data" / "schema2", folder)
    return Store(folder)


def test_records_of_schema_2_verify_and_are_carried_over_by_rescore(old_store, plugins):
    old = {record.path: json.loads((old_store.root / record.path).read_text()) for record in old_store.records()}
    arrays = {path: (old_store.root / path).with_suffix(".npz").read_bytes() for path in old}
    assert set(verify_records(old_store.records(), old_store, plugins).values()) == {""}
    assert sorted(rescore(old_store, plugins)) == sorted(old)
    for record in old_store.records():
        content = json.loads((old_store.root / record.path).read_text())
        assert content["schema"] == 3
        values = list(old[record.path]["scores"].values())
        assert list(record.scores.values())[: len(values)] == values  # to the bit
        assert (old_store.root / record.path).with_suffix(".npz").read_bytes() == arrays[record.path]
    assert set(verify_records(old_store.records(), old_store, plugins).values()) == {""}
    assert rescore(old_store, plugins) == []


def test_publish_copies_what_holds_and_renders_the_board(store, plugins, tmp_path):
    report = publish(store.root, tmp_path / "board", [], [], replace=False, plugins=plugins)
    assert (report.published, report.present) == (1, 0)
    assert "tiny" in report.board.read_text()
    (record,) = Store(tmp_path / "board").records()
    assert Store(tmp_path / "board").complete(record)
    again = publish(store.root, tmp_path / "board", ["tiny"], ["quick"], replace=False, plugins=plugins)
    assert (again.published, again.present) == (0, 1)


def test_publish_goes_by_the_name_of_the_arrays_and_two_folders_may_have_two(store, plugins, tmp_path):
    board = Store(tmp_path / "board")
    (record,) = store.records()
    record = store.put(record, dict(reversed(store.arrays(record).items())))
    assert record.predictions.file.startswith("seed0-")
    assert publish(store.root, board.root, [], [], replace=False, plugins=plugins).published == 1
    (published,) = board.records()
    assert published.predictions.file == "seed0.npz"
    assert board.packed(published) == store.packed(record)
    assert publish(store.root, board.root, [], [], replace=False, plugins=plugins).present == 1


def full_disk(monkeypatch, name):
    """No room for files whose name ends in this one."""

    def full(descriptor):
        if f"{name}." in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files")
@pytest.mark.parametrize(
    ("file", "remedy", "left"),
    [
        ("seed0.npz", "Make room, or name another folder with --to", []),
        ("seed0.json", "Make room, or name another folder with --to", []),
        ("LEADERBOARD.md", "The records are published.* Make room", ["seed0.json", "seed0.npz", "verifications.jsonl"]),
    ],
)
def test_publish_on_a_full_disk_is_one_paragraph_and_goes_on_later(
    store, plugins, tmp_path, monkeypatch, file, remedy, left
):
    board = tmp_path / "board"
    with monkeypatch.context() as patch:
        full_disk(patch, file)
        with pytest.raises(RecordError, match=rf"{file}' cannot be written \(No space left on device\)\. {remedy}"):
            publish(store.root, board, [], [], replace=False, plugins=plugins)
    assert sorted(path.name for path in board.rglob("*") if path.is_file()) == left
    publish(store.root, board, [], [], replace=False, plugins=plugins)
    assert len(Store(board).records()) == 1
    assert (board / "LEADERBOARD.md").is_file()


def test_rescore_on_a_full_disk_changes_no_record(store, plugins, monkeypatch):
    (record,) = store.records()
    edit(store, task=changed(record.task, title="an old title"))
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RecordError, match=r"seed0\.json' cannot be written \(No space left on device\)\. Make room"):
        rescore(store, plugins)
    assert {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: {"task": changed(r.task, fingerprint="another")}, "another definition of the task"),
        (lambda r: {"task": changed(r.task, title="another")}, "differs from the installed suite in: title"),
        (lambda r: {"task": changed(r.task, kind="regression")}, "differs from the installed suite in: kind"),
        (lambda r: {"directions": r.directions | {"nll": "higher"}}, "differs from the installed suite in: nll"),
        (lambda r: {"directions": r.directions | {"fame": "higher"}}, r"metrics that are not installed.*\(fame\)"),
        (lambda r: {"scores": r.scores | {"test/nll": 0.0}}, r"do not give \(test/nll\)"),
        (
            lambda r: {"task": changed(r.task, attacks=[{**r.task.attacks[0], "name": "other"}])},
            r"other attacks than are installed \(other\)",
        ),
    ],
)
def test_publish_refuses_what_does_not_hold(store, plugins, tmp_path, change, reason):
    edit(store, **change(store.records()[0]))
    with pytest.raises(RecordError, match=reason):
        publish(store.root, tmp_path / "board", [], [], replace=False, plugins=plugins)
    assert not (tmp_path / "board").exists()


def test_publish_refuses_failures_other_records_of_a_cell_and_unknown_tasks(store, results, plugins, tmp_path):
    board = tmp_path / "board"
    publish(store.root, board, [], [], replace=False, plugins=plugins)
    edit(store, warnings=["changed"])
    with pytest.raises(RecordError, match="Give --replace"):
        publish(store.root, board, [], [], replace=False, plugins=plugins)
    assert publish(store.root, board, [], [], replace=True, plugins=plugins).published == 1
    with pytest.raises(RecordError, match="a task that is not installed"):
        publish(store.root, board, [], [], replace=True, plugins=replace(plugins, tasks=Registry("task", {})))
    with pytest.raises(RecordError, match="no such record"):
        publish(store.root, board, ["other"], [], replace=True, plugins=plugins)
    store.put(results[1].record, {})
    with pytest.raises(RecordError, match="of a failed cell"):
        publish(store.root, board, [], [], replace=True, plugins=plugins)


def test_an_attack_of_the_tasks_own_need_not_be_registered(plugins, tmp_path):
    own = replace(NOISE_LINF, name="own-noise", epsilons=(0.1,))
    task = replace(TINY, name="own", attacks=(*TINY.attacks, own))
    store = Store(tmp_path / "runs")
    result = run_cell(context(), planned(task, QUICK), lambda: task.load(Path()), NoProgress())
    store.put(clean(result.record), result.arrays)
    tasks = Registry("task", {"own": Registered(task, "tests", task.title)})
    assert publish(store.root, tmp_path / "board", [], [], False, replace(plugins, tasks=tasks)).published == 1
    assert Record.read(tmp_path / "board" / result.record.path).task.attacks[-1]["name"] == "own-noise"


def test_a_name_that_stands_twice_in_a_file_is_refused(store, plugins, tmp_path):
    (record,) = store.records()
    file = store.root / record.path
    file.write_text(file.read_text().replace('"scores": {', '"scores": {"test/nll": 0.0,', 1))
    with pytest.raises(RecordError, match="the name 'test/nll' stands twice"):
        publish(store.root, tmp_path / "board", [], [], replace=False, plugins=plugins)
