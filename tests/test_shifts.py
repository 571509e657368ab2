"""Shifted images against torchvision's rotation, arithmetic by hand, and a disc whose magnification is known; their curves."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TINY
from torchvision.transforms.v2.functional import InterpolationMode, gaussian_blur, rotate

from bbh_bench.api import task_fingerprint
from bbh_bench.evaluation.classification import shift_curve
from bbh_bench.evaluation.stored import read_shifts
from bbh_bench.methods.map import Map
from bbh_bench.plugins import load_plugins
from bbh_bench.running.stages import Stages
from bbh_bench.tasks import digits5, mnist
from bbh_bench.tasks.shifts import Mixup, Rotation, Swelling, bulge


@pytest.fixture(scope="module")
def images():
    """Forty smooth images of ten classes."""
    noise = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    blurred = gaussian_blur(noise, 9, 2.5)
    low, high = blurred.amin((1, 2, 3), keepdim=True), blurred.amax((1, 2, 3), keepdim=True)
    return (blurred - low) / (high - low), torch.arange(40) % 10


def test_rotation_is_anticlockwise_about_the_centre(images):
    """Oracle: torchvision's rotation, bilinear where ours is cubic, away from the corners; 90 degrees is exact."""
    x, y = images
    shifted = Rotation(images=(3, 7), values=(0, 30, 90, -45)).apply(x, y)
    assert shifted.images.shape == (4, 2, 1, 28, 28)
    assert shifted.labels.tolist() == [3, 7]
    assert torch.allclose(shifted.images[0], x[[3, 7]], atol=1e-5)
    assert torch.allclose(shifted.images[2], x[[3, 7]].rot90(1, (2, 3)), atol=1e-4)
    centre = slice(7, 21)
    for k, angle in ((1, 30), (3, -45)):
        oracle = rotate(x[[3, 7]], angle, InterpolationMode.BILINEAR)
        assert (shifted.images[k] - oracle)[..., centre, centre].abs().max() < 0.03


def test_mixup_blends_images_of_different_classes(images):
    x, y = images
    shifted = Mixup(images=20, values=(0, 0.25, 1)).apply(x, y)
    assert shifted.labels is None
    first, mixed, second = shifted.images
    assert torch.allclose(mixed, 0.75 * first + 0.25 * second, atol=1e-6)
    label = {image.numpy().tobytes(): int(c) for image, c in zip(x, y, strict=True)}
    for a, b in zip(first, second, strict=True):
        assert label[a.numpy().tobytes()] != label[b.numpy().tobytes()]
    named = Mixup(images=((1, 5),), values=(0, 1)).apply(x, y).images
    assert torch.equal(named[:, 0], x[[1, 5]])


def test_a_bulge_magnifies_by_the_power_of_the_radius():
    """A disc of radius a about the centre becomes one of radius R (a / R)^(1 / strength); nothing changes outside R."""
    rows, columns = np.indices((201, 201)) - 100
    distance = np.hypot(rows, columns)
    swollen = bulge(distance < 10, (100, 100), 80, 3)
    expected = 80 * (10 / 80) ** (1 / 3)
    assert math.sqrt(swollen.sum() / math.pi) == pytest.approx(expected, rel=0.01)
    ring = (distance > 85) & (distance < 90)
    assert np.array_equal(bulge(ring, (100, 100), 80, 3), ring)
    assert np.array_equal(bulge(ring, (100, 100), 0, 3), ring)


def test_swelling_grows_with_the_radius_and_stays_in_the_range_of_the_data():
    """A bar four pixels wide: its thickness is about 4, so radius 6 reaches 6 pixels along it."""
    bar = torch.zeros(1, 1, 28, 28)
    bar[..., 4:24, 12:16] = 1
    swelling = Swelling(images=(0,), values=(0, 3, 6, 9))
    shifted = swelling.apply(bar, torch.tensor([1]))
    area = shifted.images.sum((1, 2, 3, 4))
    assert area[0] == pytest.approx(80, rel=0.1)
    assert (area.diff() > 2).all()
    assert shifted.images.min() >= 0
    assert shifted.images.max() <= 1
    assert shifted.images[2, 0, 0].amax(0)[:6].max() < 0.5  # 6 pixels from the bar's middle, and not beyond
    assert torch.equal(shifted.images, swelling.apply(bar, torch.tensor([1])).images)


def test_a_shift_becomes_a_curve(cpu, metrics):
    """Oracle: the decoded predictions, image by image; a single image shows its probabilities."""
    few = Rotation(images=6, values=(0, 90))
    task = replace(TINY, shifts=(few, Mixup("pair", images=((0, 1),), values=(0, 1))))
    loaded = task.load(Path())
    posterior = Map().fit(loaded.problem(cpu))
    arrays = loaded.evaluate(posterior, cpu, 0, Stages(0, cpu))
    curves = task.score(arrays, metrics).curves
    curve = curves["shift/rotation"]
    assert list(curve) == ["angle, degrees", "entropy", "mutual_information", "accuracy"]
    assert curve["angle, degrees"] == [0, 90]
    predictions = read_shifts(arrays)["rotation"].predictions
    labels = few.apply(*loaded.data.test).labels.numpy()
    for k in (0, 1):
        part = slice(6 * k, 6 * k + 6)
        assert curve["entropy"][k] == pytest.approx(predictions.entropy[part].mean())
        assert curve["accuracy"][k] == pytest.approx((predictions.probs[part].argmax(1) == labels).mean())
    pair = curves["shift/pair"]
    assert "accuracy" not in pair
    assert sum(pair[f"p({c})"][1] for c in range(5)) == pytest.approx(1)
    assert shift_curve(read_shifts(arrays)["pair"]) == pair


def test_the_fingerprint_depends_on_the_shifts():
    few = replace(TINY, shifts=(Rotation(images=6),))
    assert len({task_fingerprint(task) for task in (TINY, replace(TINY, shifts=(Rotation(),)), few)}) == 3
    assert digits5.TASK.shifts == ()


def test_the_images_of_the_paper_are_the_digits_that_it_names(data):
    """The paper's code names images 270, 202 and 217 three, one and six, and mixes 270 with 391, an eight."""
    labels = mnist.Mnist().load(data).test[1]
    assert labels[[270, 202, 217, 391]].tolist() == [3, 1, 6, 8]
    assert load_plugins(external=False).tasks["mnist"].shifts == mnist.SHIFTS
