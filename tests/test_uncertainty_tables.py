"""The board's part on attacks on the uncertainty, known networks, bounds, and passes."""

import msgspec
from record_factory import ATTACK, FAILED, board, record, with_scores, with_task

from bbh_bench.leaderboard.figures import draw
from bbh_bench.leaderboard.tables import by_task

replace = msgspec.structs.replace
CURVE = {
    "epsilon": [0.0, 0.1],
    "auroc_ood": [0.9, 0.5],
    "auroc_test": [0.9, 0.4],
    "auroc_both": [0.9, 0.125],
    "mi_auroc_ood": [0.8, 0.5],
    "mi_auroc_test": [0.8, 0.5],
    "mi_auroc_both": [0.8, 0.25],
    "images_test": [100, 100],
    "images_ood": [90, 90],
}
BETTER = {"auroc_ood": "higher", "auroc_test": "higher", "auroc_both": "higher", "known_accuracy@0.1": "higher"}


def attacked(base):
    scores = {"uncertainty/o/auroc_ood": 0.7, "uncertainty/o/auroc_test": 0.65, "uncertainty/o/auroc_both": 0.5125}
    return replace(
        base,
        curves=base.curves | {"uncertainty/o": CURVE},
        scores=base.scores | scores,
        directions=base.directions | BETTER,
    )


OLD = [record("old", seed, 0.2) for seed in (0, 1)]
METHODS = ("old", "new")
NEW = [attacked(record("new", seed, 0.1)) for seed in (0, 1)]


def row(text, name):
    return [cell.strip() for cell in next(x for x in text.splitlines() if x.startswith(f"| {name} ")).split("|")[1:-1]]


def section(text, heading):
    return text[text.index(heading) :]


def test_auroc_under_attack_is_in_a_table_and_in_the_first_one():
    text = board([*NEW, *OLD])
    part = section(text, "## Attacks on the uncertainty")
    assert "(100 test images, 90 OOD images)" in part
    assert row(section(part, "AUROC % at ε ="), "new") == ["new", "2", "90.0", "50.0 / 40.0 / 12.5"]
    assert row(section(part, "AUROC % at ε ="), "old") == ["old", "–", "–", "–"]
    assert row(section(part, "by mutual information"), "new")[-1] == "50.0 / 50.0 / 25.0"
    assert "mean AUROC over ε, both attacked ↑" in part
    assert "OOD AUROC under attack ↑" in next(line for line in text.splitlines() if line.startswith("| method"))
    assert "0.512 ± 0.000" in part


def test_a_failed_audit_strikes_out_auroc_under_attack_too():
    bad = [replace(each, audit={"gradients": FAILED}) for each in NEW]
    part = section(board(bad), "AUROC % at ε =")
    assert row(part, "new")[-1] == "~~50.0 / 40.0 / 12.5~~"


def test_records_without_these_attacks_have_no_such_parts():
    text = board(OLD)
    assert "## Attacks on the uncertainty" not in text
    assert "**Known and fresh networks**" not in text
    assert "**Passes of the attacks**" not in text
    assert not [name for name in draw(by_task(OLD), METHODS) if "uncertainty" in name]


def test_the_figure_has_a_row_for_each_set_and_is_named_by_the_board():
    pictures = draw(by_task([*NEW, *OLD]), METHODS)
    assert pictures["t-v1-f-uncertainty.png"].startswith(b"\x89PNG")
    assert "(t-v1-f-uncertainty.png)" in board(NEW)


def test_known_and_fresh_networks_stand_side_by_side():
    worst = OLD[0].curves["robust/linf"]
    known = [
        replace(each, curves=each.curves | {"robust/linf": worst | {"known_accuracy": [0.9, 0.125]}}) for each in OLD
    ]
    known = [
        with_scores(
            replace(each, directions=each.directions | BETTER),
            **{"robust__linf__accuracy@0.1": 0.2, "robust__linf__known_accuracy@0.1": 0.125},
        )
        for each in known
    ]
    text = board([*NEW, *known])
    part = section(text, "**Known and fresh networks**")
    assert row(part, "old") == ["old", "2", "90.0 / 90.0 (0.0)", "12.5 / 20.0 (7.5)"]
    assert row(part, "new") == ["new", "2", "–", "–"]
    assert "robust accuracy at ε = 0.1, known networks, % ↑" in text
    assert "12.5 ± 0.0" in text


def test_without_gradients_the_worst_case_is_a_bound_and_not_the_best():
    black = ATTACK | {"name": "b", "access": "black"}
    records = [with_task(each, attacks=[ATTACK, black]) for each in (*NEW, *OLD)]
    better = {"robust/linf/robust_accuracy_auc": 0.9, "robust/linf/degradation": 0.25}

    def opaque(base):
        curves = {"attack/b": base.curves["attack/a"], "robust/linf": base.curves["robust/linf"]}
        return replace(base, curves=curves, scores=base.scores | better, audit={})

    text = board([*records[:2], *map(opaque, records[2:])])
    first = row(section(text, "# t v1: T"), "old")
    assert "≤ 0.900 ± 0.000" in first
    assert "≥ 25.0 ± 0.0" in first
    assert "**≤" not in text
    assert row(section(text, "Robust accuracy % in this worst case"), "old")[-1] == "≤ 20.0 [10, 30]"
    assert "≤ 0.4" not in text


def test_passes_are_forward_plus_backward_per_image():
    costs = {"attack/a/forward_passes": 1280.0, "attack/a/backward_passes": 640.0, "attack/b/forward_passes": 95.4}
    text = board([*[replace(each, cost=each.cost | costs) for each in NEW], *OLD])
    part = section(text, "**Passes of the attacks**")
    assert row(part, "method") == ["method", "a", "b"]
    assert row(part, "new") == ["new", "1,280 + 640", "95 + 0"]
    assert row(part, "old") == ["old", "–", "–"]
