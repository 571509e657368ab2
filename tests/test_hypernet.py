"""The paper's parameter counts, partitions that cover every weight once, and one-hot inputs computed explicitly."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bbh_bench.acceleration import acceleration
from bbh_bench.inference.hypernet import Generator, Hypernet, Part, layer_wise, single, sliced
from bbh_bench.inference.low_rank_adam import LowRankLinear
from bbh_bench.inference.weights import sampled_shapes
from bbh_bench.tasks.networks import lenet, small_lenet

UNITS = (64, 256, 512)
PARTITIONS = {"layer-wise": layer_wise, "sliced": sliced, "single": lambda shapes: single(shapes, 130)}


@pytest.mark.parametrize(
    ("partition", "count"), [("layer-wise", 222_331_368), ("sliced", 2_457_957), ("single", 1_857_780)]
)
def test_parameter_counts_for_lenet_with_one_noise_dimension(partition, count):
    with torch.device("meta"):
        shapes = sampled_shapes(lenet(), "test")
        generator = Generator(shapes, PARTITIONS[partition](shapes), 1, UNITS, shared=True)
    assert sum(p.numel() for p in generator.parameters()) == count


@pytest.mark.parametrize("partition", PARTITIONS)
@pytest.mark.parametrize("shared", [True, False])
def test_every_weight_is_generated_by_one_output(partition, shared):
    torch.manual_seed(0)
    shapes = sampled_shapes(small_lenet(5), "test")
    generator = Generator(shapes, PARTITIONS[partition](shapes), 3, (8, 16), shared)
    samples = generator.sample(4)
    assert {name: weights.shape[1:] for name, weights in samples.items()} == shapes
    for net in generator.nets:  # let the head output its indices: each occurs once in every slice
        net.head.weight.data.zero_()
        net.head.bias.data.copy_(torch.arange(len(net.head.bias)))
    for part in generator.parts:
        flat = torch.cat([generator.sample(1)[name].flatten() for name in part.names])
        expected = torch.arange(part.size).repeat(part.slices)[: len(flat)].float()
        assert flat.equal(expected)


def test_slices_are_slices_of_the_output_dimension():
    shapes = sampled_shapes(lenet(), "test")
    parts = {part.names[0]: part for part in sliced(shapes)}
    assert (parts["1.weight"].slices, parts["1.weight"].size) == (20, 25)
    assert (parts["10.weight"].slices, parts["10.weight"].size) == (500, 800)
    assert (parts["1.bias"].slices, parts["1.bias"].size) == (1, 20)


def test_the_first_layer_sees_noise_and_a_one_hot_slice():
    """Oracle: the explicit input, through layers whose inputs are divided by the root of the number of terms in their sums."""
    torch.manual_seed(0)
    net, z = Hypernet(Part(("w",), 5, 7), 3, (6, 4), spread=0.5), torch.randn(2, 3)
    inputs = torch.cat([0.5 / 3**0.5 * z.repeat_interleave(5, 0), torch.eye(5).repeat(2, 1)], 1)
    first, second = net.hidden
    h = F.leaky_relu(first(inputs), 0.1)
    h = F.leaky_relu(second(h * (2 / 6) ** 0.5), 0.1)
    assert torch.allclose(net(z), net.head(h / 2).view(2, 35), atol=1e-6)


@pytest.mark.parametrize("part", [Part(("w",), 5, 7), Part(("w",), 1, 2**20 // 8)], ids=["plain head", "low-rank head"])
def test_a_scale_multiplies_what_a_hypernet_generates_and_all_gradients(part):
    torch.manual_seed(0)
    net, z = Hypernet(part, 3, (6, 8)), torch.randn(2, 3)
    nn.init.normal_(net.head.bias)
    outputs, gradients, factors = [], [], []
    for output in (net(z, -0.3), -0.3 * net(z)):
        outputs.append(output)
        weights = [weight for weight in net.parameters() if weight.requires_grad]
        gradients.append(torch.autograd.grad(output.sin().sum(), weights))
        if isinstance(net.head, LowRankLinear):
            ((left, right),) = net.head.factors
            net.head.factors.clear()
            factors.append(left.T[:100] @ right)
    assert isinstance(net.head, LowRankLinear) == (len(factors) == 2)
    assert torch.allclose(*outputs, rtol=1e-4, atol=1e-5)
    for ours, expected in [*zip(*gradients, strict=True), *([factors] if factors else [])]:
        assert torch.allclose(ours, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


@pytest.mark.parametrize("partition", PARTITIONS)
def test_weights_start_with_the_given_root_mean_squares(partition):
    """The scales are estimated from 16 samples, hence the tolerance."""
    torch.manual_seed(0)
    shapes = sampled_shapes(small_lenet(5), "test")
    initial_rms = {name: 0.01 * (k + 1) for k, name in enumerate(shapes)}
    generator = Generator(shapes, PARTITIONS[partition](shapes), 8, UNITS, shared=True, initial_rms=initial_rms)
    with torch.no_grad():
        samples = generator.sample(400)
    for name, rms in initial_rms.items():
        assert samples[name].square().mean().sqrt().item() == pytest.approx(rms, rel=0.3), name


@pytest.mark.parametrize("partition", PARTITIONS)
def test_spread_determines_how_much_depends_on_noise_at_the_start(partition):
    shapes = sampled_shapes(small_lenet(5), "test")
    shares = []
    for spread in (0.0, 0.1, 1.0):
        torch.manual_seed(0)
        generator = Generator(shapes, PARTITIONS[partition](shapes), 8, UNITS, shared=True, spread=spread)
        with torch.no_grad():
            weights = generator.sample(100)["1.weight"].flatten(1)
        shares.append((weights.var(0).mean() / weights.square().mean()).item())
    assert shares[0] < 1e-6
    assert shares[0] < shares[1] < 0.1 < shares[2]


def test_shared_noise_correlates_the_tensors_of_a_sample_and_separate_noise_does_not():
    shapes = {"a": torch.Size([1]), "b": torch.Size([1])}
    correlations = {}
    for shared in (True, False):
        torch.manual_seed(0)
        generator = Generator(shapes, layer_wise(shapes), 1, (8,), shared)
        with torch.no_grad():
            for net in generator.nets[1:]:
                net.load_state_dict(generator.nets[0].state_dict())
            samples = generator.sample(500)
        correlations[shared] = torch.corrcoef(torch.stack([samples["a"][:, 0], samples["b"][:, 0]]))[0, 1].item()
    assert correlations[True] == pytest.approx(1)
    assert abs(correlations[False]) < 0.15  # 500 samples: standard error 0.045


def test_large_heads_are_low_rank_if_they_have_one_slice():
    with torch.device("meta"):
        assert isinstance(Hypernet(Part(("w",), 1, 400_000), 1, UNITS).head, LowRankLinear)
        assert not isinstance(Hypernet(Part(("w",), 1, 500), 1, UNITS).head, LowRankLinear)
        assert not isinstance(Hypernet(Part(("w",), 130, 3316), 1, UNITS).head, LowRankLinear)
        with acceleration(False):
            assert not isinstance(Hypernet(Part(("w",), 1, 400_000), 1, UNITS).head, LowRankLinear)
