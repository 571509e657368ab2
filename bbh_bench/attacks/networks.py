"""The networks that an attacker uses: sampled from the posterior, in groups, beside those that only check the result."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bbh_bench.api import Attack, Posterior, PredictFn
from bbh_bench.attacks.passes import PassCounter


@dataclass(frozen=True)
class AttackerNetworks:
    """Frozen networks. Called with inputs ``[B, ...]``, it returns the logits of all groups, ``[n, B, K]``."""

    groups: tuple[PredictFn, ...]
    """The attacker's samples in groups: an attack may compute each gradient from another group."""
    check: PredictFn
    """Networks that decide whether an image is still classified correctly."""

    def __call__(self, x: Tensor) -> Tensor:
        """The logits of the attacker's samples."""
        return self.groups[0](x) if len(self.groups) == 1 else torch.cat([group(x) for group in self.groups])

    def counted(self, counter: PassCounter) -> "AttackerNetworks":
        """The same networks; their passes are added to those of the counter."""
        return AttackerNetworks(tuple(map(counter.counted, self.groups)), counter.counted(self.check))

    @classmethod
    def of(cls, networks: PredictFn) -> "AttackerNetworks":
        """The same networks in one group, which is also the check, unless they are in groups already."""
        return networks if isinstance(networks, cls) else cls((networks,), networks)


def unknown_to_defender(posterior: Posterior, attack: Attack) -> AttackerNetworks:
    """The attacker's own samples: independent of those that will decide."""
    networks = grouped(posterior, attack.samples, attack.algorithm.groups)
    checks = attack.algorithm.checks
    return AttackerNetworks(networks.groups, posterior.sample(checks)) if checks else networks


def grouped(posterior: Posterior, samples: int, groups: int) -> AttackerNetworks:
    """Sample networks in groups of equal size, to within one network. All of them together are the check."""
    sizes = [samples // groups + (k < samples % groups) for k in range(min(samples, groups))]
    parts = tuple(posterior.sample(size) for size in sizes)
    together = AttackerNetworks(parts, parts[0])
    return AttackerNetworks(parts, together)
