"""The stored arrays of the attack on the uncertainty. Their keys are written and read by this module only.

N images of a set, E epsilons, the first of which is 0. ``<set>`` is ``test`` or ``ood/<name>``.

=================================== ======= ==================================================================
key, under ``uncertainty/``         shape   meaning
=================================== ======= ==================================================================
``epsilons``                        ``[E]`` sizes of the perturbation in L-infinity, 0 first
``<set>/index``                     ``[N]`` positions of the attacked images in their set
``<set>/<k>/log_odds``              [N, K]  predictions of fresh samples at the k-th epsilon, as
``<set>/<k>/mutual_information``    ``[N]`` ``evaluation.predictive.predict`` returns them
=================================== ======= ==================================================================

The fresh samples are the same for all sets and epsilons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from bbh_bench.api import Arrays
from bbh_bench.evaluation.predictive import Predictions, decode
from bbh_bench.evaluation.stored import under

ATTACK = "uncertainty"
"""Name of the attack in keys, stages and scores."""
TEST = "test"
"""Name of the set of test images in keys."""
CLEAN = 0.0
"""Epsilon of images without perturbation."""


def attacked_arrays(
    epsilons: Sequence[float], index: Mapping[str, Tensor], predictions: Mapping[str, Sequence[Arrays]]
) -> Arrays:
    """The arrays of the attack. ``index`` ``[N]`` and ``predictions``, one for each epsilon, are by the name of their set."""
    arrays: Arrays = {"epsilons": np.array(epsilons)}
    for name, of_set in predictions.items():
        arrays |= {f"{name}/index": index[name].numpy().astype(np.uint32)}
        for k, predicted in enumerate(of_set):
            arrays |= under(f"{name}/{k}", predicted)
    return under(ATTACK, arrays)


@dataclass(frozen=True)
class StoredUncertainty:
    """The predictions of fresh samples under the attack on the uncertainty."""

    arrays: Arrays

    @property
    def epsilons(self) -> list[float]:
        """Increasing, ``[E]``, 0 first. Empty if there was no such attack."""
        return [float(epsilon) for epsilon in self.arrays.get(f"{ATTACK}/epsilons", ())]

    @property
    def ood_sets(self) -> list[str]:
        """Names of the attacked OOD sets, in the order in which they were attacked."""
        parts = [key.split("/") for key in self.arrays if key.startswith(f"{ATTACK}/ood/")]
        return list(dict.fromkeys(name for _, _, name, *_ in parts))

    def test(self) -> list[Predictions]:
        """Of the attacked test images, at each epsilon."""
        return self._read(TEST)

    def ood(self, name: str) -> list[Predictions]:
        """Of the attacked images of an OOD set, at each epsilon."""
        return self._read(f"ood/{name}")

    def _read(self, name: str) -> list[Predictions]:
        return [decode(self.arrays, f"{ATTACK}/{name}/{k}") for k in range(len(self.epsilons))]
