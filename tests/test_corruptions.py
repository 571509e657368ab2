"""Corrupted test images: each kind against another implementation or its closed form, and the scores by hand."""

import numpy as np
import pytest
import torch
from record_factory import record
from scipy import ndimage
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from bbh_bench.api import task_fingerprint
from bbh_bench.errors import ContractError
from bbh_bench.evaluation.corruption import corruption_scores
from bbh_bench.evaluation.predictive import Predictions
from bbh_bench.evaluation.stored import StoredShift
from bbh_bench.leaderboard import files
from bbh_bench.leaderboard.figures import draw
from bbh_bench.leaderboard.tables import by_task
from bbh_bench.plugins import load_plugins
from bbh_bench.tasks import mnist, mnist_corrupted
from bbh_bench.tasks.corruptions import CORRUPTIONS, FUNCTIONS, Corruption


def digit():
    """A smooth blob off the centre, in [0, 1]."""
    image = np.zeros((28, 28))
    image[8:20, 10:16] = 1.0
    return ndimage.gaussian_filter(image, 1.0)


class Side:
    """A generator that always gives the same number."""

    def __init__(self, number):
        self.number = number

    def random(self):
        return self.number

    def uniform(self, low, high):
        return low + self.number * (high - low)


def by_torchvision(image, **changes):
    """An affine transformation by bilinear interpolation."""
    settings = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]} | changes
    tensor = torch.from_numpy(image).unsqueeze(0)
    return tv.affine(tensor, **settings, interpolation=InterpolationMode.BILINEAR)[0].numpy()


@pytest.mark.parametrize("angle", [10, 50])
def test_a_rotation_is_that_of_torchvision(angle):
    ours = FUNCTIONS["rotation"](digit(), angle, Side(0.2))
    candidates = [by_torchvision(digit(), angle=float(sign * angle)) for sign in (-1, 1)]
    assert min(np.abs(ours - each).max() for each in candidates) < 1e-6
    other_side = FUNCTIONS["rotation"](digit(), angle, Side(0.7))
    assert max(min(np.abs(side - each).max() for side in (ours, other_side)) for each in candidates) < 1e-6


def test_scale_and_shear_are_those_of_torchvision():
    np.testing.assert_allclose(FUNCTIONS["scale"](digit(), 0.7, None), by_torchvision(digit(), scale=0.7), atol=1e-6)
    sheared = [FUNCTIONS["shear"](digit(), 0.3, Side(number)) for number in (0.2, 0.7)]
    degrees = float(np.rad2deg(np.arctan(0.3)))
    for sign in (-1, 1):
        expected = [by_torchvision(digit(), shear=axes) for axes in ([0.0, sign * degrees], [sign * degrees, 0.0])]
        assert min(np.abs(ours - each).max() for ours in sheared for each in expected) < 1e-6


def test_a_translation_moves_all_pixels_by_whole_numbers():
    moved = FUNCTIONS["translation"](digit(), 3, Side(0.25))  # a quarter of a turn
    candidates = [np.roll(digit(), shift, axis=axis) for axis in (0, 1) for shift in (-3, 3)]
    assert min(np.abs(moved - each).max() for each in candidates) < 1e-3  # the blob nearly vanishes at the border


def test_blur_is_the_convolution_of_torchvision():
    """Its kernel is normalised within its size, four standard deviations to each side."""
    expected = tv.gaussian_blur(
        torch.nn.functional.pad(torch.from_numpy(digit())[None, None], [5] * 4), [11, 11], [1.2, 1.2]
    )
    np.testing.assert_allclose(FUNCTIONS["blur"](digit(), 1.2, None), expected[0, 0, 5:-5, 5:-5].numpy(), atol=1e-5)


def test_the_moments_of_the_noises_are_those_of_the_closed_forms():
    """200,000 pixels of 0.6, seed 0; tolerances are five standard errors."""
    image, rng = np.full((400, 500), 0.6), np.random.default_rng(0)
    shot = FUNCTIONS["shot-noise"](image, 0.1, rng)
    assert shot.mean() == pytest.approx(0.6, abs=5 * (0.06 / 200_000) ** 0.5)
    assert shot.var() == pytest.approx(0.06, rel=5 * (2.2 / 200_000) ** 0.5)  # a Poisson number of mean 6
    noisy = FUNCTIONS["impulse-noise"](image, 0.2, rng)
    for value in (0.0, 1.0):
        assert np.mean(noisy == value) == pytest.approx(0.1, abs=5 * (0.09 / 200_000) ** 0.5)
    assert np.mean(noisy == 0.6) == pytest.approx(0.8, abs=5 * (0.16 / 200_000) ** 0.5)


