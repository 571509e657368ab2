"""``bbh-bench diff`` of two boards: what appeared, vanished, changed and moved beyond noise."""

import subprocess

import numpy as np
import pytest
from cli_helpers import refused
from msgspec.structs import replace
from record_factory import failed, record
from scipy.stats import ttest_rel

from bbh_bench import cli
from bbh_bench.leaderboard.board_diff import NOTHING, board_diff, moves
from bbh_bench.leaderboard.tables import by_task
from bbh_bench.records.store import Store

OLD = [record("m", seed, nll) for seed, nll in enumerate((0.10, 0.12, 0.11, 0.13))]


def moved(records, *by):
    """The same records, with each seed's NLL, error and AUROC moved."""
    return [
        record(each.method.name, each.seed, each.scores["test/nll"] + step)
        for each, step in zip(records, by, strict=True)
    ]


def test_the_same_board_has_no_difference():
    assert board_diff(OLD, list(reversed(OLD))) == NOTHING


def test_what_appeared_and_vanished_is_named():
    other = [replace(each, task=replace(each.task, fingerprint="g")) for each in OLD[:2]]
    text = board_diff([*OLD, record("lost")], [*OLD[1:], record("m", 7), record("found", 3), *other])
    assert "t v1 (f):\n" in text
    for line in (
        "lost: vanished, with seed 0",
        "found: appeared, with seed 3",
        "m: seed 7 appeared",
        "m: seed 0 vanished",
    ):
        assert f"  {line}\n" in text + "\n"
    assert "t v1 (g): appeared, with 2 cells of 1 methods." in text


def test_a_failure_that_differs_is_a_change():
    assert "m: seed 0 changed" in board_diff([failed("m")], [record("m")])


def test_further_scores_make_no_other_cell():
    more = [replace(each, scores=each.scores | {"test/brier": 0.1}) for each in OLD]
    assert board_diff(OLD, more) == "t v1 (f):\n  further scores: brier"


def test_a_move_of_all_seeds_is_beyond_noise_and_one_of_some_is_not():
    beyond = board_diff(OLD, moved(OLD, 0.501, 0.500, 0.499, 0.502))
    assert "m: NLL 0.11500 -> 0.61550: beyond noise (p = " in beyond
    assert "beyond noise" not in board_diff(OLD, moved(OLD, 0.02, -0.02, 0.02, 0.0))
    assert "moved within noise" in board_diff(OLD, moved(OLD, 0.02, -0.02, 0.02, 0.0))


def test_p_is_that_of_scipy():
    new = moved(OLD, 0.03, 0.01, 0.02, 0.05)
    found = moves(by_task(OLD)[0], by_task(new)[0])
    (nll,) = (move for move in found if move.column.name == "test/nll")
    expected = ttest_rel([each.scores["test/nll"] for each in OLD], [each.scores["test/nll"] for each in new]).pvalue
    assert nll.p == pytest.approx(expected, rel=1e-9)


def test_few_seeds_are_not_tested():
    assert "fewer than 3 seeds, no test" in board_diff(OLD[:2], moved(OLD[:2], 0.5, 0.5))


@pytest.mark.parametrize("shared", [True, False], ids=["same seeds", "other seeds"])
@pytest.mark.parametrize("n", [3, 10])
def test_boards_that_differ_by_noise_alone_seldom_differ_beyond_it(shared, n):
    """At most 5 % of 300 boards with six methods; four standard errors allowed."""
    random = np.random.default_rng(n)
    claims = 0
    for _ in range(300):
        first, second = (
            [
                record(f"m{k}", seed + offset, float(value))
                for k in range(6)
                for seed, value in enumerate(random.normal(0.5, 0.05, n))
            ]
            for offset in (0, 0 if shared else 100)
        )
        claims += "beyond noise" in board_diff(first, second)
    assert claims / 300 <= 0.05 + 4 * (0.05 * 0.95 / 300) ** 0.5


def test_boards_of_git_revisions(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "some where/board")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q"], check=True)
    for new in (OLD[:3], [record("found")]):
        for each in new:
            store.put(replace(each, predictions=None), {"x": np.zeros(1)})
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-qm", "x"], check=True)
    assert cli.main(["diff", "HEAD~1:some where/board", "HEAD:some where/board"]) == 0
    assert "found: appeared, with seed 0" in capsys.readouterr().out
    assert cli.main(["diff", "HEAD:some where/board", "some where/board"]) == 0
    assert NOTHING in capsys.readouterr().out
    refused(capsys, ["diff", "HEAD:nowhere", "some where/board"], "no records at 'HEAD:nowhere'", "HEAD~1:leaderboard")
    refused(capsys, ["diff", "nobody:some where/board", "."], "no records at 'nobody:")
    refused(capsys, ["diff", "--", "--output=x:board", "."], "is no folder of records")
    refused(capsys, ["diff", "nowhere", "."], "'nowhere' is no folder of records")
