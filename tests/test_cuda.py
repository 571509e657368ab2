"""Every method on a GPU, where there is one: fit, sample, predict, and a gradient for the inputs."""

from dataclasses import replace

import pytest
import torch

from bbh_bench.evaluation.predictive import predict
from bbh_bench.methods.bbb import Bbb
from bbh_bench.methods.bbh import SINGLE, SLICED, Bbh
from bbh_bench.methods.dropout import Dropout
from bbh_bench.methods.ensemble import Ensemble
from bbh_bench.methods.map import Map
from bbh_bench.methods.mnf import Mnf
from bbh_bench.testing import small_network, small_problem

METHODS = [Map(), Ensemble(members=2), Dropout(), Bbb(), Mnf(), Bbh(), SLICED, SINGLE]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.filterwarnings("ignore:method 'bbh")  # one epoch learns nothing
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_method_runs_on_a_gpu(method):
    problem = small_problem(epochs=1)
    x, device = problem.x.cuda(), torch.device("cuda")
    posterior = method.fit(replace(problem, x=x, y=problem.y.cuda(), network=lambda: small_network().to(device)))
    networks, inputs = posterior.sample(9), x[:5].requires_grad_()
    outputs = networks(inputs)
    outputs.square().sum().backward()
    assert outputs.device.type == "cuda"
    assert inputs.grad.abs().sum() > 0
    assert len(predict(networks, problem.x, device, outputs.shape[-1])["log_odds"]) == len(problem.x)
