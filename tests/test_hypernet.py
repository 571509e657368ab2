"""Counts of the paper's section, partitions that lose and share nothing, and one-hot inputs written out."""

import pytest
import torch
import torch.nn.functional as F

from bbh_bench.inference.hypernet import Generator, Hypernet, Part, layer_wise, single, sliced
from bbh_bench.inference.low_rank_adam import WideLinear
from bbh_bench.inference.weights import drawn_shapes
from bbh_bench.tasks.networks import lenet, small_lenet

UNITS = (64, 256, 512)
PARTITIONS = {"layer-wise": layer_wise, "sliced": sliced, "single": lambda shapes: single(shapes, 130)}


@pytest.mark.parametrize(
    ("partition", "count"), [("layer-wise", 222_331_368), ("sliced", 2_457_957), ("single", 1_857_780)]
)
def test_parameter_counts_for_lenet_with_one_noise_dimension(partition, count):
    with torch.device("meta"):
        shapes = drawn_shapes(lenet(), "test")
        generator = Generator(shapes, PARTITIONS[partition](shapes), 1, UNITS, shared=True)
    assert sum(p.numel() for p in generator.parameters()) == count


@pytest.mark.parametrize("partition", PARTITIONS)
@pytest.mark.parametrize("shared", [True, False])
def test_every_weight_is_generated_by_outputs_of_its_own(partition, shared):
    torch.manual_seed(0)
    shapes = drawn_shapes(small_lenet(5), "test")
    generator = Generator(shapes, PARTITIONS[partition](shapes), 3, (8, 16), shared)
    draws = generator.draw(4)
    assert {name: weights.shape[1:] for name, weights in draws.items()} == shapes
    for net in generator.nets:  # number the head's outputs, and see each number once in every slice's place
        net.head.weight.data.zero_()
        net.head.bias.data.copy_(torch.arange(len(net.head.bias)))
    for part in generator.parts:
        flat = torch.cat([generator.draw(1)[name].flatten() for name in part.names])
        expected = torch.arange(part.size).repeat(part.slices)[: len(flat)].float()
        assert flat.equal(expected)


def test_slices_are_slices_of_the_output_dimension():
    shapes = drawn_shapes(lenet(), "test")
    parts = {part.names[0]: part for part in sliced(shapes)}
    assert (parts["1.weight"].slices, parts["1.weight"].size) == (20, 25)
    assert (parts["10.weight"].slices, parts["10.weight"].size) == (500, 800)
    assert (parts["1.bias"].slices, parts["1.bias"].size) == (1, 20)


def test_the_first_layer_sees_noise_and_a_one_hot_slice():
    """Oracle: the input written out, through layers whose inputs are divided by the root of the terms in their sums."""
    torch.manual_seed(0)
    net, z = Hypernet(Part(("w",), 5, 7), 3, (6, 4), spread=0.5), torch.randn(2, 3)
    inputs = torch.cat([0.5 / 3**0.5 * z.repeat_interleave(5, 0), torch.eye(5).repeat(2, 1)], 1)
    first, second = net.hidden
    h = F.leaky_relu(first(inputs), 0.1)
    h = F.leaky_relu(second(h * (2 / 6) ** 0.5), 0.1)
    assert torch.allclose(net(z), net.head(h / 2).view(2, 35), atol=1e-6)


@pytest.mark.parametrize("partition", PARTITIONS)
def test_weights_start_at_the_sizes_asked_for(partition):
    """The factors come from 16 draws, hence the tolerance."""
    torch.manual_seed(0)
    shapes = drawn_shapes(small_lenet(5), "test")
    sizes = {name: 0.01 * (k + 1) for k, name in enumerate(shapes)}
    generator = Generator(shapes, PARTITIONS[partition](shapes), 8, UNITS, shared=True, sizes=sizes)
    with torch.no_grad():
        draws = generator.draw(400)
    for name, size in sizes.items():
        assert draws[name].square().mean().sqrt().item() == pytest.approx(size, rel=0.3), name


@pytest.mark.parametrize("partition", PARTITIONS)
def test_spread_is_how_much_depends_on_noise_at_the_start(partition):
    shapes = drawn_shapes(small_lenet(5), "test")
    shares = []
    for spread in (0.0, 0.1, 1.0):
        torch.manual_seed(0)
        generator = Generator(shapes, PARTITIONS[partition](shapes), 8, UNITS, shared=True, spread=spread)
        with torch.no_grad():
            weights = generator.draw(100)["1.weight"].flatten(1)
        shares.append((weights.var(0).mean() / weights.square().mean()).item())
    assert shares[0] < 1e-6
    assert shares[0] < shares[1] < 0.1 < shares[2]


def test_shared_noise_ties_the_tensors_of_a_draw_and_independent_noise_does_not():
    shapes = {"a": torch.Size([1]), "b": torch.Size([1])}
    correlations = {}
    for shared in (True, False):
        torch.manual_seed(0)
        generator = Generator(shapes, layer_wise(shapes), 1, (8,), shared)
        with torch.no_grad():
            for net in generator.nets[1:]:
                net.load_state_dict(generator.nets[0].state_dict())
            draws = generator.draw(500)
        correlations[shared] = torch.corrcoef(torch.stack([draws["a"][:, 0], draws["b"][:, 0]]))[0, 1].item()
    assert correlations[True] == pytest.approx(1)
    assert abs(correlations[False]) < 0.15  # 500 draws: standard error 0.045


def test_wide_heads_are_those_that_pay():
    with torch.device("meta"):
        assert isinstance(Hypernet(Part(("w",), 1, 400_000), 1, UNITS).head, WideLinear)
        assert not isinstance(Hypernet(Part(("w",), 1, 500), 1, UNITS).head, WideLinear)
        assert not isinstance(Hypernet(Part(("w",), 130, 3316), 1, UNITS).head, WideLinear)
