"""toy: the regression of the paper's first figure, a cubic function with twenty noisy training points.

Inputs and noise are those of the paper's code: x ~ U(-4, 4), then normal noise of standard deviation 9, from NumPy's seed 1.
The regression that it imitates (Hernandez-Lobato & Adams 2015) is usually understood with a standard deviation of 3.
"""

import numpy as np
from torch import nn

from bbh_bench.api import Architecture
from bbh_bench.tasks.networks import initialise
from bbh_bench.tasks.reference import Reference
from bbh_bench.tasks.regression import LineData, RegressionTask

NOISE = 9.0
POINTS = 20
OBSERVATIONS = 20  # at each point of the grid, for the scores


def cubic() -> LineData:
    """The training points and the grid, the same at every call: NumPy's legacy generator is frozen."""
    random = np.random.RandomState(1)
    x = random.uniform(-4, 4, POINTS)
    y = x**3 + NOISE * random.standard_normal(POINTS)
    grid = np.linspace(-6, 6, 500)
    noise = np.random.RandomState(2).standard_normal((OBSERVATIONS, len(grid)))
    return LineData(x, y, grid, grid**3, grid**3 + NOISE * noise)


def one_hidden_layer() -> nn.Module:
    """One hidden layer of 100 rectified units: 301 parameters."""
    return initialise(nn.Sequential(nn.Linear(1, 100), nn.Dropout(0.0), nn.ReLU(), nn.Linear(100, 1)))


ONE_HIDDEN_LAYER = Architecture("one-hidden-layer", 1, one_hidden_layer)

REFERENCE = Reference(
    name="toy",
    digest="5a59362e126c3ad7b7720eb7cb03a0e7e6375a3d0aaa344927ed0a747f509d94",
    floor={"inside": 0.000758, "outside": 0.00199},
)

TASK = RegressionTask(
    name="toy",
    title="x cubed from 20 points, noise of standard deviation 9",
    version=2,
    data=cubic,
    network=ONE_HIDDEN_LAYER,
    noise=NOISE,
    epochs=2000,
    batch_size=POINTS,
    prior_scale=1.0,
    reference=REFERENCE,
)
