"""Projection and random points, against what they are defined as: the nearest image of the ball, and an image of the ball."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from bbh_bench.attacks.ball import distance, projected, random_points

BOUNDS = (0.0, 1.0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 3.0))
def test_results_are_in_the_ball_and_within_the_bounds(norm, seed, epsilon):
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(4, 1, 3, 3, generator=generator)
    images = clean + torch.randn(clean.shape, generator=generator)
    for result in (projected(images, clean, epsilon, norm, BOUNDS), random_points(clean, epsilon, norm, BOUNDS)):
        assert distance(result, clean, norm).max() <= epsilon + 1e-5
        assert result.min() >= 0
        assert result.max() <= 1


def test_projection_is_the_nearest_image_of_the_ball():
    """Without bounds, which clip the result of L2 afterwards; against SciPy's constrained minimiser."""
    clean, image, epsilon = torch.tensor([[0.2, 0.7]]), torch.tensor([[1.5, -0.4]]), 0.5
    for norm, constraint in {
        "l2": lambda z: epsilon**2 - ((z - clean.double().numpy()[0]) ** 2).sum(),
        "linf": lambda z: epsilon - abs(z - clean.double().numpy()[0]),
    }.items():
        nearest = minimize(
            lambda z: ((z - image.double().numpy()[0]) ** 2).sum(),
            clean.double().numpy()[0],
            constraints={"type": "ineq", "fun": constraint},
        ).x
        assert projected(image, clean, epsilon, norm, (-9.0, 9.0))[0].tolist() == pytest.approx(nearest, abs=1e-3)


def test_random_points_fill_the_ball():
    """Their distances: the largest of 4 uniform coordinates has mean 4/5 of epsilon; in L2 the distance is uniform itself."""
    torch.manual_seed(0)
    clean = torch.zeros(20_000, 4)
    for norm, mean in (("linf", 0.8), ("l2", 0.5)):
        sizes = distance(random_points(clean, 2.0, norm, (-9.0, 9.0)), clean, norm)
        assert sizes.mean().item() == pytest.approx(2 * mean, abs=0.02)
