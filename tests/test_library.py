"""The suite as a library."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from helpers import QUICK, TINY, Failing

import bbh_bench
from bbh_bench.attacks.builtin import NOISE_LINF


@dataclass(frozen=True)
class Blur:
    """One network and isotropic noise on its weights."""

    name: str = "blur"
    version: int = 1
    std: float = 0.01

    def fit(self, problem):
        posterior = replace(QUICK, name="base").fit(problem)
        mean = {name: weight.detach() for name, weight in posterior.network.named_parameters()}

        def sample_weights(n):
            return {name: w + self.std * torch.randn(n, *w.shape) for name, w in mean.items()}

        return bbh_bench.WeightPosterior(posterior.network, sample_weights, posterior.parameters)


def test_methods_and_tasks_are_names_or_objects_and_results_have_their_arrays():
    results = bbh_bench.run(methods=["map", Blur()], tasks=[TINY], seeds=[0, 1])
    cells = [(r.record.task.name, r.record.method.name, r.record.seed) for r in results]
    assert cells == [("tiny", "map", 0), ("tiny", "map", 1), ("tiny", "blur", 0), ("tiny", "blur", 1)]
    for result in results:
        assert result.record.finished
        assert result.record.scores["test/nll"] > 0
        assert result.arrays["test/log_odds"].shape == (270, 5)
    assert results[2].record.method.package.name == "test_library"
    assert results[2].record.method.hyperparameters == {"std": 0.01}


def test_a_folder_of_records_is_filled_and_used_again(tmp_path):
    first = bbh_bench.run(methods=[QUICK], tasks=[TINY], seeds=[0], records=tmp_path)
    both = bbh_bench.run(methods=[QUICK], tasks=[TINY], seeds=[0, 1], records=tmp_path)
    assert both[0].record == first[0].record  # the same start time: it was not run again
    assert all(np.array_equal(both[0].arrays[key], array) for key, array in first[0].arrays.items())
    frame = bbh_bench.load_leaderboard(tmp_path)
    assert set(frame["seed"]) == {0, 1}
    row = frame[(frame["score"] == "test/nll") & (frame["seed"] == 1)]
    assert row["value"].item() == both[1].record.scores["test/nll"]


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (result,) = bbh_bench.run(methods=[QUICK], tasks=[TINY])
    assert result.record.finished
    assert list(tmp_path.iterdir()) == []


def test_attacks_are_names_or_objects_too():
    mine = replace(NOISE_LINF, name="my-noise", epsilons=(0.1,))
    (result,) = bbh_bench.run(methods=[QUICK], tasks=[TINY], attacks=["noise-linf", mine])
    assert {"attack/noise-linf", "attack/my-noise"} <= set(result.record.curves)


def test_a_failure_is_a_result_too():
    (result,) = bbh_bench.run(methods=[Failing()], tasks=[TINY])
    assert result.record.status == "failed"
    assert result.record.error.message == "out of luck"
    assert result.arrays == {}


def test_processes_give_the_same_scores():
    options = bbh_bench.RunOptions(executor="processes", jobs=2)
    here = bbh_bench.run(methods=[QUICK], tasks=[TINY], seeds=[0, 1])
    there = bbh_bench.run(methods=[QUICK], tasks=[TINY], seeds=[0, 1], options=options)
    assert [r.record.scores for r in there] == [r.record.scores for r in here]


def test_mistakes_are_bench_errors():
    with pytest.raises(bbh_bench.BenchError, match="No method named 'mapp'"):
        bbh_bench.run(methods=["mapp"], tasks=[TINY])
