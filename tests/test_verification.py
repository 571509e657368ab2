"""Levels of verification: cells are run again, and the log says what was verified."""

import json
from dataclasses import replace

import numpy as np
import pytest
from cli_helpers import RUN, refused
from msgspec.structs import replace as changed
from record_factory import record

from bbh_bench import cli
from bbh_bench.errors import RecordError
from bbh_bench.leaderboard import FILE, files
from bbh_bench.publishing.rerun import Noise, Rerun, compared
from bbh_bench.records.record import Predictions
from bbh_bench.records.store import Store
from bbh_bench.records.verifications import LOG, Verification, read_log

pytest_plugins = ["cli_fixtures"]
CELL = "tiny/v1/quick/seed0.json"
ARRAYS = {"test/log_odds": np.arange(6.0).reshape(2, 3), "test/labels": np.array([0, 1])}
CLOSE = ARRAYS | {"test/log_odds": ARRAYS["test/log_odds"] + 1e-15}
NOISE = Noise(3, {"test/nll": (0.5, [0.4, 0.5, 0.6])})


def entry(**changes):
    """An entry of a log."""
    values = {
        "record": "t/v1/m/seed0.json",
        "predictions": "f" * 64,
        "level": "rerun",
        "result": "to the bit",
        "by": "",
    }
    rest = {"when": "2026-11-01T00:00:00Z", "suite": "1", "commit": None, "vector": "AVX2"}
    return Verification(**(values | rest | changes))


def test_a_cell_is_run_again_and_is_the_same_to_the_bit(install, folder, capsys):
    cli.main(RUN)
    assert cli.main(["verify", "--rerun", CELL, "--log"]) == 0
    assert f"{CELL}: run again: to the bit: all" in capsys.readouterr().out
    levels = {each.level: each.result for each in read_log(folder / "runs")[CELL]}
    assert levels == {"recomputed": "", "rerun": "to the bit"}


def test_predictions_that_the_cell_does_not_give_are_no_rerun(install, folder, capsys):
    cli.main(RUN)
    store = Store(folder / "runs")
    (old,) = [each for each in store.records() if str(each.path) == CELL]
    arrays = store.arrays(old)
    log_odds = arrays["test/log_odds"]
    store.put(old, arrays | {"test/log_odds": np.nextafter(log_odds, np.inf, dtype=log_odds.dtype)})
    assert cli.main(["verify", "--rerun", CELL, "--log"]) == 1
    assert "run again: differs: machine and versions agree, but 1 of" in capsys.readouterr().out
    assert "rerun" not in {each.level for each in read_log(folder / "runs")[CELL]}


def test_nobody_vouches_for_a_record_whose_rerun_differs(install, folder, monkeypatch):
    cli.main(RUN)
    different = Rerun("differs", "it differs", None)
    monkeypatch.setattr("bbh_bench.publishing.rerun.rerun", lambda *_: different)
    assert cli.main(["verify", "--rerun", CELL, "--sign-off", "Ada"]) == 1
    signed = {path for path, own in read_log(folder / "runs").items() if "signed off" in {each.level for each in own}}
    assert signed == {CELL.replace("seed0", "seed1")}


def test_mistakes_are_named(install, folder, capsys):
    cli.main(RUN)
    refused(capsys, ["verify", "--rerun", "tiny/v1/quick/seed7.json"], "no record", "tiny/v1/quick/seed7.json", CELL)
    for nothing in ("", "."):
        refused(capsys, ["verify", "--rerun", nothing], f"no record '{nothing}'", CELL)
    refused(capsys, ["verify", "--sign-off", "\x1b[31m"], "--sign-off needs a name")
    (folder / "runs" / LOG).write_text(json.dumps({"record": "x"}))
    refused(capsys, ["report"], "Line 1 of", LOG, "Remove the line")


def test_what_is_published_was_recomputed_and_can_be_signed_off(install, folder, capsys):
    cli.main(RUN)
    cli.main(["publish"])
    board = folder / "leaderboard"
    assert "2 recomputed" in (board / FILE).read_text()
    assert cli.main(["verify", "--records", "leaderboard", "--sign-off", "Ada *Lovelace*"]) == 0
    before = (board / LOG).read_bytes().count(b"\n")
    assert cli.main(["verify", "--records", "leaderboard", "--sign-off", "Ada *Lovelace*"]) == 0
    assert (board / LOG).read_bytes().count(b"\n") == before
    cli.main(["report", "--records", "leaderboard"])
    assert "2 recomputed, 2 signed off" in (board / FILE).read_text()
    (page,) = board.glob("tiny-*.md")
    assert "Ada \\*Lovelace\\*" in page.read_text()


