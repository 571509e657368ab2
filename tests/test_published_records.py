"""The published records and their board: they agree with the installed tasks and with what the methods are known to reach."""

import re
from pathlib import Path

import numpy as np
import pytest

from bbh_bench.api import task_fingerprint
from bbh_bench.leaderboard import pages
from bbh_bench.publishing.rescore import rescore
from bbh_bench.records.store import Store
from bbh_bench.records.verifications import read_log

PUBLISHED = Path(__file__).parents[1] / "leaderboard"


def test_the_published_board_is_what_its_records_render_to():
    store = Store(PUBLISHED)
    records = store.some_records()
    for name, text in pages(records, store.arrays, read_log(PUBLISHED)).items():
        assert (PUBLISHED / name).read_text() == text, name
    assert sorted(path.name for path in PUBLISHED.glob("*.md")) == sorted([*pages(records), "CHANGELOG.md"])
    assert all(record.status == "finished" for record in records)


def test_the_published_records_are_of_the_installed_tasks(builtin):
    """A task whose cells take hours keeps the records of its previous version until the new ones are complete."""
    for record in Store(PUBLISHED).records():
        task = builtin.tasks[record.task.name]
        if record.task.name in ("digits5", "toy") or record.task.version == task.version:
            assert record.task.fingerprint == task_fingerprint(task), record.path
        else:
            assert record.task.version == task.version - 1, record.path


def test_every_version_of_a_task_has_one_fingerprint_which_the_changelog_of_the_board_names(builtin):
    """If this fails after a change of a task: raise its version, and add a line that says what changed."""
    lines = re.findall(
        r"^\| [\d-]+ \| `([\w-]+)` \| (\d+) \| `(\w+)` \|", (PUBLISHED / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    named = {(name, int(version)): fingerprint for name, version, fingerprint in lines}
    assert len(named) == len(lines)
    for task in builtin.tasks.values():
        assert named[task.name, task.version] == task_fingerprint(task), task.name
    for record in Store(PUBLISHED).records():
        assert named[record.task.name, record.task.version] == record.task.fingerprint, record.path


def test_the_published_scores_are_what_their_arrays_give_and_none_is_missing(builtin):
    """``rescore`` refuses a score that does not follow, and would change a record that lacks one or has an older schema."""
    assert rescore(Store(PUBLISHED), builtin) == []


def test_the_published_results_on_mnist_are_those_of_a_well_trained_lenet():
    """What a LeNet of five epochs is known to reach; three seeds each."""
    records = [r for r in Store(PUBLISHED).records() if r.task.name == "mnist-short"]

    def mean(method, score):
        values = [r.scores[score] for r in records if r.method.name == method]
        assert len(values) == 3
        return np.mean(values)

    def errors(method):
        return [r.scores["test/error"] for r in records if r.method.name == method]

    for method, limit in {"bbb": 0.02, "mnf": 0.02, "bbh": 0.02, "bbh-sliced": 0.04, "bbh-single": 0.04}.items():
        assert errors(method), method
        assert max(errors(method)) <= limit, method
    assert mean("map", "test/error") <= 0.014
    assert mean("ensemble", "test/error") <= 0.011
    assert mean("dropout", "test/error") <= 0.015
    assert mean("ensemble", "ood/notmnist/entropy_auc") < mean("map", "ood/notmnist/entropy_auc")


@pytest.mark.parametrize("task", ["digits5", "toy"])
def test_the_published_board_has_every_built_in_method_with_three_seeds(builtin, task):
    records = [r for r in Store(PUBLISHED).records() if r.task.name == task]
    assert list(builtin.methods)
    for method in builtin.methods:
        own = [r for r in records if r.method.name == method]
        assert len(own) >= 3, method
        assert all(r.scores.get("test/error", 0) <= 0.06 for r in own), method


def test_every_published_record_that_was_attacked_says_how_and_has_its_audit():
    for record in Store(PUBLISHED).records():
        attacked = {name.split("/")[1] for name in record.curves if name.startswith("attack/")}
        assert attacked == {attack["name"] for attack in record.task.attacks}
        if attacked:
            before = record.task.version == 2
            assert record.task.threat_model["version"] == (1 if before else 2)
            assert {check.verdict for check in record.audit.values()} <= {"pass", "fail"}, record.path
            assert len(record.audit) == (10 if before else 11)
