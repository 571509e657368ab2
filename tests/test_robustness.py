"""Scores under attack from arrays: oracles are NumPy, scikit-learn, and the equation that defines Wilson's interval."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from bbh_bench.attacks.robustness import accuracy_area, attacks, intervals, robustness, worst_case
from bbh_bench.evaluation.predictive import predict

LABELS = np.arange(60, dtype=np.uint8) % 4


def predicted(seed, scale=2.0, labels=None):
    """Predictions of six random networks on 60 images, or of sure ones that say ``labels``."""
    logits = scale * torch.randn(6, 60, 4, generator=torch.Generator().manual_seed(seed))
    if labels is not None:
        logits = 9.0 * torch.eye(4)[torch.from_numpy(labels.astype(np.int64))].expand(6, 60, 4)
    return predict(lambda x: logits[:, x.long()], torch.arange(60.0), torch.device("cpu"), 4)


def attack(name, judged, epsilons, index=None, norm="linf", access="white", **more):
    """Arrays of an attack on the images ``index`` of the test set."""
    index = np.arange(60) if index is None else np.array(index)
    arrays = {
        "norm": np.array(norm),
        "access": np.array(access),
        "labels": LABELS[index],
        "index": index.astype(np.uint32),
        "epsilons": np.array(epsilons),
        "own": np.stack([each["log_odds"].argmax(1)[index].astype(np.uint8) for each in judged]),
        "moved": np.tile(np.array(epsilons)[:, None] / 2, len(index)).astype(np.float32),
        **more,
    }
    for k, each in enumerate(judged):
        arrays |= {f"{k}/{key}": value[index] for key, value in each.items()}
    return {f"attack/{name}/{key}": value for key, value in arrays.items()}


def cell(*attacks_, index=None, epsilons=(0.1, 0.2), norm="linf"):
    test = {f"test/{key}": value for key, value in predicted(0, labels=LABELS).items()}
    index = np.arange(60) if index is None else np.array(index)
    fixed = {f"robust/{norm}/index": index.astype(np.uint32), f"robust/{norm}/epsilons": np.array(epsilons)}
    return test | {"test/labels": LABELS} | fixed | {k: v for held in attacks_ for k, v in held.items()}


def wrong_on(*images):
    """Sure predictions, wrong on these images."""
    labels = LABELS.copy()
    labels[list(images)] = (labels[list(images)] + 1) % 4
    return predicted(0, labels=labels)


def test_a_curve_of_an_attack():
    index = np.arange(0, 60, 2)
    judged = [predicted(1), predicted(2)]
    arrays = cell(attack("x", judged, [0.1, 0.2], index))
    scores, curves = robustness(arrays)
    curve = curves["attack/x"]
    clean = attacks(arrays)["x"].clean
    for k, predictions in enumerate(attacks(arrays)["x"].judged):
        right = predictions.probs.argmax(1) == LABELS[index]
        assert curve["accuracy"][k] == right.mean()
        assert curve["entropy"][k] == pytest.approx(predictions.entropy.mean())
        assert curve["entropy_auc"][k] == pytest.approx(1 - predictions.entropy.mean() / np.log(4))
        assert curve["nll"][k] == pytest.approx(log_loss(LABELS[index], predictions.probs, labels=range(4)))
        truth = np.r_[np.zeros(30), np.ones(30)]
        assert curve["flagged"][k] == roc_auc_score(truth, np.r_[clean.entropy, predictions.entropy])
    assert curve["own_accuracy"] == curve["accuracy"]  # as these arrays were made
    assert curve["moved"] == pytest.approx([0.05, 0.1])
    assert curve["images"] == [30, 30]
    assert scores["attack/x/accuracy_area"] == pytest.approx(np.mean(curve["accuracy"]))


@pytest.mark.parametrize(
    ("epsilons", "accuracy", "area"),
    [
        ([0.0, 0.1, 0.4], [1.0, 1.0, 1.0], 1.0),
        ([0.0, 0.1, 0.4], [1.0, 0.5, 0.0], 0.375),
        ([0.0, 0.4], [0.0, 0.0], 0.0),
        ([0.3], [0.7], 0.7),
    ],
)
def test_accuracy_area_by_hand(epsilons, accuracy, area):
    assert accuracy_area(epsilons, accuracy) == pytest.approx(area)


def test_the_ends_of_an_interval_are_where_the_score_test_rejects():
    """Wilson's ends p solve |share - p| = z sqrt(p (1 - p) / n), z the normal's 97.5 % point."""
    shares, n, z = [0.0, 0.02, 0.5, 0.932, 1.0], 250, 1.959963984540054
    low, high = intervals(shares, n)
    for share, *ends in zip(shares, low, high, strict=True):
        for end in ends:
            assert abs(share - end) == pytest.approx(z * (end * (1 - end) / n) ** 0.5, abs=1e-9)
    assert all(a <= share <= b for a, share, b in zip(low, shares, high, strict=True))


def test_the_worst_case_by_hand():
    """Image 0 falls to the one attack at 0.1, image 1 to the other at 0.2, image 2 to both; image 3 is wrong without any."""
    arrays = cell(
        attack("a", [wrong_on(0, 2), wrong_on(2)], [0.1, 0.2]),  # 0 is turned at 0.1, whatever it is at 0.2
        attack("b", [wrong_on(), wrong_on(1, 2)], [0.1, 0.2], access="black"),
        attack("c", [wrong_on(*range(4, 60))], [0.1], norm="l2"),
    )
    arrays |= {f"test/{key}": value for key, value in wrong_on(3).items()}
    scores, curves = robustness(arrays)
    assert curves["robust/linf"]["epsilon"] == [0.0, 0.1, 0.2]
    assert curves["robust/linf"]["accuracy"] == [59 / 60, 57 / 60, 56 / 60]
    assert scores["robust/linf/accuracy_area"] == pytest.approx((59 / 2 + 57 + 56 / 2) / 2 / 60)
    assert "robust/l2" not in curves


def test_an_attack_that_minimises_counts_at_the_sizes_that_it_found():
    size = np.tile(np.linspace(0.05, 0.64, 60), (2, 1)) * np.array([[1.0], [1.5]])
    fresh = np.stack([LABELS, (LABELS + 1) % 4])  # all stand the smallest, and none the longer
    arrays = cell(
        attack("a", [wrong_on()], [0.1], norm="l2", **{"stretch/size": size, "stretch/fresh": fresh}), norm="l2"
    )
    scores, curves = robustness(arrays)
    assert scores["attack/a/median_distance"] == pytest.approx(np.median(size[1]))
    assert curves["robust/l2"]["accuracy"] == [1.0, np.mean(size[1] > 0.1), np.mean(size[1] > 0.2)]
    fresh = np.stack([LABELS, LABELS])
    arrays |= {"attack/a/stretch/fresh": fresh}
    assert "attack/a/median_distance" not in robustness(arrays)[0]  # it is infinite


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sets(st.integers(0, 59), min_size=1), st.integers(0, 99)), min_size=1, max_size=4))
def test_one_more_attack_can_only_lower_the_worst_case(made):
    """Attacks on any images, turning any of them at two epsilons of any order."""
    held, before = [], np.ones(3)
    index = list(range(0, 60, 3))
    for number, (images, seed) in enumerate(made):
        judged = [predicted(2 * seed), predicted(2 * seed + 1)]
        held.append(attack(f"a{number}", judged, [0.1, 0.3 if seed % 2 else 0.2], sorted(images)))
        arrays = cell(*held, index=index)
        curve = worst_case(arrays, "linf", list(attacks(arrays).values()))
        assert (np.array(curve["accuracy"]) <= before).all()
        assert curve["accuracy"] == sorted(curve["accuracy"], reverse=True)
        before = np.array(curve["accuracy"])
