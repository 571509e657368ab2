"""toy: the regression of the paper's first figure, a cubic seen through twenty noisy points.

The inputs and noise are those of the paper's code: x ~ U(-4, 4), then noise of deviation 9, from NumPy's seed 1. The
regression that it imitates (Hernandez-Lobato & Adams 2015) is usually read with a noise of deviation 3.
"""

import numpy as np
from torch import nn

from bbh_bench.tasks.networks import initialise
from bbh_bench.tasks.regression import LineData, RegressionTask

NOISE = 9.0
POINTS = 20
OBSERVATIONS = 20  # at each point of the grid, to judge by


def cubic() -> LineData:
    """Always the same: NumPy's legacy generator is frozen."""
    random = np.random.RandomState(1)
    x = random.uniform(-4, 4, POINTS)
    y = x**3 + NOISE * random.standard_normal(POINTS)
    grid = np.linspace(-6, 6, 500)
    noise = np.random.RandomState(2).standard_normal((OBSERVATIONS, len(grid)))
    return LineData(x, y, grid, grid**3, grid**3 + NOISE * noise)


def one_hidden_layer() -> nn.Module:
    """One hidden layer of 100 rectifiers, 301 weights."""
    return initialise(nn.Sequential(nn.Linear(1, 100), nn.Dropout(0.0), nn.ReLU(), nn.Linear(100, 1)))


TASK = RegressionTask(
    name="toy",
    title="x cubed from 20 points, noise of deviation 9",
    version=1,
    make=cubic,
    network=one_hidden_layer,
    noise=NOISE,
    epochs=2000,
    batch_size=POINTS,
)
