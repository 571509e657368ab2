"""What is the same for every posterior that a task attacks."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bbh_bench.api import Attack, PredictFn
from bbh_bench.data import stratified
from bbh_bench.evaluation.predictive import predict


@dataclass(frozen=True)
class AttackContext:
    """What is the same for every posterior: test images ``x`` ``[N, ...]`` with labels ``y`` ``[N]``, and the evaluation."""

    x: Tensor
    y: Tensor
    classes: int
    bounds: tuple[float, float]
    """Range of pixel values."""
    samples: int
    """Number of fresh samples on which adversarial examples are evaluated."""
    attacked: int
    """Number of test images for an attack that does not set ``images``."""
    device: torch.device
    indices: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Results of ``index`` by number of images: they are needed several times for each attack."""

    def index(self, attack: Attack) -> Tensor:
        """Positions of the test images of an attack, increasing; fewer images are always a subset of more."""
        n = min(self.attacked, attack.images or self.attacked)
        if n not in self.indices:
            self.indices[n] = stratified(self.y, n)
        return self.indices[n]

    def classify(self, networks: PredictFn, x: Tensor) -> np.ndarray:
        """Classes ``[N]`` that the networks predict together, as they are stored."""
        return predict(networks, x, self.device, self.classes)["log_odds"].argmax(1).astype(np.uint8)
