"""OOD detection by mutual information, expected entropy and a method's own score, and records that have not all of them."""

import shutil
import warnings
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from bbh_bench.errors import NotApplicable
from bbh_bench.evaluation import ood_metrics
from bbh_bench.evaluation.classification import score
from bbh_bench.evaluation.metrics import bbh_metrics
from bbh_bench.evaluation.predictive import predict
from bbh_bench.evaluation.stored import read_ood, read_test
from bbh_bench.publishing.rescore import rescore
from bbh_bench.publishing.verify import verify_records
from bbh_bench.records.store import Store

PUBLISHED = Path(__file__).parents[1] / "leaderboard"
NEW = {"auroc_mutual_information", "auroc_expected_entropy", "auroc_ood_score"}
changed = msgspec.structs.replace


def stored(networks, scores):
    """Arrays of 120 test and 80 OOD images in four classes, and the logits that they are of, by set."""
    generator = torch.Generator().manual_seed(0)
    arrays, logits = {"test/labels": np.arange(120, dtype=np.uint8) % 4}, {}
    for prefix, n, scale in (("test", 120, 2.0), ("outlier/o", 80, 1.0)):
        outputs = logits[prefix] = scale * torch.randn(networks, n, 4, generator=generator, dtype=torch.double)
        predicted = predict(
            lambda x, outputs=outputs: outputs[:, x.long()], torch.arange(float(n)), torch.device("cpu"), 4
        )
        arrays |= {f"{prefix}/{key}": value for key, value in predicted.items()}
        if scores:
            arrays[f"{prefix}/ood_score"] = torch.randn(n, generator=torch.Generator().manual_seed(n)).numpy() - scale
    return arrays, logits


def names(scores):
    return {name.rpartition("/")[2] for name in scores}


def test_values_are_those_of_scikit_learn_on_the_logits():
    """The oracle computes each score from the logits. Stored values are rounded to half precision, which moves few pairs."""
    arrays, logits = stored(6, scores=True)
    truth = np.r_[np.zeros(120), np.ones(80)]
    scores, _ = score(arrays, bbh_metrics())
    probs = {name: each.softmax(-1).numpy() for name, each in logits.items()}
    expected = [-(p * np.log(p)).sum(-1).mean(0) for p in probs.values()]
    total = [-(p.mean(0) * np.log(p.mean(0))).sum(-1) for p in probs.values()]
    information = [t - e for t, e in zip(total, expected, strict=True)]
    oracle = roc_auc_score(truth, np.concatenate(expected))
    assert scores["ood/o/auroc_expected_entropy"] == pytest.approx(oracle, abs=2e-3)
    oracle = roc_auc_score(truth, np.concatenate(information))
    assert scores["ood/o/auroc_mutual_information"] == pytest.approx(oracle, abs=2e-3)
    oracle = roc_auc_score(truth, np.r_[arrays["test/ood_score"], arrays["outlier/o/ood_score"]])
    assert scores["ood/o/auroc_ood_score"] == oracle
    assert abs(scores["ood/o/auroc_mutual_information"] - scores["ood/o/auroc_expected_entropy"]) > 0.01


def test_a_single_network_has_no_detection_by_mutual_information_and_no_warning():
    arrays, _ = stored(1, scores=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores, _ = score(arrays, bbh_metrics())
    assert names(scores) & NEW == {"auroc_expected_entropy"}
    assert scores["ood/o/auroc_expected_entropy"] == scores["ood/o/auroc"]
    test, ood = read_test(arrays), read_ood(arrays)["o"]
    with pytest.raises(NotApplicable, match="zero for all"):
        ood_metrics.auroc_mutual_information(test, ood)
    with pytest.raises(NotApplicable, match="no OOD score"):
        ood_metrics.auroc_ood_score(test, ood)


def test_other_scores_are_the_same_with_an_ood_score():
    with_scores, without = (score(stored(6, scores=each)[0], bbh_metrics()) for each in (True, False))
    assert names(with_scores[0]) - names(without[0]) == {"auroc_ood_score"}
    assert {name: with_scores[0][name] for name in without[0]} == without[0]
    assert with_scores[1] == without[1]


def of_before(record):
    """A record as it was before these metrics."""
    return changed(
        record,
        scores={name: value for name, value in record.scores.items() if name.rpartition("/")[2] not in NEW},
        directions={name: value for name, value in record.directions.items() if name not in NEW},
    )


@pytest.mark.parametrize(("method", "added"), [("map", 1), ("dropout", 2)])
def test_rescore_adds_them_to_records_of_before(builtin, tmp_path, method, added):
    """One or two scores for the OOD set; all other scores keep their bits, and the arrays theirs."""
    folder = tmp_path / f"digits5/v3/{method}"
    folder.mkdir(parents=True)
    for file in (PUBLISHED / f"digits5/v3/{method}").glob("seed0*"):
        shutil.copy(file, folder)
    store = Store(tmp_path)
    (published,) = store.records()
    before = of_before(published)
    (store.root / published.path).write_text(before.to_json())
    assert rescore(store, builtin) == [published.path]
    (after,) = store.records()
    assert len(after.scores) == len(before.scores) + added
    assert {name: after.scores[name] for name in before.scores} == before.scores
    assert list(after.scores)[: len(before.scores)] == list(before.scores)
    assert after.directions.keys() == before.directions.keys() | NEW
    assert after.predictions == published.predictions
    assert rescore(store, builtin) == []
    assert set(verify_records(store.records(), store, builtin).values()) == {""}


def test_a_score_without_its_input_is_refused(builtin, tmp_path):
    """Not in the arrays: ``verify`` does not take an absent score for one that cannot be checked."""
    folder = tmp_path / "digits5/v3/map"
    folder.mkdir(parents=True)
    for file in (PUBLISHED / "digits5/v3/map").glob("seed0*"):
        shutil.copy(file, folder)
    store = Store(tmp_path)
    rescore(store, builtin)
    (record,) = store.records()
    claimed = changed(record, scores=record.scores | {"ood/digits5-9/auroc_ood_score": 0.99})
    (store.root / record.path).write_text(claimed.to_json())
    (complaint,) = verify_records(store.records(), store, builtin).values()
    assert complaint == "not what the stored predictions give: ood/digits5-9/auroc_ood_score"
