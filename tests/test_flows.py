"""Log-determinants against the Jacobian from autograd, inverses, and the densities that flows define."""

import math

import pytest
import torch
from torch.autograd.functional import jacobian
from torch.distributions import Normal

from bbh_bench.acceleration import acceleration
from bbh_bench.inference.flows import Planar, RealNvp, flow
from bbh_bench.running.stages import seed_everything


def perturbed(module):
    """The module in double precision, with parameters far from the initial ones, which are near the identity."""
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.5 * torch.randn_like(weight))
    return module.double()


@pytest.mark.parametrize("dim", [2, 3, 7])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_realnvp_log_determinant_equals_autograds_jacobian(dim, steps):
    seed_everything(0)
    network = perturbed(RealNvp(dim, hidden=5, steps=steps))
    z = torch.randn(6, dim, dtype=torch.float64)
    masks = network.masks(z)
    _, log_det = network(z, masks)
    for k in range(len(z)):
        matrix = jacobian(lambda one, k=k: network(one, masks[:, k])[0], z[k])
        sign, expected = torch.linalg.slogdet(matrix)
        assert sign == 1
        assert log_det[k].item() == pytest.approx(expected.item(), abs=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_planar_log_determinant_equals_autograds_derivative_and_the_map_increases(steps):
    seed_everything(0)
    network = perturbed(Planar(steps))
    with torch.no_grad():
        network.slope -= 3  # w u near -1, the limit of invertibility
    z = torch.linspace(-5, 5, 41, dtype=torch.float64).unsqueeze(-1)
    image, log_det = network(z)
    derivative = jacobian(lambda z: network(z)[0], z).reshape(41, 41).diagonal()
    assert torch.allclose(log_det, derivative.log(), atol=1e-10)
    assert (image.diff(dim=0) > 0).all()


def test_realnvp_inverse_inverts_forward():
    seed_everything(0)
    network = perturbed(RealNvp(6, hidden=8, steps=3))
    z = torch.randn(4, 5, 6, dtype=torch.float64)
    masks = network.masks(z)
    image, _ = network(z, masks)
    assert (image - z).abs().max() > 0.5
    assert torch.allclose(network.inverse(image, masks), z, atol=1e-9)


def test_leading_dimensions_are_a_batch_with_separate_masks():
    seed_everything(0)
    network = RealNvp(6, hidden=8, steps=2)
    z = torch.randn(4, 5, 6)
    masks = network.masks(z)
    image, log_det = network(z, masks)
    assert image.shape == z.shape
    assert log_det.shape == (4, 5)
    one, one_log_det = network(z[2, 3], masks[:, 2, 3])
    assert torch.allclose(image[2, 3], one, atol=1e-6)
    assert torch.allclose(log_det[2, 3], one_log_det, atol=1e-6)


def test_masks_are_fair_and_new_at_every_call_and_for_every_example():
    seed_everything(0)
    network, z = RealNvp(50, hidden=3, steps=2), torch.zeros(100, 50)
    masks = network.masks(z)
    assert masks.shape == (2, 100, 50)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert abs(masks.mean().item() - 0.5) < 4 * 0.5 / masks.numel() ** 0.5
    assert len(masks[0].unique(dim=0)) == 100
    first, second = network(z)[0], network(z)[0]
    assert not first.equal(second)


def test_masked_dimensions_do_not_change_and_the_others_depend_only_on_them():
    seed_everything(0)
    network = perturbed(RealNvp(4, hidden=5, steps=1))
    masks = torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    z = torch.randn(4, dtype=torch.float64)
    image, _ = network(z, masks)
    assert image[:2].equal(z[:2])
    matrix = jacobian(lambda z: network(z, masks)[0], z)
    assert matrix[2, 3] == matrix[3, 2] == 0
    assert (matrix[2:, :2] != 0).all()


def test_the_gates_start_near_one():
    seed_everything(0)
    network = RealNvp(50, hidden=50, steps=1)
    _, log_det = network(torch.zeros(200, 50), torch.zeros(1, 200, 50))
    assert torch.allclose(log_det.mean() / 50, torch.tensor(-math.log1p(math.exp(-2))), atol=0.05)


def test_fast_gates_equal_the_plain_formula_in_values_and_gradients():
    """Oracle: automatic differentiation of the plain formula; some gates are almost open, some closed."""
    seed_everything(0)
    network = perturbed(RealNvp(40, hidden=5, steps=3))
    with torch.no_grad():
        for step in network.steps:
            step.heads.bias[40:] += torch.linspace(-120, 40, 40)
    z = torch.randn(9, 40, dtype=torch.float64, requires_grad=True)
    masks, inputs = network.masks(z), [z, *network.parameters()]
    weights, results = torch.randn(9, 40, dtype=torch.float64), []
    for on in (True, False):
        with acceleration(on):
            image, log_det = network(z, masks)
        results.append([image, log_det, *torch.autograd.grad((weights * image).sum() + (log_det**2).sum(), inputs)])
    for fast, plain in zip(*results, strict=True):
        assert torch.allclose(fast, plain, rtol=1e-9, atol=1e-9)


def test_closed_gates_have_finite_log_determinants_and_gradients():
    network = RealNvp(3, hidden=2, steps=1)
    torch.nn.init.constant_(network.steps[0].heads.bias[3:], -300.0)  # sigmoid is 0 in single precision
    z = torch.randn(3, requires_grad=True)
    _, log_det = network(z, torch.zeros(1, 3))
    log_det.backward()
    assert log_det.item() == pytest.approx(-900, rel=0.05)
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_the_density_of_a_transformed_gaussian_integrates_to_one():
    """Oracle: the change of variables for a planar flow, integrated on a grid."""
    seed_everything(0)
    network = perturbed(Planar(3))
    z = torch.linspace(-9, 9, 20_001, dtype=torch.float64).unsqueeze(-1)
    image, log_det = network(z)
    density = (Normal(0, 1).log_prob(z.squeeze(-1)) - log_det).exp()
    assert torch.trapezoid(density, image.squeeze(-1)).item() == pytest.approx(1, abs=1e-4)


def test_every_parameter_gets_a_gradient():
    seed_everything(0)
    for network in (flow(4, hidden=5, steps=2), flow(1, hidden=5, steps=2)):
        z = torch.randn(30, 4 if isinstance(network, RealNvp) else 1)
        image, log_det = network(z)
        (image.square().sum() + log_det.sum()).backward()
        assert all(weight.grad.abs().sum() > 0 for weight in network.parameters())


def test_scalars_get_the_planar_flow():
    assert isinstance(flow(1, 5, 2), Planar)
    assert isinstance(flow(2, 5, 2), RealNvp)
