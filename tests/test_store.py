"""Records on disk: atomic, complete or refused."""

import hashlib
import itertools
import json
import os
import re
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import record_factory
from msgspec.structs import replace

from bbh_bench.errors import RecordError
from bbh_bench.records.files import atomically
from bbh_bench.records.record import SCHEMA, Predictions, Record
from bbh_bench.records.store import Store


@pytest.fixture
def record():
    return record_factory.with_task(record_factory.record(seed=3, nll=0.1 + 0.2), version=2)


def test_what_is_put_is_read_back_to_the_last_bit(record, tmp_path):
    store = Store(tmp_path / "new")
    arrays = {"test/log_odds": np.float16([[0, -1.1]]), "test/labels": np.uint8([1])}
    stored = store.put(record, arrays)
    (read,) = store.records()
    assert read == stored
    assert read.scores["test/nll"] == 0.1 + 0.2
    assert all(np.array_equal(store.arrays(read)[key], value) for key, value in arrays.items())
    assert sorted(p.name for p in (tmp_path / "new/t/v2/m").iterdir()) == ["seed3.json", "seed3.npz"]


class Killed(BaseException):
    """Ends a write as SIGKILL would."""


def kill_at(monkeypatch, step):
    """From the ``step``-th call on, which counts from 1, everything that changes files raises: nothing is cleaned up either."""
    calls = itertools.count(1)

    def counted(function):
        def call(*arguments, **options):
            if next(calls) >= step:
                raise Killed
            return function(*arguments, **options)

        return call

    for name, function in (("os.fsync", os.fsync), ("os.replace", os.replace), ("pathlib.Path.unlink", Path.unlink)):
        monkeypatch.setattr(name, counted(function))
    monkeypatch.setattr("os.getpid", lambda: 2**30)  # the process is dead afterwards


def later(monkeypatch, seconds):
    now = time.time() + seconds
    monkeypatch.setattr("time.time", lambda: now)


def put_with_arrays(store, record, nll):
    """Store a record whose arrays hold its score."""
    return store.put(replace(record, scores={"test/nll": nll}), {"nll": np.float64([nll])})


def names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("step", range(1, 9))
def test_a_kill_at_any_step_of_replacing_a_record_leaves_one_with_its_own_arrays(record, tmp_path, monkeypatch, step):
    store = Store(tmp_path)
    put_with_arrays(store, record, 1.0)
    with monkeypatch.context() as patch:
        kill_at(patch, step)
        with nullcontext() if step == 8 else pytest.raises(Killed):
            put_with_arrays(store, record, 2.0)
    (read,) = store.records()
    assert store.arrays(read)["nll"] == read.scores["test/nll"]
    later(monkeypatch, 61)
    store.prepare()
    assert names(tmp_path) == sorted(["seed3.json", read.predictions.file])


def test_a_record_that_is_replaced_leaves_no_other_file(record, tmp_path):
    store = Store(tmp_path)
    for nll, file in (
        (1.0, r"seed3\.npz"),
        (2.0, r"seed3-[0-9a-f]{8}\.npz"),
        (2.0, r"seed3\.npz"),
        (2.0, r"seed3\.npz"),
    ):
        stored = put_with_arrays(store, record, nll)
        assert re.fullmatch(file, stored.predictions.file)
        assert store.records() == [stored]
        assert store.complete(stored)
        assert names(tmp_path) == sorted(["seed3.json", stored.predictions.file])


@pytest.mark.parametrize("step", range(1, 20))
def test_a_kill_at_any_step_of_writing_several_records_leaves_whole_ones(record, tmp_path, monkeypatch, step):
    packed = put_with_arrays(Store(tmp_path / "source"), record, 1.0)
    content = Store(tmp_path / "source").packed(packed)
    results = [(replace(packed, seed=seed), content) for seed in (0, 1, 2)]
    store = Store(tmp_path / "target")
    store.prepare()
    with monkeypatch.context() as patch:
        kill_at(patch, step)
        with nullcontext() if step == 19 else pytest.raises(Killed):
            store.put_all(results)
    assert all(store.complete(each) for each in store.records())
    assert len(store.records()) == (0 if step <= 13 else min(step - 13, 3))
    later(monkeypatch, 61)
    store.prepare()
    store.put_all(results)
    assert names(store.root) == [f"seed{seed}.{end}" for seed in (0, 1, 2) for end in ("json", "npz")]


def test_several_records_are_written_or_none_if_the_disk_is_full(record, tmp_path, monkeypatch):
    store, calls = Store(tmp_path), itertools.count(1)
    results = [(replace(record, seed=seed), b"arrays") for seed in (0, 1, 2)]

    def full(descriptor):
        if next(calls) == 5:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*seed2\.npz'"):
        store.put_all(results)
    assert names(tmp_path) == []


