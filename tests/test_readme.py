"""Each number of README on results is that of the published records."""

from statistics import mean

import pytest
from readme_board import README, group, section

from bbh_bench.leaderboard.drawing import BUILT_IN
from bbh_bench.leaderboard.tables import TaskRecords


@pytest.fixture(scope="module")
def records() -> TaskRecords:
    return group()


def test_the_board_of_the_readme_is_the_published_one(records):
    """``python tests/readme_board.py`` writes it."""
    assert section(records) in README.read_text()


def test_the_numbers_on_robustness_are_those_of_the_records(records):
    text = " ".join(README.read_text().split())
    text = text[text.index("## Is Bayes by Hypernet the most robust") : text.index("## Your method in one file")]

    def score(method, name):
        return mean(record.scores[name] for record in records.finished if record.method.name == method)

    methods = set(BUILT_IN)  # the section compares those of the paper
    paper = {name: score(name, "attack/paper-fgsm/robust_accuracy_auc") for name in methods}
    others = {name: value for name, value in paper.items() if not name.startswith("bbh")}
    best = max(others, key=others.get)
    assert f"AUC is {paper['bbh']:.2f}, that of `map` {paper['map']:.2f}" in text
    assert f"the best of the other built-in families has {others[best]:.2f} (`{best}`)" in text
    worst = {name: f"{score(name, 'robust/linf/robust_accuracy_auc'):.2f}" for name in methods}
    assert (
        f"`bbh` has {worst['bbh']}, `map` {worst['map']}, `dropout` {worst['dropout']}, `ensemble` {worst['ensemble']}"
        in text
    )
    kept = {name: 100 * score(name, "robust/linf/accuracy@0.1") for name in methods}
    assert (
        f"`bbh` keeps {kept['bbh']:.0f} % of the images, `map` {kept['map']:.0f} %, and `ensemble` {kept['ensemble']:.0f} %"
        in text
    )
    gaps = [kept[name] - 100 * score(name, "robust/linf/known_accuracy@0.1") for name in methods]
    assert f"keep {min(gaps):.0f} to {max(gaps):.0f} points fewer" in text
    curves = [record.curves["uncertainty/digits5-9"] for record in records.finished]
    place = curves[0]["epsilon"].index(0.1)
    detected = [
        mean(r.curves["uncertainty/digits5-9"]["auroc_both"][place] for r in records.finished if r.method.name == name)
        for name in methods
    ]
    assert max(detected) < 0.15
    assert "the AUROC of every method is below 0.15" in text
    seeds = {record.seed for record in records.finished}
    assert len(seeds) == 10
    assert "(Ten seeds of `digits5`." in text
