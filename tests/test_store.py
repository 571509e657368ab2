"""Records on disk: atomic, complete or refused."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from bbh_bench.errors import RecordError
from bbh_bench.records.record import SCHEMA, Record
from bbh_bench.records.store import Store, write_atomically


@pytest.fixture
def record():
    return Record(
        schema=SCHEMA,
        status="finished",
        task={"name": "t", "version": 2, "title": "T", "headline": "test/nll", "fingerprint": "f"},
        method={"name": "m", "distribution": "d", "line": "a method", "hyperparameters": {}},
        seed=3,
        scores={"test/nll": 0.1 + 0.2},
        better={"nll": "lower"},
        curves={},
        audit={},
        cost={"fit/seconds": 1.5},
        predictions={"file": "seed3.npz", "sha256": "0" * 64},
        provenance={
            **dict.fromkeys(["commit", "dirty"]),
            "packages": {"bbh-bench": "0", "torch": None},
            "command": "bbh-bench run",
            "device": "cpu",
            "started": "2026-01-01T00:00:00Z",
            "hardware": {"accelerator": None, "processor": "a processor", "threads": 1},
        },
        error={},
    )


def test_what_is_put_is_read_back_to_the_last_bit(record, tmp_path):
    store = Store(tmp_path / "new")
    arrays = {"test/log_odds": np.float16([[0, -1.1]]), "test/labels": np.uint8([1])}
    stored = store.put(record, arrays)
    (read,) = store.records()
    assert read == stored
    assert read.scores["test/nll"] == 0.1 + 0.2
    assert all(np.array_equal(store.arrays(read)[key], value) for key, value in arrays.items())
    assert sorted(p.name for p in (tmp_path / "new/t/v2/m").iterdir()) == ["seed3.json", "seed3.npz"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "file"
    write_atomically(target, b"old")

    def fail(source, destination):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def broken(change):
    def apply(path):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return apply


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda path: path.write_text(path.read_text()[:-9]), "can't be read"),
        (lambda path: path.write_text("[]"), "no schema number"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "can't be read"),
        (broken(lambda c: c.update(schema=SCHEMA + 1)), "Upgrade it: pip install --upgrade bbh-bench"),
        (broken(lambda c: c.update(schema=0)), "never was"),
        (broken(lambda c: c.update(audit={"a": {"verdict": "perhaps"}})), "damaged"),
        (broken(lambda c: c.update(schema=True)), "no schema number"),
        (broken(lambda c: c["scores"].clear()), "damaged"),
        (broken(lambda c: c["provenance"].pop("hardware")), "damaged"),
        (broken(lambda c: c["predictions"].clear()), "damaged"),
        (broken(lambda c: c["curves"].update(a={"x": [1, 2], "y": [1]})), "damaged"),
        (lambda path: path.write_text(path.read_text().replace("0.30000000000000004", "NaN")), "can't be read"),
        (broken(lambda c: c.pop("scores")), r"missing or unknown fields \(scores\)"),
        (broken(lambda c: c["scores"].update(x="0.1")), "damaged"),
        (broken(lambda c: c["task"].pop("fingerprint")), "damaged"),
        (broken(lambda c: c.update(status="perhaps")), "damaged"),
        (broken(lambda c: c.update(scores=None)), "damaged"),
        (broken(lambda c: c.update(curves=None)), "damaged"),
        (broken(lambda c: c.update(better=None)), "damaged"),
        (broken(lambda c: c["task"].update(name=7)), "damaged"),
        (broken(lambda c: c["task"].update(fingerprint=None)), "damaged"),
        (broken(lambda c: c["predictions"].update(file="../../x.npz")), "damaged"),
        (broken(lambda c: c["provenance"].update(packages={})), "damaged"),
        (broken(lambda c: c["method"].update(name="n")), "says that it is"),
    ],
)
def test_a_record_that_is_not_whole_is_refused_by_name(record, tmp_path, damage, complaint):
    store = Store(tmp_path)
    store.put(record, {})
    damage(tmp_path / record.path)
    with pytest.raises(RecordError, match=complaint) as caught:
        store.records()
    assert "seed3.json" in str(caught.value)


def test_predictions_that_are_missing_or_changed_are_refused(record, tmp_path):
    store = Store(tmp_path)
    stored = store.put(record, {"test/labels": np.uint8([1])})
    path = tmp_path / "t/v2/m/seed3.npz"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(RecordError, match="aren't those of their record"):
        store.arrays(stored)
    path.unlink()
    with pytest.raises(RecordError, match="can't be read"):
        store.arrays(stored)
    path.write_bytes(b"no arrays")
    digest = hashlib.sha256(b"no arrays").hexdigest()
    with pytest.raises(RecordError, match="are no arrays"):
        store.arrays(replace(stored, predictions=stored.predictions | {"sha256": digest}))


def test_numbers_that_are_not_finite_never_reach_a_record(record, tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        Store(tmp_path / "new").put(replace(record, scores={"test/nll": float("nan")}), {"test/labels": np.uint8([1])})
    assert not (tmp_path / "new").exists()


def test_no_folder_no_records(tmp_path):
    with pytest.raises(RecordError, match="no folder"):
        Store(tmp_path / "nowhere").records()


def test_a_record_from_before_audits_is_read_as_one_without(record, tmp_path):
    store = Store(tmp_path)
    store.put(record, {})
    path = tmp_path / record.path
    content = json.loads(path.read_text())
    del content["audit"]
    path.write_text(json.dumps(content | {"schema": 1}))
    (held,) = store.records()
    assert held == replace(record, audit={})