def images():
    x = torch.from_numpy(np.stack([np.roll(digit(), k, axis=1) for k in range(20)])).float().unsqueeze(1)
    return torch.round(255 * x) / 255, torch.arange(20) % 10


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda each: each.name)
def test_a_corruption_begins_with_the_image_grows_and_is_the_same_twice(corruption):
    x, y = images()
    own = Corruption(corruption.name, corruption.kind, corruption.strengths, images=10)
    shifted = own.apply(x, y)
    assert shifted.images.shape == (6, 10, 1, 28, 28)
    assert shifted.images.dtype == torch.float32
    assert shifted.labels.bincount().tolist() == [1] * 10
    chosen = [int((x == each).flatten(1).all(1).nonzero()[0]) for each in shifted.images[0]]
    assert y[chosen].equal(shifted.labels)
    levels = shifted.images * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    distance = (shifted.images - shifted.images[0]).square().mean((1, 2, 3, 4))
    assert (distance.diff() > 0).all()
    assert own.apply(x, y).images.equal(shifted.images)
    few = Corruption(corruption.name, corruption.kind, corruption.strengths, images=10).apply(x.clone(), y)
    assert few.images.equal(shifted.images)


def test_its_fit_is_that_of_mnist_short():
    assert mnist_corrupted.TASK.describe().fit == mnist.SHORT.describe().fit
    assert task_fingerprint(mnist_corrupted.TASK) != task_fingerprint(mnist.SHORT)
    assert mnist_corrupted.TASK.describe().attacks == ()


def stored(correct, axis="severity", values=(0, 1, 2)):
    """Two classes, four images a severity, of which the first ``correct[k]`` are classified correctly, with 80 %."""
    labels = np.zeros(4, np.uint8)
    probs = np.array([[0.8, 0.2] if image < number else [0.2, 0.8] for number in correct for image in range(4)])
    return StoredShift(axis, list(map(float, values)), Predictions(np.log(probs), np.zeros(len(probs))), labels)


def test_scores_are_means_over_corruptions_and_positive_severities():
    metrics = [metric for metric in load_plugins(external=False).metrics.values() if metric.name in ("error", "nll")]
    shifts = {"a": stored([4, 3, 2]), "b": stored([4, 2, 0]), "rotation": stored([0, 0, 0], "angle, degrees")}
    scores, curves = corruption_scores(shifts, metrics)
    assert scores["corrupted/error"] == pytest.approx((0.25 + 0.5 + 0.5 + 1.0) / 4)
    assert curves["corrupted/severity"]["severity"] == [0.0, 1.0, 2.0]
    assert curves["corrupted/severity"]["error"] == pytest.approx([0.0, 0.375, 0.75])
    right, wrong = -np.log(0.8), -np.log(0.2)
    assert curves["corrupted/severity"]["nll"][2] == pytest.approx(0.25 * right + 0.75 * wrong)
    assert corruption_scores({"rotation": shifts["rotation"]}, metrics) == ({}, {})
    with pytest.raises(ContractError, match="same severities"):
        corruption_scores({"a": shifts["a"], "b": stored([4, 2, 0], values=(0, 1, 3))}, metrics)


def test_a_page_has_the_table_and_the_figure():
    curve = {"severity": [0.0, 1.0], "error": [0.1, 0.3], "nll": [0.2, 0.5], "ece": [0.01, 0.1]}
    single = {"severity": [0.0, 1.0], "entropy": [0.1, 0.2], "mutual_information": [0.0, 0.1], "accuracy": [0.9, 0.7]}
    base = record("m", 0)
    scores = base.scores | {"corrupted/error": 0.3, "corrupted/nll": 0.5, "corrupted/ece": 0.1}
    curves = base.curves | {"corrupted/severity": curve, "shift/blur": single}
    records = [record("m", 0, scores=scores, curves=curves)]
    rendered = files(records, None)
    (page,) = [
        content.decode() for path, content in rendered.items() if path.startswith("t-v1") and path.endswith(".md")
    ]
    assert "## Corrupted test images" in page
    assert "corrupted: error % ↓" in page.replace("\xa0", " ")
    assert "## Shifts" not in page
    pictures = draw(list(by_task(records)), ["m"])
    assert [name.rpartition("-")[2] for name in pictures if "corruptions" in name] == ["corruptions.png"]
    (site,) = [content.decode() for path, content in rendered.items() if path.startswith("site/tasks/")]
    assert "all: ECE" in site
