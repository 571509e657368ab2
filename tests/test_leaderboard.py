"""The board: from records alone; statistics against NumPy; the committed one is what its records render to."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bbh_bench.leaderboard import FILE, board, render, summary
from bbh_bench.leaderboard.tables import Column, by_task, clear_best, order, statistics
from bbh_bench.records.record import SCHEMA, Record, fingerprint
from bbh_bench.records.store import Store

PUBLISHED = Path(__file__).parents[1] / "leaderboard"


ATTACKS = [{"name": "a", "norm": "linf", "version": 3, "access": "white", "draws": 16}]
PASSED = {"verdict": "pass", "figure": -1.25, "limit": 2.0, "unit": "points", "line": "a difference"}
NOT_APPLICABLE = PASSED | {"verdict": "not applicable", "figure": None, "limit": None}
FAILED = PASSED | {"verdict": "fail", "figure": 7.5}


def record(method, seed, nll, **changes):
    made = Record(
        schema=SCHEMA,
        status="finished",
        task={"name": "t", "version": 1, "title": "T", "headline": "test/nll", "fingerprint": "f", "attacks": ATTACKS},
        method={"name": method, "distribution": "d", "line": "a method", "hyperparameters": {}},
        seed=seed,
        scores={"test/nll": nll, "test/error": nll / 10, "outlier/o/auroc": 1 - nll, "attack/a/accuracy_area": 0.5}
        | {"robust/linf/accuracy_area": 0.4},
        better={"nll": "lower", "error": "lower", "auroc": "higher", "accuracy_area": "higher"},
        curves={
            "attack/a": {"epsilon": [0.0, 0.1], "accuracy": [0.9, 0.25], "entropy": [0.1, 0.2], "entropy_auc": [1, 1]},
            "robust/linf": {"epsilon": [0.0, 0.1], "accuracy": [0.9, 0.2], "accuracy_low": [0.8, 0.1]}
            | {"accuracy_high": [0.95, 0.3]},
        },
        audit={"pgd_vs_fgsm": PASSED, "gradients": NOT_APPLICABLE},
        cost={"fit/fits": 1.25, "fit/seconds": 3.0, "peak_memory_bytes": 2.0**30, "parameters": 12345},
        predictions={"file": "seed.npz", "sha256": "0"},
        provenance={
            "packages": {"bbh-bench": "0", "torch": "2"},
            "commit": "0123456789abcdef",
            "dirty": False,
            "command": "bbh-bench run",
            "hardware": {"accelerator": None, "processor": "a processor", "threads": 2},
            "started": "2026-01-01T00:00:00Z",
            "device": "cpu",
        },
        error={},
    )
    return replace(made, **changes)


def failed(method, seed):
    error = {"type": "Diverged", "message": "the loss\nwas nan", "traceback": "..."}
    return record(method, seed, 0.0, status="failed", scores={}, curves={}, cost={}, error=error)


GOOD = [record("good", seed, nll) for seed, nll in enumerate([0.10, 0.11, 0.12])]
POOR = [record("poor", seed, nll) for seed, nll in enumerate([0.50, 0.52, 0.48])]
NEAR = [record("near", seed, nll) for seed, nll in enumerate([0.09, 0.115, 0.14])]


def row(text, method):
    return next(line for line in text.splitlines() if line.startswith(f"| {method} "))


def test_mean_and_standard_error_over_seeds():
    (group,) = by_task(GOOD)
    stats = statistics(group, Column("NLL", "test/nll")).loc["good"]
    assert stats["mean"] == pytest.approx(0.11)
    assert stats["sem"] == pytest.approx(np.std([0.10, 0.11, 0.12], ddof=1) / 3**0.5)
    assert stats["count"] == 3
    assert "0.1100 ± 0.0058" in row(board(GOOD), "good")


def test_rows_stand_in_the_order_of_the_headline():
    (group,) = by_task([*POOR, *GOOD])
    assert order(group) == ["good", "poor"]
    text = summary([*POOR, *GOOD])
    assert text.index("| good") < text.index("| poor")


def test_the_best_is_bold_only_where_noise_cannot_decide():
    def best(records):
        (group,) = by_task(records)
        return clear_best(statistics(group, Column("NLL", "test/nll")), "lower")

    assert best([*GOOD, *POOR]) == "good"
    assert best([*GOOD, *POOR, *NEAR]) is None
    assert best([*GOOD, record("lone", 0, 0.01)]) is None  # one seed has no standard error
    assert best(GOOD) is None
    assert "**0.1100 ± 0.0058**" in row(summary([*GOOD, *POOR]), "good")
    assert "**" not in row(summary([*GOOD, *POOR]), "poor")
    assert "**" not in summary([*GOOD, *NEAR])


def test_the_greater_is_better_where_the_record_says_so():
    assert "AUROC ↑" in board(GOOD)
    assert "**0.890 ± 0.006**" in board([*GOOD, *POOR])


def test_a_method_that_cannot_be_attacked_gets_a_dash():
    scores = {"test/nll": 0.2, "test/error": 0.02, "outlier/o/auroc": 0.8}
    calm = [record("calm", k, 0.2, scores=scores, curves={}, audit={}) for k in (0, 1)]
    text = board([*GOOD, *calm])
    assert row(summary([*GOOD, *calm]), "calm").count("–") == 5  # attacks, audit, and three scores no record here has
    assert "| calm" in text[text.index("### Under attack") :]


def test_failures_are_shown_as_failures():
    text = board([*GOOD, failed("good", 3), failed("lost", 0)])
    assert "3 (1 failed)" in row(text, "good")
    assert row(text, "lost").split() == ["|", "lost", "|", "failed", "|", *["–", "|"] * 9]
    assert "Diverged" in text
    assert "the loss was nan" in text
    assert "failed" in board([failed("lost", 0)])


def test_a_strangers_error_message_cannot_break_the_page():
    lost = failed("lost", 0)
    lost = replace(lost, error=lost.error | {"message": "a|b <img src=x>\n" + "long " * 100})
    line = next(line for line in board([lost]).splitlines() if "Diverged" in line)
    assert "a\\|b &lt;img" in line
    assert len(line) < 400


def test_a_column_that_fewer_seeds_have_says_so():
    part = [replace(r, scores={k: v for k, v in r.scores.items() if "/o/" not in k or r.seed == 0}) for r in GOOD]
    assert "0.900 (n = 1)" in row(summary(part), "good")
    assert "(n =" not in summary(GOOD)


def test_records_of_different_definitions_never_share_a_table():
    other = [replace(r, task=r.task | {"fingerprint": "g"}) for r in POOR]
    assert len(by_task([*GOOD, *other])) == 2


def test_a_plugins_metric_gets_a_column():
    more = [
        replace(r, scores=r.scores | {"test/sharpness": 0.25}, better=r.better | {"sharpness": "lower"}) for r in GOOD
    ]
    assert "sharpness ↓" in board(more)


def test_where_the_rows_come_from_is_said():
    assert "- 3 cells: bbh-bench 0 (0123456789), torch 2, a processor, 2 threads, by `bbh-bench run`" in board(GOOD)


def test_an_empty_board_says_so(tmp_path):
    assert "no records yet" in render([], tmp_path / "new").read_text()


def test_rendering_imports_neither_torch_nor_a_method():
    code = "import sys; import bbh_bench.leaderboard, bbh_bench.records.store; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_committed_board_is_what_its_records_render_to():
    records = Store(PUBLISHED).some_records()
    assert (PUBLISHED / FILE).read_text() == board(records)
    assert all(r.status == "finished" for r in records)


def test_the_committed_records_are_of_the_installed_tasks(builtin):
    for held in Store(PUBLISHED).records():
        assert held.task["fingerprint"] == fingerprint(builtin.tasks[held.task["name"]].specification()), held.path


def test_the_committed_scores_are_what_their_predictions_give(builtin, metrics):
    store = Store(PUBLISHED)
    for held in store.records():
        scores, curves = builtin.tasks[held.task["name"]].score(store.arrays(held), metrics)
        assert scores == pytest.approx(held.scores, rel=1e-9)
        assert curves.keys() == held.curves.keys()
        for name, curve in curves.items():
            assert curve == {column: pytest.approx(values, rel=1e-9) for column, values in held.curves[name].items()}


def test_the_committed_board_keeps_its_promises_on_mnist():
    """What a LeNet of five epochs is known to reach; three seeds each."""
    held = [r for r in Store(PUBLISHED).records() if r.task["name"] == "mnist-short"]

    def mean(method, score):
        values = [r.scores[score] for r in held if r.method["name"] == method]
        assert len(values) == 3
        return np.mean(values)

    def errors(method):
        return [r.scores["test/error"] for r in held if r.method["name"] == method]

    for method, limit in {"bbb": 0.02, "mnf": 0.02, "bbh": 0.02, "bbh-sliced": 0.04, "bbh-single": 0.04}.items():
        assert errors(method), method
        assert max(errors(method)) <= limit, method
    assert mean("map", "test/error") <= 0.014
    assert mean("ensemble", "test/error") <= 0.011
    assert mean("dropout", "test/error") <= 0.015
    assert mean("ensemble", "outlier/notmnist/entropy_auc") < mean("map", "outlier/notmnist/entropy_auc")


def mnist_record(seed, error, inside, outside, **changes):
    held = record("bbh", seed, 0.03, **changes)
    scores = {"test/error": error, "test/entropy_auc": inside, "outlier/notmnist/entropy_auc": outside}
    return replace(held, task=held.task | {"name": "mnist"}, scores={"test/nll": 0.03} | scores)


def test_the_papers_tables_stand_beside_ours():
    """By hand: 0.0056 of 10,000 images has a binomial standard error of 0.0746 points."""
    held = [mnist_record(0, 0.0060, 0.97, 0.50), mnist_record(1, 0.0068, 0.98, 0.54)]
    text = board(held)
    assert "Reproduction of the paper" in text
    lines = [line for line in text.splitlines() if line.startswith("| BbH")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0] == ["BbH", "bbh", "2", "error %", "0.56", "0.64 ± 0.04", "+0.08", "0.15", "yes"]
    assert cells[1][-4:] == ["0.975 ± 0.005", "+0.005", "0.019", "yes"]
    assert cells[2][3:] == ["notmnist entropy AUC", "0.48", "0.520 ± 0.020", "+0.040", "0.062", "yes"]
    layer_wise = next(line for line in text.splitlines() if line.startswith("| Layer-wise"))
    assert " -0.09 |" in layer_wise
    alone = next(line for line in board(held[:1]).splitlines() if line.startswith("| BbH") and "notmnist" in line)
    assert [cell.strip() for cell in alone.split("|")[-3:-1]] == ["–", "–"]  # one seed has no spread
    far = [mnist_record(seed, 0.01, 0.97, 0.48) for seed in (0, 1)]
    assert next(line for line in board(far).splitlines() if line.startswith("| BbH")).endswith(" no |")


def test_a_task_of_another_name_reproduces_nothing():
    held = [replace(r, task=r.task | {"name": "digits5"}) for r in (mnist_record(0, 0.006, 0.97, 0.5),)]
    assert "Reproduction" not in board(held)


def test_shifts_are_drawn_and_named_on_the_page(tmp_path):
    many = {"angle": [0.0, 90.0], "entropy": [0.1, 0.9], "mutual_information": [0.0, 0.2], "accuracy": [0.9, 0.1]}
    one = {"share": [0.0, 1.0], "entropy": [0.1, 0.2], "mutual_information": [0.0, 0.0], "p(0)": [0.9, 0.1]}
    one |= {"p(1)": [0.1, 0.9]}
    curves = {"shift/rotation": many, "shift/pair": one}
    text = render([replace(r, curves=curves) for r in [*GOOD, *POOR]], tmp_path).read_text()
    for figure in ("t-v1-f-shifts.png", "t-v1-f-images.png"):
        assert f"({figure})" in text
        assert (tmp_path / figure).read_bytes().startswith(b"\x89PNG")
    assert "### Shifts" not in board(GOOD)


def test_an_attack_at_other_epsilons_is_not_mixed_in():
    curve = GOOD[0].curves["attack/a"]
    other = replace(GOOD[1], curves={"attack/a": {name: values[:1] for name, values in curve.items()}})
    table = board([GOOD[0], other])
    attacked = table[table.index("**a**: version 3, norm linf, access white, draws 16") :]
    assert row(attacked, "good").split()[3:8:2] == ["1", "90.0", "25.0"]


@pytest.mark.parametrize("task", ["digits5", "toy"])
def test_the_committed_board_has_every_built_in_method_on_the_main_jobs_tasks(builtin, task):
    held = [r for r in Store(PUBLISHED).records() if r.task["name"] == task]
    for method in builtin.methods:
        mine = [r for r in held if r.method["name"] == method]
        assert len(mine) >= 3, method
        assert all(r.scores.get("test/error", 0) <= 0.06 for r in mine), method


def test_a_method_that_fails_its_audit_is_struck_out_with_the_reason_and_not_ranked():
    scores = [GOOD[0].scores | {"robust/linf/accuracy_area": area} for area in (0.48, 0.5)]
    bad = [record("bad", k, 0.9, scores=scores[k], audit={"pgd_vs_fgsm": PASSED}) for k in (0, 1)]
    text = board([*GOOD, *bad])
    assert "**0.490 ± 0.010**" in row(text, "bad")  # the highest area under the worst case
    assert "✓ 2/2" in row(text, "bad")
    assert "~~Struck" not in text
    bad[1] = replace(bad[1], audit={"pgd_vs_fgsm": FAILED})
    text = board([*GOOD, *bad])
    assert "~~0.490 ± 0.010~~" in row(text, "bad")
    assert "✗ 1/2" in row(text, "bad")
    assert "**" not in row(text, "bad")
    assert "`bad` (seed 1): a difference is 7.5 points, and 2.0 would pass" in text
    attacked = text[text.index("### Under attack") :]
    assert "~~20.0 [10, 30]~~" in row(attacked, "bad")
    assert "20.0 [10, 30]" in row(attacked, "good")
    audit = text[text.index("**Audit**") :]
    assert row(audit, "bad").split()[3:5] == ["✗", "7.5"]
    assert row(audit, "good").split()[3:8] == ["✓", "-1.2", "|", "–", "|"]
    assert "pgd vs fgsm, points" in audit


def test_the_papers_attack_stands_beside_the_adaptive_ones():
    def held(name, accuracy, moved):
        return {f"attack/{name}": {"epsilon": [0.0, 0.1], "accuracy": [0.9, accuracy], "moved": [0.0, moved]}}

    curves = held("fgsm", 0.4, 0.09) | held("pgd-linf", 0.3, 0.09) | held("paper-fgsm", 0.8, 0.05)
    shown = [replace(each, curves={k: c | {"entropy": [0.1, 0.2]} for k, c in curves.items()}) for each in GOOD]
    text = board(shown)
    line = row(text[text.index("**The paper's attack beside") :], "good")
    assert "80.0 / 40.0 / 30.0" in line
    assert "0.050 / 0.090" in line
    assert "**The paper's attack beside" not in board(GOOD)


def test_attacks_are_drawn_and_named_on_the_page(tmp_path):
    render([*GOOD, *POOR], tmp_path)
    (figure,) = tmp_path.glob("*-attacks.png")
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert f"({figure.name})" in (tmp_path / FILE).read_text()


def test_every_committed_record_that_was_attacked_says_how_and_has_its_audit():
    for held in Store(PUBLISHED).records():
        attacked = {name.split("/")[1] for name in held.curves if name.startswith("attack/")}
        assert attacked == {attack["name"] for attack in held.task["attacks"]}
        if attacked:
            assert held.task["threat_model"]["version"] == 1
            assert {check["verdict"] for check in held.audit.values()} <= {"pass", "fail"}, held.path
            assert len(held.audit) == 10