def test_arrays_that_no_record_names_are_cleared_once_they_are_old(record, tmp_path, monkeypatch):
    store = Store(tmp_path)
    stored = put_with_arrays(store, record, 1.0)
    folder = (tmp_path / stored.path).parent
    strays = [folder / name for name in ("seed3-01234567.npz", "seed4.npz")]
    (folder / "seed5.json").write_text("damaged")
    keep = [folder / name for name in ("seed5.npz", "seed3-mine.npz", "notes.npz")]
    for path in (*strays, *keep):
        path.touch()
    assert store.clear_stale() == []  # another run could be about to write their records
    later(monkeypatch, 61)
    with atomically(folder / "seed4.json"):  # it is doing so
        assert store.clear_stale() == strays[:1]
    strays[1].with_suffix(".json").unlink()
    assert store.clear_stale() == strays[1:]
    assert all(path.exists() for path in keep)
    assert store.complete(stored)


def broken(change):
    def apply(path):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return apply


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda path: path.write_text(path.read_text()[:-9]), "cannot be read"),
        (lambda path: path.write_text("[]"), "no valid schema number"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "cannot be read"),
        (broken(lambda c: c.update(schema=SCHEMA + 1)), "Upgrade it: pip install --upgrade bbh-bench"),
        (broken(lambda c: c.update(schema=0)), "no valid schema number"),
        (broken(lambda c: c.update(audit={"a": {"verdict": "perhaps"}})), r"perhaps.*\$\.audit"),
        (broken(lambda c: c.update(schema=True)), "no valid schema number"),
        (broken(lambda c: c.update(schema=2)), "damaged"),
        (broken(lambda c: c["scores"].clear()), "lack the headline, test/nll"),
        (broken(lambda c: c["provenance"].pop("hardware")), r"`hardware`.*\$\.provenance"),
        (broken(lambda c: c.update(predictions=None)), "predictions of a finished record must be in 'seed3.npz'"),
        (broken(lambda c: c["curves"].update(a={"x": [1, 2], "y": [1]})), "'a' have different lengths"),
        (lambda path: path.write_text(path.read_text().replace("0.30000000000000004", "NaN")), "cannot be read"),
        (lambda path: path.write_text(path.read_text().replace("0.30000000000000004", "1e999")), "cannot be read"),
        (broken(lambda c: c.pop("scores")), "missing required field `scores`"),
        (broken(lambda c: c.update(extra=1)), "unknown field `extra`"),
        (broken(lambda c: c["scores"].update(x="0.1")), r"got `str`.*\$\.scores"),
        (broken(lambda c: c["task"].pop("fingerprint")), r"`fingerprint`.*\$\.task"),
        (broken(lambda c: c.update(status="perhaps")), "perhaps"),
        (broken(lambda c: c.update(scores=None)), r"\$\.scores"),
        (broken(lambda c: c.update(curves=None)), r"\$\.curves"),
        (broken(lambda c: c.update(directions=None)), r"\$\.directions"),
        (broken(lambda c: c["task"].update(name=7)), r"\$\.task\.name"),
        (broken(lambda c: c["task"].update(fingerprint=None)), r"\$\.task\.fingerprint"),
        (broken(lambda c: c["predictions"].update(file="../../x.npz")), "must be in 'seed3.npz'"),
        (broken(lambda c: c["predictions"].update(file="seed4.npz")), "must be in 'seed3.npz'"),
        (broken(lambda c: c["provenance"].update(packages=[])), r"\$\.provenance\.packages"),
        (broken(lambda c: c.update(status="failed")), "must have an error"),
        (broken(lambda c: c["method"].update(name="n")), "must be in|says that it is"),
    ],
)
def test_a_record_that_is_not_whole_is_refused_by_name(record, tmp_path, damage, complaint):
    store = Store(tmp_path)
    store.put(record, {"test/labels": np.uint8([1])})
    damage(tmp_path / record.path)
    with pytest.raises(RecordError, match=complaint) as caught:
        store.records()
    assert "seed3.json" in str(caught.value)


def test_predictions_that_are_missing_or_changed_are_refused(record, tmp_path):
    store = Store(tmp_path)
    stored = store.put(record, {"test/labels": np.uint8([1])})
    path = tmp_path / "t/v2/m/seed3.npz"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(RecordError, match="are not those of their record"):
        store.arrays(stored)
    path.unlink()
    with pytest.raises(RecordError, match="cannot be read"):
        store.arrays(stored)
    path.write_bytes(b"no arrays")
    digest = hashlib.sha256(b"no arrays").hexdigest()
    with pytest.raises(RecordError, match="cannot be unpacked"):
        store.arrays(replace(stored, predictions=Predictions(file="seed3.npz", sha256=digest)))


def test_numbers_that_are_not_finite_never_reach_a_record(record, tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        Store(tmp_path / "new").put(replace(record, scores={"test/nll": float("nan")}), {"test/labels": np.uint8([1])})
    assert not (tmp_path / "new").exists()


def test_no_folder_no_records(tmp_path):
    with pytest.raises(RecordError, match="no folder"):
        Store(tmp_path / "nowhere").records()


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("nowhere.json", r"nowhere\.json' cannot be read.*Check the path"),
        ("t/v2/m", r"Name a record in it, such as '.*t/v2/m/seed3\.json'"),
        ("empty", "It contains no records"),
    ],
)
def test_a_path_that_is_no_record_is_explained(record, tmp_path, path, complaint):
    """Nothing is to be deleted where there is nothing."""
    Store(tmp_path).put(record, {"test/labels": np.uint8([1])})
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match=complaint) as caught:
        Record.read(tmp_path / path)
    assert "elete" not in str(caught.value)