def test_an_entry_is_about_the_predictions_that_it_names():
    digest = "a" * 64
    old = changed(record(), predictions=Predictions(file="seed0.npz", sha256=digest))
    path = str(old.path)
    current = files([old], log={path: [entry(record=path, predictions=digest)]})
    replaced = files([old], log={path: [entry(record=path, predictions="0" * 64)]})
    assert b"1 rerun" in current[FILE]
    assert b"1 rerun" not in replaced[FILE]
    (page,) = (content.decode() for name, content in current.items() if name.startswith("site/records/"))
    assert "to the bit" in page


@pytest.mark.parametrize(
    ("arrays", "others", "noise", "outcome"),
    [
        (ARRAYS, [], NOISE, "to the bit"),
        (ARRAYS, ["vector instructions"], NOISE, "to the bit"),
        (CLOSE, [], NOISE, "differs"),
        (CLOSE, ["vector instructions"], NOISE, "within noise"),
        (CLOSE, ["vector instructions"], replace(NOISE, seeds=2), "differs"),
        (CLOSE, ["vector instructions"], Noise(3, {"test/nll": (9.0, [0.4, 0.5, 0.6])}), "differs"),
        (CLOSE, ["vector instructions"], Noise(3, {"test/nll": (float("nan"), [0.4, 0.5, 0.6])}), "differs"),
        ({"test/labels": ARRAYS["test/labels"]}, [], NOISE, "differs"),
        (ARRAYS | {"test/labels": np.array([0, 1], dtype=np.int32)}, [], NOISE, "differs"),
    ],
)
def test_bits_where_machines_agree_and_noise_elsewhere(arrays, others, noise, outcome):
    assert compared(ARRAYS, arrays, others, noise)[0] == outcome


def test_the_noise_is_that_of_one_further_seed():
    """Under the null, with three scores that are normal and independent, 1 % of 4,000 reruns are outside: 40, sd 6.3."""
    random = np.random.default_rng(0)
    outside = 0
    for own, new in zip(random.normal(size=(4000, 3, 5)), random.normal(size=(4000, 3)), strict=True):
        scores = {str(k): (float(new[k]), own[k].tolist()) for k in range(3)}
        outside += bool(Noise(5, scores).outside())
    assert 20 < outside < 60


def test_a_damaged_log_is_refused(tmp_path):
    (tmp_path / LOG).symlink_to("/dev/zero")
    with pytest.raises(RecordError, match="cannot be read"):
        read_log(tmp_path)


def test_a_submission_is_checked_against_the_board_and_every_fault_is_named(install, folder, capsys):
    cli.main(RUN)
    cli.main(["publish"])
    capsys.readouterr()
    assert cli.main(["verify", "--submission", "runs"]) == 0
    assert "2 of 2 records may be published; 0 are new." in capsys.readouterr().out
    cli.main([*RUN[:-1], "2,3", "--records", "more"])
    store = Store(folder / "more")
    _, fourth = store.records()
    twin = Store(folder / "runs")
    store.put(changed(twin.records()[0], seed=4), twin.arrays(twin.records()[0]))
    store.put(changed(fourth, scores=fourth.scores | {"test/nll": 0.001}), store.arrays(fourth))
    capsys.readouterr()
    assert cli.main(["verify", "--submission", "more", "--rerun", "tiny/v1/quick/seed2.json"]) == 1
    text = capsys.readouterr().out
    assert "seed3.json' has values that its stored predictions do not give (test/nll)" in text
    assert "seed4.json' are those of tiny/v1/quick/seed0.json, to the bit" in text
    assert "1 of 3 records may be published; 1 are new." in text
    assert "provisional" not in text  # with those of the board they are three
    assert "seed2.json: run again: to the bit" in text
    assert cli.main(["verify", "--submission", "more", "--to", "empty"]) == 1
    assert "quick on tiny (2) would be provisional" in capsys.readouterr().out
