"""The board's part on attacks and on their audit."""

import msgspec
from record_factory import ATTACK, FAILED, PASSED, board, record, with_scores, with_task

from bbh_bench.leaderboard import render, summary

replace = msgspec.structs.replace
GOOD = [record("good", seed, nll) for seed, nll in enumerate([0.10, 0.11, 0.12])]
POOR = [record("poor", seed, nll) for seed, nll in enumerate([0.50, 0.52, 0.48])]


def row(text, name):
    return next(line for line in text.splitlines() if line.startswith(f"| {name} "))


def cells(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def section(text, heading):
    return text[text.index(heading) :]


def test_an_attack_at_other_epsilons_is_not_mixed_in():
    curve = GOOD[0].curves["attack/a"]
    other = replace(GOOD[1], curves={"attack/a": {name: values[:1] for name, values in curve.items()}})
    table = board([GOOD[0], other])
    attacked = section(
        table, "**a** (version 3, L∞ norm, white-box, 16 samples of the attacker, steps 40, rel stepsize 0.1)"
    )
    assert row(attacked, "good").split()[3:8:2] == ["1", "90.0", "25.0"]


def test_the_attackers_accuracy_and_detection_have_their_place():
    curve = {
        "epsilon": [0.05, 0.1],
        "accuracy": [0.9, 0.25],
        "attacker_accuracy": [0.8, 0.125],
        "entropy": [0.1, 0.25],
        "detection_auroc": [0.6, 0.75],
        "images": [250, 250],
    }
    text = board([replace(each, curves={"attack/a": curve}) for each in GOOD])
    table = section(text, "**a** (")
    assert "250 images)" in table.splitlines()[0]
    assert cells(row(table, "accuracy % at ε =")) == [
        "accuracy % at ε =",
        "n",
        "0.05",
        "0.1",
        "entropy",
        "detection AUROC",
    ]
    assert cells(row(table, "good")) == ["good", "3", "90.0 (80.0)", "25.0 (12.5)", "0.250", "0.750"]


def test_a_transfer_attack_says_which_surrogate_it_used():
    attack = ATTACK | {"access": "transfer", "samples": 1, "surrogate": {"name": "map", "version": 1, "lr": 0.001}}
    text = board([with_task(each, attacks=[attack]) for each in GOOD])
    assert "**a** (version 3, L∞ norm, transfer, surrogate map, 1 sample of the attacker, steps 40" in text


def test_a_method_that_fails_its_audit_is_struck_out_with_the_reason_and_not_ranked():
    scores = [GOOD[0].scores | {"robust/linf/robust_accuracy_auc": value} for value in (0.48, 0.5, 0.49)]
    bad = [record("bad", k, 0.9, scores=scores[k], audit={"pgd_vs_fgsm": PASSED}) for k in range(3)]
    text = board([*GOOD, *bad])
    assert "**0.490 ± 0.025**" in row(text, "bad")  # the highest area under the worst case
    assert "✓ 3/3" in row(text, "bad")
    assert "- bad, seed" not in text
    assert "~~0." not in text
    bad[1] = replace(bad[1], audit={"pgd_vs_fgsm": FAILED})
    text = board([*GOOD, *bad])
    assert "~~0.490 ± 0.025~~" in row(text, "bad")
    assert "✗ 2/3" in row(text, "bad")
    assert "**" not in row(text, "bad")
    assert "- bad, seed 1: a difference: 7.5 points (limit 2.0)" in text.splitlines()
    assert "- bad, seed 1: a difference: 7.5 points (limit 2.0)" in summary([*GOOD, *bad])
    attacked = section(text, "Robust accuracy % in this worst case")
    assert "~~20.0 [10, 30]~~" in row(attacked, "bad")
    assert "20.0 [10, 30]" in row(attacked, "good")
    assert "~~" not in row(attacked, "good")
    audit = section(text, "**Audit of the attacks**")
    assert cells(row(audit, "check")) == ["check", "bad", "good"]
    assert cells(row(audit, "pgd vs fgsm, points")) == ["pgd vs fgsm, points", "✗ 7.5", "✓ -1.2"]
    assert cells(row(audit, "gradients, points"))[1:] == ["–", "–"]
    assert "- *pgd vs fgsm*: a difference" in audit


def test_the_audit_shows_the_value_that_is_closest_to_its_limit():
    checks = [replace(PASSED, value=value, limit=limit) for value, limit in ((1.0, 2.0), (4.0, 9.0), (-3.0, 2.0))]
    records = [replace(each, audit={"gap": check}) for each, check in zip(GOOD, checks, strict=True)]
    assert cells(row(section(board(records), "**Audit"), "gap, points")) == ["gap, points", "✓ 1.0"]


def test_attack_degradation_is_in_points_and_named_with_its_epsilons():
    records = [
        with_scores(each, attack__a__degradation=0.55 + each.seed / 100, robust__linf__degradation=0.7) for each in GOOD
    ]
    text = board(records)
    assert (
        "attack and no attack makes it misclassified at this ε or a smaller one. Attack degradation is averaged over"
        in (" ".join(text.split()))
    )
    by_attack = section(text, "**Attack degradation by attack**, in points of accuracy")
    assert cells(row(by_attack, "method")) == ["method", "n", "a ↓"]
    assert cells(row(by_attack, "good")) == ["good", "3", "56.0 ± 2.5"]
    assert "**Attack degradation by attack**" not in board(GOOD)


def test_l2_is_in_the_section_on_attacks_only():
    records = [
        replace(
            with_scores(each, robust__l2__robust_accuracy_auc=0.625),
            curves=each.curves | {"robust/l2": each.curves["robust/linf"]},
        )
        for each in GOOD
    ]
    main, _, attacks = board(records).partition("## Attacks")
    assert "0.625" not in main
    worst = section(attacks, "**Worst case over the L2 attacks**")
    assert cells(row(worst, "good")) == ["good", "3", "0.625 ± 0.000"]


def test_the_median_smallest_perturbation_has_a_table():
    text = board([with_scores(each, attack__a__median_distance=1.5) for each in GOOD])
    assert cells(row(section(text, "**Median smallest perturbation**"), "good")) == ["good", "3", "1.500 ± 0.000"]
    assert "**Median smallest perturbation**" not in board(GOOD)


def test_the_papers_attack_is_compared_with_stronger_ones():
    def attack(name, accuracy, perturbation):
        columns = {"epsilon": [0.0, 0.1], "accuracy": [0.9, accuracy], "entropy": [0.1, 0.2]}
        return {f"attack/{name}": columns | {"mean_perturbation": [0.0, perturbation]}}

    curves = attack("fgsm", 0.4, 0.09) | attack("pgd-linf", 0.3, 0.09) | attack("paper-fgsm", 0.8, 0.05)
    text = board([replace(each, curves=curves) for each in GOOD])
    line = row(section(text, "**The attack of the paper and stronger attacks**"), "good")
    assert "80.0 / 40.0 / 30.0" in line
    assert "0.050 / 0.090" in line
    assert "**The attack of the paper" not in board(GOOD)


def test_attacks_are_drawn_and_named_on_the_page(tmp_path):
    render([*GOOD, *POOR], tmp_path)
    (figure,) = tmp_path.glob("*-attacks.png")
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert f"({figure.name})" in (tmp_path / "t-v1-f.md").read_text()
