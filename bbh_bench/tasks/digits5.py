"""digits5: handwritten digits 0-4 of 8x8 pixels, with 5-9 as OOD set, from scikit-learn. Nothing is downloaded.

E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI 1998 (the test part, 1,797 images).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bbh_bench.attacks.builtin import ADAPTIVE_L2, ADAPTIVE_LINF, FGSM, NOISE_LINF, PAPER_FGSM, SQUARE_LINF, TRANSFER
from bbh_bench.data import check_open, digest, stratified
from bbh_bench.errors import DataError
from bbh_bench.tasks.classification import ClassificationTask, ImageData
from bbh_bench.tasks.expected import EvaluationSets
from bbh_bench.tasks.networks import SMALL_LENET

DIGEST = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
TEST, VALIDATION = 270, 91  # of 901 images, stratified by class; the other 540 are the training set


@dataclass(frozen=True)
class Digits5:
    """scikit-learn's digits. The split belongs to the task's version and does not depend on a run's seed."""

    def digests(self) -> Mapping[str, str]:
        """Of scikit-learn's images and labels. These texts are part of the task's identity."""
        return {"sklearn.datasets.load_digits": DIGEST, "split": f"stratified {TEST} + {VALIDATION}, seed 0"}

    def load(self, folder: Path) -> ImageData:
        """Read the images from scikit-learn; ``folder`` is not used.

        Raises ``DataError`` if they are not those that define the task.
        """
        from sklearn.datasets import load_digits

        check_open("digits5")
        pixels, classes = load_digits(return_X_y=True)
        pixels, classes = pixels.astype("uint8"), classes.astype("uint8")
        if digest([pixels, classes]) != DIGEST:
            raise DataError(
                "scikit-learn's load_digits() returns other images than those that define digits5; "
                "install a scikit-learn release that pyproject.toml allows."
            )
        x = torch.from_numpy(pixels).view(-1, 1, 8, 8).float() / 16
        y = torch.from_numpy(classes).long()
        in_distribution = y < 5
        ood = x[~in_distribution]
        x, y = x[in_distribution], y[in_distribution]
        held_out = stratified(y, TEST + VALIDATION)
        in_test = torch.zeros(len(held_out), dtype=torch.bool)
        in_test[stratified(y[held_out], TEST, seed=1)] = True
        test, validation = held_out[in_test], held_out[~in_test]
        train = torch.ones(len(y), dtype=torch.bool)
        train[held_out] = False
        return ImageData(
            train=(x[train], y[train]),
            validation=(x[validation], y[validation]),
            test=(x[test], y[test]),
            ood={"digits5-9": ood},
        )


# A fit of MAP takes less than a second here. Attacks of many steps therefore get a hundred images and few epsilons.
FEW = 100
GRID = (0.0, 0.05, 0.1, 0.2, 0.4)
ATTACKS = (
    replace(ADAPTIVE_LINF, images=FEW),
    replace(FGSM, epsilons=GRID),
    replace(PAPER_FGSM, epsilons=GRID),
    NOISE_LINF,
    replace(TRANSFER, images=FEW),
    replace(ADAPTIVE_L2, images=FEW, epsilons=(0.75,)),
    replace(SQUARE_LINF, images=FEW),
)

TASK = ClassificationTask(
    name="digits5",
    title="8x8 handwritten digits 0-4, OOD 5-9 (scikit-learn)",
    version=3,
    source=Digits5(),
    network=SMALL_LENET,
    classes=5,
    epochs=60,
    batch_size=32,
    attacks=ATTACKS,
    sets=EvaluationSets("b0775bf85a4209d09dc862611a8708c31edea3dfbe8472eb9814cae8c9600656", {"digits5-9": 896}),
    threads=1,
)
