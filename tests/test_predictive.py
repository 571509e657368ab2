"""Oracles: torch.distributions for entropies, the formula for the mean, NumPy for the encoding's precision."""

import warnings

import numpy as np
import pytest
import torch
from torch.distributions import Categorical

from bbh_bench.errors import BenchWarning, ContractError
from bbh_bench.evaluation.predictive import decode, log_mean_softmax, looks_like_probabilities, predict


def stored(networks, x, device, classes=5):
    return decode({f"test/{k}": v for k, v in predict(networks, x, device, classes).items()}, "test")


@pytest.fixture
def logits():
    return 4 * torch.randn(20, 230, 5, generator=torch.Generator().manual_seed(0))


def test_mean_probabilities_and_entropies(logits, cpu):
    # 230 inputs are three chunks: each input carries its own number, so that chunks in another order would be noticed.
    x = torch.arange(230.0)
    predictions = stored(lambda part: logits[:, part.long()], x, cpu)
    mean = logits.double().softmax(-1).mean(0)
    assert np.allclose(predictions.probs, mean.numpy(), rtol=1e-2, atol=1e-6)  # float16 logarithms
    assert np.allclose(predictions.entropy, Categorical(mean).entropy().numpy(), rtol=2e-3, atol=1e-6)
    expected = Categorical(logits=logits.double()).entropy().mean(0)
    information = (Categorical(mean).entropy() - expected).numpy()
    assert np.allclose(predictions.mutual_information, information, rtol=1e-3, atol=1e-6)
    assert np.allclose(predictions.probs.sum(1), 1, atol=1e-12)


def test_one_network_has_no_mutual_information(logits, cpu):
    assert (stored(lambda x: logits[:1, x.long()], torch.arange(230.0), cpu).mutual_information == 0).all()


def test_confident_mistakes_keep_their_log_likelihood(cpu):
    logits = torch.tensor([[[0.0, -300.0, -1000.0]]])  # exp(-300) is 0 in float32 and in float16
    log_probs = stored(lambda x: logits, torch.zeros(1, 1), cpu, classes=3).log_probs
    assert np.allclose(log_probs, [[0, -300, -1000]], rtol=1e-3)


def test_log_mean_softmax_equals_the_log_of_the_mean(logits):
    assert torch.allclose(log_mean_softmax(logits), logits.softmax(-1).mean(0).log(), atol=1e-5)


def test_log_mean_softmax_where_one_network_is_certain_and_another_is_not():
    logits = torch.tensor([[[0.0, -400.0]], [[0.0, 0.0]]])
    assert torch.allclose(log_mean_softmax(logits), torch.tensor([[0.75, 0.25]]).log())


@pytest.mark.parametrize("shape", [(4, 3), (3, 3, 3), (2, 4, 3, 1), (2, 4, 7), (0, 4, 3)])
def test_outputs_of_another_shape_are_refused(shape, cpu):
    with pytest.raises(ContractError, match=r"must be \[n, 4, 3\]"):
        predict(lambda x: torch.zeros(shape), torch.zeros(4, 2), cpu, classes=3)


def test_outputs_that_are_not_finite_are_refused_and_counted(cpu):
    logits = torch.zeros(2, 4, 3)
    logits[1, 2, 0] = float("nan")
    logits[0, 3, 1] = float("inf")
    with pytest.raises(ContractError, match="2 of 4 inputs"):
        predict(lambda x: logits, torch.zeros(4, 2), cpu, classes=3)


PROBS = torch.rand(3, 230, 5, generator=torch.Generator().manual_seed(1)).add(0.1)
PROBS = PROBS / PROBS.sum(-1, keepdim=True)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (PROBS, True),
        (PROBS.half(), True),
        (torch.tensor([[[0.0, 1.0]]]), True),
        (PROBS.log(), False),
        (PROBS * 1.01, False),
        (torch.cat([PROBS, torch.randn(1, 230, 5)]), False),
        (torch.tensor([[[-0.5, 1.5]]]), False),
        (torch.ones(2, 3, 1), False),  # K = 1
        (torch.zeros(2, 0, 5), False),
        (torch.zeros(2, 3, 5), False),
    ],
    ids=["probs", "half", "one-hot", "log", "sum", "one-network-has-logits", "negative", "one-class", "empty", "zeros"],
)
def test_probabilities_are_recognised(outputs, expected):
    assert looks_like_probabilities(outputs) is expected


def test_a_posterior_that_returns_probabilities_is_warned_once_with_the_remedy(cpu):
    with pytest.warns(BenchWarning, match=r"outputs look like probabilities.*return log\(p\)") as caught:
        predict(lambda x: PROBS[:, x.long()], torch.arange(230.0), cpu, classes=5)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_the_remedy_gives_the_mean_of_the_probabilities(cpu):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictions = stored(lambda x: PROBS[:, x.long()].log(), torch.arange(230.0), cpu)
    assert np.allclose(predictions.probs, PROBS.mean(0).numpy(), rtol=2e-3)
