"""digits5-mlp: how close methods come to the exact posterior of a network that is small enough to sample it.

The images of ``digits5``, one hidden layer of 22 units, a N(0, 1) prior on all 1,545 weights and biases, and the same for every
method. The budget is five times that of ``digits5``: what remains of the distance to the posterior is the method's, not that of
a short training. A thousand networks are averaged, so that sampling adds little to it. Nothing is attacked.
"""

from dataclasses import replace

from torch import nn

from bbh_bench.api import Architecture
from bbh_bench.tasks.digits5 import TASK as DIGITS5
from bbh_bench.tasks.networks import initialise
from bbh_bench.tasks.reference import Reference


def one_hidden_layer() -> nn.Module:
    """64 pixels, 22 units with tanh, 5 classes: smooth, so that Hamiltonian Monte Carlo takes long steps."""
    return initialise(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 22), nn.Dropout(0.0), nn.Tanh(), nn.Linear(22, DIGITS5.classes))
    )


REFERENCE = Reference(
    name="digits5-mlp",
    digest="5874330ff4acd48c9a3f4d6526c61065d506bf34313cf808021e265e0fa11200",
    floor={"test": 0.000906, "ood/digits5-9": 0.00419},
)

TASK = replace(
    DIGITS5,
    name="digits5-mlp",
    title="8x8 handwritten digits 0-4, a small network whose exact posterior is known",
    version=1,
    network=Architecture("mlp-22", 1, one_hidden_layer),
    epochs=300,
    attacks=(),
    uncertainty=None,
    samples=1000,
    prior_scale=1.0,
    reference=REFERENCE,
    headline="test/total_variation",
)
