"""Ensembles inside one network: the contract, members as separate networks, and networks that are refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bbh_bench_torch_uncertainty import BatchEnsemble, Mimo, PackedEnsemble, import_layers
from torch import nn

from bbh_bench.errors import ContractError
from bbh_bench.plugins import load_plugins
from bbh_bench.tasks import digits5, toy
from bbh_bench.tasks.resnet import RESNET_32
from bbh_bench.testing import check_method, small_problem

METHODS = [PackedEnsemble(), BatchEnsemble(), Mimo()]
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


def quick(task, **changes):
    """Its problem, with a budget of one epoch."""
    return replace(task.load(Path()).problem(torch.device("cpu")), epochs=1, **changes)


@each_method
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_it_satisfies_the_contract(method, kind):
    check_method(method, kind)


@each_method
def test_the_suite_finds_it_through_its_entry_point(method):
    assert load_plugins().methods.registered(method.name).package == "bbh-bench-torch-uncertainty"


def test_the_import_leaves_torch_as_it_was():
    before = torch.compile
    import_layers()
    assert torch.compile is before


@each_method
@pytest.mark.parametrize("task", [digits5.TASK, toy.TASK], ids=lambda task: task.name)
def test_samples_are_members_and_few_samples_are_some_of_them(method, task):
    torch.manual_seed(0)
    problem = quick(task)
    posterior = method.fit(problem)
    x = problem.x[:5]
    everyone = posterior.sample(100)(x)
    assert everyone.shape == (method.members, 5, 1 if task is toy.TASK else 5)
    two = posterior.sample(2)(x)
    assert len(two) == 2
    for outputs in two:
        assert any(torch.equal(outputs, member) for member in everyone)
    assert len({tuple(outputs.flatten().tolist()) for outputs in everyone}) == method.members


def test_members_of_a_packed_ensemble_are_separate_networks():
    """The gradient of one member's output with respect to the weights of another one is zero."""
    torch.manual_seed(0)
    method = PackedEnsemble()
    problem = quick(digits5.TASK)
    posterior = method.fit(problem)
    weights = [weight.requires_grad_() for weight in posterior.network.parameters()]
    member = posterior.sample(100)(problem.x[:3])[1].sum()
    for weight, gradient in zip(weights, torch.autograd.grad(member, weights), strict=True):
        groups = gradient.reshape(method.members, -1)  # members are contiguous in the outputs of each layer
        assert groups[1].abs().sum() > 0, weight.shape
        assert groups[[0, 2, 3]].abs().sum() == 0, weight.shape


def test_members_of_a_batch_ensemble_have_kernels_that_differ_by_a_factor_of_rank_one():
    """Of a linear network, whose kernel is the Jacobian: ``W_m = W o (s_m r_m^T)``, so that W_1 / W_2 has rank one."""
    torch.manual_seed(0)
    problem = replace(small_problem(epochs=2), network=lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))
    problem = replace(problem, x=torch.randn(len(problem.x), 12))
    sampled = BatchEnsemble(members=2).fit(problem).sample(2)
    first, second = torch.autograd.functional.jacobian(lambda x: sampled(x[None])[:, 0], torch.zeros(12)).double()
    assert torch.linalg.svdvals(first / second)[1:].max() < 1e-4 * torch.linalg.svdvals(first / second)[0]


def test_members_of_mimo_see_the_same_input_in_prediction_and_differ_in_training():
    torch.manual_seed(0)
    inputs = []
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    network[0].register_forward_hook(
        lambda module, arguments, output: inputs.append(output.detach().unflatten(1, (3, -1)))
    )
    problem = quick(digits5.TASK, network=lambda: network)
    posterior = Mimo().fit(problem)
    assert not torch.equal(inputs[0][:, 0], inputs[0][:, 1])
    assert torch.equal(
        inputs[0][:, 0].sort(0).values, inputs[0][:, 1].sort(0).values
    )  # the same batch in another order
    posterior.sample(3)(problem.x[:4])
    assert torch.equal(inputs[-1], problem.x[:4].flatten(1)[:, None].expand(-1, 3, -1))


@each_method
@pytest.mark.parametrize(
    ("network", "complaint"),
    [
        (RESNET_32.build, "Standardise"),
        (lambda: nn.Linear(64, 5), "only an nn.Sequential"),
        (lambda: nn.Sequential(nn.Flatten()), "no nn.Linear"),
        (lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 5)), "BatchNorm1d"),
        (lambda: nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(64, 5)), "Conv2d"),
    ],
)
def test_other_networks_are_refused_by_name(method, network, complaint):
    with pytest.raises(ContractError, match=rf"{method.name}: .*{complaint}"):
        method.fit(quick(digits5.TASK, network=network))


def test_widths_that_cannot_be_divided_are_named():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.ReLU(), nn.Linear(7, 5))
    with pytest.raises(ContractError, match=r"packed-ensemble: the layer Linear.* not divisible"):
        PackedEnsemble(alpha=1).fit(quick(digits5.TASK, network=lambda: network))


@each_method
def test_the_prior_of_the_task_takes_the_place_of_its_own(method):
    """A narrow prior shrinks the outputs."""
    sizes = []
    for scale in (None, 0.01):
        torch.manual_seed(0)
        problem = replace(quick(digits5.TASK, prior_scale=scale), epochs=5)
        sizes.append(method.fit(problem).sample(10)(problem.x[:50]).std().item())
    assert sizes[1] < sizes[0] / 3
