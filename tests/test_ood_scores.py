"""A method's own OOD scores: stored in a stage of their own, which changes nothing else, and recognised by ``faults``."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import QUICK, TINY, NoProgress, context, planned

from bbh_bench.api import Posterior
from bbh_bench.errors import ContractError
from bbh_bench.evaluation.ood_scores import scored
from bbh_bench.evaluation.stored import read_ood, read_test
from bbh_bench.publishing.plausible import prediction_digest
from bbh_bench.running.runner import run_cell

SCORES = ("test/ood_score", "outlier/digits5-9/ood_score")


class BrightnessPosterior(Posterior):
    """The networks of another posterior. The OOD score is the mean brightness; it draws a random number that it ignores."""

    def __init__(self, base):
        self.base = base
        self.parameters = base.parameters

    def sample(self, n):
        return self.base.sample(n)

    def ood_score(self, x):
        torch.rand(1)
        return x.double().flatten(1).mean(1)


@dataclass(frozen=True)
class Brightness:
    """``QUICK``, with the brightness as OOD score."""

    name: str = "brightness"
    version: int = 1

    def fit(self, problem):
        return BrightnessPosterior(QUICK.fit(problem))


@pytest.fixture(scope="module")
def loaded():
    return TINY.load(Path())


@pytest.fixture(scope="module")
def results(loaded):
    """Cells on the same networks, without and with OOD scores."""
    return [run_cell(context(), planned(TINY, each), lambda: loaded, NoProgress()) for each in (QUICK, Brightness())]


def test_scores_are_stored_by_image_and_change_no_other_array(results, loaded):
    without, with_scores = (result.arrays for result in results)
    assert set(with_scores) == {*without, *SCORES}
    assert all(np.array_equal(with_scores[key], array) for key, array in without.items())
    for key, images in zip(SCORES, (loaded.data.test[0], loaded.data.ood["digits5-9"]), strict=True):
        assert with_scores[key].dtype == np.float32
        np.testing.assert_allclose(with_scores[key], images.numpy().mean(axis=(1, 2, 3)), rtol=1e-6)


def test_their_time_is_that_of_a_stage_of_their_own(results):
    without, with_scores = (result.record.cost for result in results)
    assert "stage/ood_score/seconds" not in without
    assert with_scores["stage/ood_score/seconds"] > 0


def test_predictions_have_the_scores_that_were_stored(results):
    arrays = results[1].arrays
    test = read_test(arrays)
    assert np.array_equal(test.ood_score, arrays["test/ood_score"].astype(float))
    assert np.array_equal(read_test(arrays, np.array([5, 2])).ood_score, test.ood_score[[5, 2]])
    assert np.array_equal(read_ood(arrays)["digits5-9"].ood_score, arrays["outlier/digits5-9/ood_score"].astype(float))
    assert read_test(results[0].arrays).ood_score is None
    assert read_test(results[0].arrays, np.array([5, 2])).ood_score is None


def test_the_arrays_of_both_are_those_of_the_task(results):
    assert [TINY.faults(result.arrays) for result in results] == [[], []]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda arrays: arrays.pop(SCORES[0]), "test/ood_score is missing"),
        (lambda arrays: arrays.pop(SCORES[1]), "outlier/digits5-9/ood_score is missing"),
        (lambda arrays: arrays.update({SCORES[0]: arrays[SCORES[0]][1:]}), r"is float32 \[269\] in place of"),
        (lambda arrays: arrays.update({SCORES[0]: arrays[SCORES[0]].astype(float)}), "is float64"),
        (lambda arrays: arrays.update({SCORES[1]: arrays[SCORES[1]] * np.float32(np.inf)}), "has values outside"),
        (lambda arrays: arrays.update({SCORES[1]: arrays[SCORES[1]] * np.float32(np.nan)}), "has values outside"),
        (lambda arrays: arrays.update({"attack/fgsm/ood_score": arrays[SCORES[0]]}), "nothing that this task stores"),
    ],
)
def test_what_no_cell_of_the_task_stores_is_a_fault(results, change, fault):
    arrays = dict(results[1].arrays)
    change(arrays)
    with pytest.raises(AssertionError, match=fault):
        assert TINY.faults(arrays) == []


def test_cells_that_differ_in_their_scores_only_are_no_copies(results):
    without, with_scores = (result.arrays for result in results)
    assert prediction_digest(without) != prediction_digest(with_scores)
    names = [key for key in with_scores if key not in SCORES]
    assert prediction_digest(without) == prediction_digest({key: with_scores[key] for key in names})


@dataclass(frozen=True)
class Detector:
    """Scores by a function."""

    function: object

    def ood_score(self, x):
        return self.function(x)


def test_parts_are_put_together_in_their_order(cpu):
    """A thousand inputs take several calls; each gets its own images, which it may change."""
    x = torch.rand(1000, 784)
    before, sizes = x.clone(), []
    stored = scored(Detector(lambda part: sizes.append(len(part)) or part.mul_(2).sum(1)), x, cpu)
    assert len(sizes) > 1
    assert sum(sizes) == 1000
    assert x.equal(before)
    np.testing.assert_allclose(stored["ood_score"], 2 * x.numpy().sum(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (lambda x: x, r"the shape \[5, 3\] for 5 inputs"),
        (lambda x: x.mean(), r"the shape \[\] for 5 inputs"),
        (lambda x: x.sum(1).numpy(), "a ndarray for 5 inputs"),
        (lambda x: x[:, 0] / 0, "not finite in float32 for 5 of 5 inputs"),
        (lambda x: torch.tensor([1.0, 1e39, 2, 3, 4], dtype=torch.double), "for 1 of 5 inputs"),
    ],
)
def test_scores_of_another_form_are_refused(cpu, function, complaint):
    with pytest.raises(ContractError, match=complaint):
        scored(Detector(function), torch.rand(5, 3), cpu)
