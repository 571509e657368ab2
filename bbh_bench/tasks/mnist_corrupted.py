"""mnist-corrupted: the fits of ``mnist-short``, evaluated on corrupted test images. Nothing is attacked."""

from dataclasses import replace

from bbh_bench.tasks.corruptions import CORRUPTIONS
from bbh_bench.tasks.mnist import SHORT

TASK = replace(
    SHORT,
    name="mnist-corrupted",
    title="MNIST with eight corruptions at five severities, LeNet, 5 epochs for a laptop",
    version=1,
    attacks=(),
    uncertainty=None,
    shifts=CORRUPTIONS,
    headline="corrupted/nll",
)
