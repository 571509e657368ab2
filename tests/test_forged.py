"""Forged records: their scores follow from their arrays, and ``verify`` and ``publish`` still refuse each, with the reason."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bbh_bench.errors import RecordError
from bbh_bench.publishing.publish import publish
from bbh_bench.publishing.verify import verify_records
from bbh_bench.records.store import Store
from bbh_bench.tasks.classification import ClassificationTask
from bbh_bench.tasks.digits5 import TASK

PUBLISHED = Path(__file__).parents[1] / "leaderboard"
METHOD = "bbh-sliced"
changed = msgspec.structs.replace


@pytest.fixture
def store(tmp_path):
    """With a published cell of a method that misclassifies some test images."""
    target = tmp_path / "runs" / "digits5" / f"v{TASK.version}" / METHOD
    target.mkdir(parents=True)
    for file in (PUBLISHED / "digits5" / f"v{TASK.version}" / METHOD).glob("seed0*"):
        shutil.copy(file, target)
    return Store(tmp_path / "runs")


def put(store, builtin, record, arrays, task=TASK):
    """Store arrays with the scores that follow from them, if they can be scored."""
    try:
        scored = task.score(arrays, builtin.metrics.values())
    except (IndexError, KeyError):
        store.put(record, arrays)
        return
    store.put(
        changed(
            record,
            scores=dict(scored.scores),
            curves=dict(scored.curves),
            audit=dict(scored.audit),
            directions=record.directions | dict(scored.directions),
        ),
        arrays,
    )


def refused(store, builtin, tmp_path, reason):
    complaints = verify_records(store.records(), store, builtin)
    assert any(reason in text for text in complaints.values()), complaints
    with pytest.raises(RecordError, match=r"seed\d"):
        publish(store.root, tmp_path / "board", [], [], replace=False, plugins=builtin)
    assert not list((tmp_path / "board").rglob("*.json"))


def test_the_cell_as_it_is_passes(store, builtin, tmp_path):
    assert set(verify_records(store.records(), store, builtin).values()) == {""}
    assert publish(store.root, tmp_path / "board", [], [], replace=False, plugins=builtin).published == 1


def without(arrays, *prefixes):
    return {key: value for key, value in arrays.items() if not key.startswith(prefixes)}


def labels_are_the_predictions(arrays):
    return arrays | {"test/labels": arrays["test/log_odds"].argmax(1).astype(np.uint8)}


def only_what_is_right(arrays):
    right = arrays["test/log_odds"].argmax(1) == arrays["test/labels"]
    shorter = {key: value[right] for key, value in arrays.items() if key.startswith("test/")}
    return without(arrays, "test/", "attack/", "audit/", "uncertainty/", "robust/") | shorter


def easy_images_are_attacked(arrays):
    return arrays | {"attack/fgsm/index": np.sort(arrays["attack/fgsm/index"])[::-1].copy()}


FORGED_ARRAYS = {
    "labels": (labels_are_the_predictions, "labels of the test images are not those of the data set"),
    "fewer test images": (only_what_is_right, "labels of the test images are not those of the data set"),
    "no outliers": (lambda a: without(a, "outlier/"), "outlier/digits5-9/log_odds is missing"),
    "fewer outliers": (
        lambda a: a | {k: v[:100] for k, v in a.items() if k.startswith("outlier/")},
        "outlier/digits5-9/log_odds is float16 [100, 5] in place of float16 [896, 5]",
    ),
    "no attacks": (lambda a: without(a, "attack/", "audit/", "robust/", "uncertainty/"), "no results of attacks"),
    "no strong attack": (lambda a: without(a, "attack/adaptive-linf/"), "attack/adaptive-linf/labels is missing"),
    "no attack on the uncertainty": (lambda a: without(a, "uncertainty/"), "uncertainty/epsilons is missing"),
    "no audit": (lambda a: without(a, "audit/"), "audit/base is missing"),
    "no stronger variant": (lambda a: without(a, "audit/stronger/draws"), "audit/stronger/draws is missing"),
    "larger epsilons": (
        lambda a: a | {"attack/fgsm/epsilons": a["attack/fgsm/epsilons"] * 10},
        "attack/fgsm/epsilons is not what the task says",
    ),
    "other images": (easy_images_are_attacked, "attack/fgsm/index is not what the task says"),
    "larger perturbations": (
        lambda a: a | {"attack/fgsm/moved": a["attack/fgsm/moved"] * 100},
        "attack/fgsm/moved has values outside [0, 0.4",
    ),
    "probabilities above one": (
        lambda a: a | {"test/mutual_information": a["test/mutual_information"] - np.float16(1)},
        "test/mutual_information has values outside [0, 1.6",
    ),
    "more precise predictions": (
        lambda a: a | {"test/log_odds": a["test/log_odds"].astype(np.float64)},
        "test/log_odds is float64 [270, 5] in place of float16 [270, 5]",
    ),
    "arrays of other things": (lambda a: a | {"more": np.zeros(3)}, "more is nothing that this task stores"),
}


@pytest.mark.parametrize("forgery", FORGED_ARRAYS)
def test_arrays_that_follow_from_the_task_cannot_be_chosen(store, builtin, tmp_path, forgery):
    forge, reason = FORGED_ARRAYS[forgery]
    (record,) = store.records()
    put(store, builtin, record, forge(store.arrays(record)))
    refused(store, builtin, tmp_path, reason)


def test_complex_predictions_and_structured_arrays_are_refused(store, builtin, tmp_path):
    (record,) = store.records()
    arrays = store.arrays(record)
    store.put(record, arrays | {"test/log_odds": arrays["test/log_odds"].astype(np.complex64)})
    refused(store, builtin, tmp_path, "test/log_odds is complex64")
    store.put(record, arrays | {"test/log_odds": np.zeros(270, dtype=[("a", "f4"), ("b", "f4")])})
    refused(store, builtin, tmp_path, "which is none of numbers")


FORGED_RECORDS = {
    "hyperparameters": (
        lambda r: {"method": changed(r.method, hyperparameters=r.method.hyperparameters | {"lr": 9.0})},
        "other hyperparameters than the installed one (lr)",
    ),
    "version of the method": (
        lambda r: {"method": changed(r.method, version=99)},
        "its method has version 99",
    ),
    "no attack listed": (lambda r: {"task": changed(r.task, attacks=[])}, "it lacks the attack adaptive-linf"),
    "an attack twice": (
        lambda r: {"task": changed(r.task, attacks=[*r.task.attacks, r.task.attacks[0]])},
        "it lists an attack twice",
    ),
    "threat model": (
        lambda r: {"task": changed(r.task, threat_model={"version": 0})},
        "its threat model is not that of the task",
    ),
    "a free fit": (
        lambda r: {"cost": r.cost | {"fit/seconds": 1e-4, "fit/processor_seconds": 1e-4}},
        "the cost fit/seconds is not the sum of its parts",
    ),
    "a small relative cost": (
        lambda r: {"cost": r.cost | {"fit/relative": 0.01}},
        "the relative cost does not follow",
    ),
    "an impossible machine": (
        lambda r: {"cost": r.cost | {"reference/step_processor_seconds": 1e-9}},
        "faster than on any machine",
    ),
    "a negative cost": (lambda r: {"cost": r.cost | {"parameters": -1.0}}, "the cost parameters is negative"),
    "no time": (lambda r: {"cost": r.cost | {"total/seconds": 0.5}}, "the stages take longer than the whole cell"),
    "directions": (lambda r: {"directions": r.directions | {"nll": "higher"}}, "directions/nll"),
}


@pytest.mark.parametrize("forgery", FORGED_RECORDS)
def test_what_a_record_says_of_itself_must_be_possible(store, builtin, tmp_path, forgery):
    change, reason = FORGED_RECORDS[forgery]
    (record,) = store.records()
    store.put(changed(record, **change(record)), store.arrays(record))
    refused(store, builtin, tmp_path, reason)


@pytest.mark.parametrize("cell", [{"seed": 7}, {"method": "map"}])
def test_predictions_of_another_cell_are_copies(store, builtin, tmp_path, cell):
    (record,) = store.records()
    copy = changed(record, seed=7)
    if "method" in cell:
        (other,) = [
            each for each in Store(PUBLISHED).records() if each.path.match(f"digits5/v{TASK.version}/map/seed0.json")
        ]
        copy = changed(other, scores=record.scores, curves=record.curves, audit=record.audit)
    store.put(copy, store.arrays(record))
    refused(store, builtin, tmp_path, "to the bit")


def test_a_copy_of_what_is_published_already_is_refused(store, builtin, tmp_path):
    publish(store.root, tmp_path / "board", [], [], replace=False, plugins=builtin)
    (record,) = store.records()
    other = Store(tmp_path / "others")
    other.put(changed(record, seed=7), store.arrays(record))
    with pytest.raises(RecordError, match=r"its predictions are those of digits5.*to the bit"):
        publish(other.root, tmp_path / "board", [], [], replace=False, plugins=builtin)


def test_removed_metrics_and_uncommitted_changes_are_not_published(store, builtin, tmp_path):
    (record,) = store.records()
    arrays, few = store.arrays(record), {"nll": "lower"}
    others = {name: better for name, better in record.directions.items() if "accuracy" in name or "auroc_" in name}
    kept = {
        name: v for name, v in record.scores.items() if name.startswith(("attack", "robust", "uncert")) or "nll" in name
    }
    others |= {
        name: better for name, better in record.directions.items() if name in ("degradation", "robust_accuracy_auc")
    }
    store.put(changed(record, scores=kept, directions=few | others), arrays)
    with pytest.raises(RecordError, match=r"lacks metrics that are installed.*rescore"):
        publish(store.root, tmp_path / "board", [], [], replace=False, plugins=builtin)
    store.put(changed(record, provenance=changed(record.provenance, dirty=True)), arrays)
    with pytest.raises(RecordError, match="uncommitted changes"):
        publish(store.root, tmp_path / "board", [], [], replace=False, plugins=builtin)


def test_a_task_that_does_not_name_its_sets_still_checks_everything_else(store, builtin):
    (record,) = store.records()
    task: ClassificationTask = replace(TASK, sets=None)
    arrays = store.arrays(record)
    assert task.faults(arrays) == []
    assert task.faults(without(arrays, "outlier/", "uncertainty/ood/")) == []
    assert task.faults(without(arrays, "audit/base")) == ["audit/base is missing"]


def test_the_sets_of_the_tasks_are_those_of_their_data(builtin, tmp_path):
    """Of digits5, which needs no download; those of published cells are compared by the test of the board."""
    data = TASK.load(tmp_path).data
    assert hashlib.sha256(data.test[1].numpy().astype(np.uint8).tobytes()).hexdigest() == TASK.sets.labels
    assert {name: len(images) for name, images in data.ood.items()} == dict(TASK.sets.ood)
