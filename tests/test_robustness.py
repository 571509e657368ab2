"""Scores under attack from arrays: oracles are NumPy, scikit-learn, and the equation that defines Wilson's interval."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from bbh_bench.attacks.robustness import (
    degradation,
    directions,
    intervals,
    robust_accuracy_auc,
    robustness,
    worst_case,
)
from bbh_bench.attacks.stored import stored_attacks, stored_worst_cases
from bbh_bench.evaluation.predictive import predict

LABELS = np.arange(60, dtype=np.uint8) % 4


def predicted(seed, scale=2.0, labels=None):
    """Predictions of six random networks on 60 images, or of confident ones that predict ``labels``."""
    logits = scale * torch.randn(6, 60, 4, generator=torch.Generator().manual_seed(seed))
    if labels is not None:
        logits = 9.0 * torch.eye(4)[torch.from_numpy(labels.astype(np.int64))].expand(6, 60, 4)
    return predict(lambda x: logits[:, x.long()], torch.arange(60.0), torch.device("cpu"), 4)


def attack(name, predictions, epsilons, index=None, norm="linf", access="white", **more):
    """Arrays of an attack on the images ``index`` of the test set."""
    index = np.arange(60) if index is None else np.array(index)
    arrays = {
        "norm": np.array(norm),
        "access": np.array(access),
        "labels": LABELS[index],
        "index": index.astype(np.uint32),
        "epsilons": np.array(epsilons),
        "own": np.stack([each["log_odds"].argmax(1)[index].astype(np.uint8) for each in predictions]),
        "moved": np.tile(np.array(epsilons)[:, None] / 2, len(index)).astype(np.float32),
        **more,
    }
    for k, each in enumerate(predictions):
        arrays |= {f"{k}/{key}": value[index] for key, value in each.items()}
    return {f"attack/{name}/{key}": value for key, value in arrays.items()}


def cell(*attacks_, index=None, epsilons=(0.1, 0.2), norm="linf"):
    test = {f"test/{key}": value for key, value in predicted(0, labels=LABELS).items()}
    index = np.arange(60) if index is None else np.array(index)
    fixed = {f"robust/{norm}/index": index.astype(np.uint32), f"robust/{norm}/epsilons": np.array(epsilons)}
    return test | {"test/labels": LABELS} | fixed | {k: v for arrays in attacks_ for k, v in arrays.items()}


def wrong_on(*images):
    """Confident predictions, wrong on these images."""
    labels = LABELS.copy()
    labels[list(images)] = (labels[list(images)] + 1) % 4
    return predicted(0, labels=labels)


def test_a_curve_of_an_attack():
    index = np.arange(0, 60, 2)
    arrays = cell(attack("x", [predicted(1), predicted(2)], [0.1, 0.2], index))
    scores, curves = robustness(arrays)
    curve = curves["attack/x"]
    clean = stored_attacks(arrays)["x"].clean
    for k, predictions in enumerate(stored_attacks(arrays)["x"].predictions):
        correct = predictions.probs.argmax(1) == LABELS[index]
        assert curve["accuracy"][k] == correct.mean()
        assert curve["entropy"][k] == pytest.approx(predictions.entropy.mean())
        assert curve["entropy_auc"][k] == pytest.approx(1 - predictions.entropy.mean() / np.log(4))
        assert curve["nll"][k] == pytest.approx(log_loss(LABELS[index], predictions.probs, labels=range(4)))
        truth = np.r_[np.zeros(30), np.ones(30)]
        assert curve["detection_auroc"][k] == roc_auc_score(truth, np.r_[clean.entropy, predictions.entropy])
    assert curve["attacker_accuracy"] == curve["accuracy"]  # by the construction of these arrays
    assert curve["mean_perturbation"] == pytest.approx([0.05, 0.1])
    assert curve["images"] == [30, 30]
    assert scores["attack/x/robust_accuracy_auc"] == pytest.approx(np.mean(curve["accuracy"]))


@pytest.mark.parametrize(
    ("epsilons", "accuracy", "area"),
    [
        ([0.0, 0.1, 0.4], [1.0, 1.0, 1.0], 1.0),
        ([0.0, 0.1, 0.4], [1.0, 0.5, 0.0], 0.375),
        ([0.0, 0.4], [0.0, 0.0], 0.0),
        ([0.3], [0.7], 0.7),
    ],
)
def test_robust_accuracy_auc_by_hand(epsilons, accuracy, area):
    assert robust_accuracy_auc(epsilons, accuracy) == pytest.approx(area)


def test_the_ends_of_an_interval_are_where_the_score_test_rejects():
    """Wilson's ends p solve |share - p| = z sqrt(p (1 - p) / n), z the normal's 97.5 % point."""
    shares, n, z = [0.0, 0.02, 0.5, 0.932, 1.0], 250, 1.959963984540054
    low, high = intervals(shares, n)
    for share, *ends in zip(shares, low, high, strict=True):
        for end in ends:
            assert abs(share - end) == pytest.approx(z * (end * (1 - end) / n) ** 0.5, abs=1e-9)
    assert all(a <= share <= b for a, share, b in zip(low, shares, high, strict=True))


def test_the_worst_case_by_hand():
    """One attack succeeds on image 0 at 0.1, the other on 1 at 0.2, both on 2; image 3 is misclassified without any."""
    arrays = cell(
        attack("a", [wrong_on(0, 2), wrong_on(2)], [0.1, 0.2]),  # 0 is misclassified at 0.1, whatever it is at 0.2
        attack("b", [wrong_on(), wrong_on(1, 2)], [0.1, 0.2], access="black"),
        attack("c", [wrong_on(*range(4, 60))], [0.1], norm="l2"),
    )
    arrays |= {f"test/{key}": value for key, value in wrong_on(3).items()}
    scores, curves = robustness(arrays)
    assert curves["robust/linf"]["epsilon"] == [0.0, 0.1, 0.2]
    assert curves["robust/linf"]["accuracy"] == [59 / 60, 57 / 60, 56 / 60]
    assert scores["robust/linf/robust_accuracy_auc"] == pytest.approx((59 / 2 + 57 + 56 / 2) / 2 / 60)
    assert "robust/l2" not in curves


def test_an_attack_that_minimises_counts_at_the_sizes_of_its_perturbations():
    size = np.tile(np.linspace(0.05, 0.64, 60), (2, 1)) * np.array([[1.0], [1.5]])
    fresh = np.stack([LABELS, (LABELS + 1) % 4])  # all are correct at the smallest perturbation, none at the larger one
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
def test_one_more_attack_can_only_lower_the_worst_case(attacks):
    """Attacks on any images, which misclassify any of them at two epsilons of any order."""
    stored, before = [], np.ones(3)
    index = list(range(0, 60, 3))
    for number, (images, seed) in enumerate(attacks):
        predictions = [predicted(2 * seed), predicted(2 * seed + 1)]
        stored.append(attack(f"a{number}", predictions, [0.1, 0.3 if seed % 2 else 0.2], sorted(images)))
        arrays = cell(*stored, index=index)
        (shared,) = stored_worst_cases(arrays)
        curve = worst_case(shared, stored_attacks(arrays).values())
        assert (np.array(curve["accuracy"]) <= before).all()
        assert curve["accuracy"] == sorted(curve["accuracy"], reverse=True)
        before = np.array(curve["accuracy"])


@pytest.mark.parametrize(
    ("clean", "epsilons", "accuracy", "lost"),
    [
        (0.9, [0.0, 0.1, 0.2], [0.9, 0.6, 0.3], 0.45),
        (0.9, [0.1, 0.2], [0.6, 0.3], 0.45),  # epsilon 0 is left out
        (1.0, [0.0, 0.1], [0.9, 0.0], 1.0),
        (0.0, [0.1], [1.0], -1.0),
        (0.5, [0.1, 0.2, 0.4], [0.5, 0.5, 0.5], 0.0),
    ],
)
def test_degradation_by_hand(clean, epsilons, accuracy, lost):
    assert degradation(clean, epsilons, accuracy) == pytest.approx(lost)


def test_degradation_starts_from_the_stored_test_predictions_of_the_same_images():
    """Of 30 images, 2 are misclassified in the test set, of which the other 30 do not matter, and 5 and 8 under attack."""
    index = np.arange(0, 60, 2)
    arrays = cell(
        attack("a", [wrong_on(0, 2, 4), wrong_on(*range(0, 10, 2)), wrong_on(*range(0, 16, 2))], [0, 0.1, 0.2], index),
        index=index,
    )
    arrays |= {f"test/{key}": value for key, value in wrong_on(0, 2, *range(1, 60, 2)).items()}
    scores, curves = robustness(arrays)
    assert curves["attack/a"]["accuracy"][0] == 27 / 30  # not the clean accuracy: fresh samples, at epsilon 0
    assert scores["attack/a/degradation"] == pytest.approx((3 / 30 + 6 / 30) / 2)
    assert scores["robust/linf/degradation"] == pytest.approx((3 / 30 + 6 / 30) / 2)


def test_an_attack_at_epsilon_0_only_has_no_degradation():
    scores, _ = robustness(cell(attack("a", [wrong_on()], [0.0])))
    assert "attack/a/degradation" not in scores
    assert scores["attack/a/robust_accuracy_auc"] == 1


@pytest.mark.parametrize(
    ("epsilons", "name", "accuracy"),
    [
        ([0.05], "accuracy@0.05", 59 / 60),
        ([0.05, 0.1], "accuracy@0.05", 59 / 60),
        ([0.05, 0.1, 0.2], "accuracy@0.1", 58 / 60),
        ([0.05, 0.1, 0.2, 0.75], "accuracy@0.1", 58 / 60),
        ([0.05, 1.0, 2.0], "accuracy@1", 58 / 60),
    ],
)
def test_accuracy_of_the_worst_case_at_the_middle_epsilon(epsilons, name, accuracy):
    """One more image is misclassified at each epsilon."""
    predictions = [wrong_on(*range(k + 1)) for k in range(len(epsilons))]
    scores, _ = robustness(cell(attack("a", predictions, epsilons), epsilons=epsilons))
    assert scores[f"robust/linf/{name}"] == accuracy
    assert sum("accuracy@" in score for score in scores) == 1


def test_every_score_has_a_direction():
    stretch = {"stretch/size": np.full((1, 60), 0.3), "stretch/fresh": (LABELS[None] + 1) % 4}
    scores, _ = robustness(cell(attack("a", [wrong_on()], [0.1], norm="l2", **stretch), norm="l2"))
    assert directions(scores) == {
        "robust_accuracy_auc": "higher",
        "degradation": "lower",
        "median_distance": "higher",
        "accuracy@0.1": "higher",
    }


def test_a_norm_in_which_nothing_was_attacked_has_no_worst_case():
    scores, curves = robustness(cell(attack("a", [wrong_on()], [0.1], norm="l2"), norm="linf"))
    assert "robust/linf" not in curves
    assert not any(name.startswith("robust/") for name in scores)
