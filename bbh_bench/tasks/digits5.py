"""digits5: handwritten digits 0-4 against 5-9, 8x8 pixels, from scikit-learn; nothing to download.

E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI 1998 (the test part, 1,797 images).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from bbh_bench.attacks.algorithms import PGD_L2, PGD_LINF, Boundary, Fgsm, NoiseLinf, PaperFgsm, Transfer
from bbh_bench.data import check_open, digest, stratified
from bbh_bench.errors import DataError
from bbh_bench.tasks.classification import ClassificationTask, ImageData
from bbh_bench.tasks.networks import small_lenet

DIGEST = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
TEST, VALIDATION = 270, 91  # of 901, each digit's share kept; 540 are left to train on


@dataclass(frozen=True)
class Digits5:
    """scikit-learn's digits: the split is part of the task's version, not of a run's seed."""

    def digests(self) -> Mapping[str, str]:
        """Of scikit-learn's images and labels."""
        return {"sklearn.datasets.load_digits": DIGEST, "split": f"stratified {TEST} + {VALIDATION}, seed 0"}

    def load(self, folder: Path) -> ImageData:
        """Read what scikit-learn ships; ``folder`` isn't used. Raises ``DataError`` if it is not the known set."""
        from sklearn.datasets import load_digits  # noqa: PLC0415  (a second to import)

        check_open("digits5")
        pixels, classes = load_digits(return_X_y=True)
        pixels, classes = pixels.astype("uint8"), classes.astype("uint8")
        if digest([pixels, classes]) != DIGEST:
            raise DataError(
                "scikit-learn's load_digits() gives other images than those digits5 is defined by; "
                "install the scikit-learn release that pyproject.toml names."
            )
        x = torch.from_numpy(pixels).view(-1, 1, 8, 8).float() / 16
        y = torch.from_numpy(classes).long()
        known = y < 5
        outliers = x[~known]
        x, y = x[known], y[known]
        held = stratified(y, TEST + VALIDATION)
        in_test = torch.zeros(len(held), dtype=torch.bool)
        in_test[stratified(y[held], TEST, seed=1)] = True
        test, validation = held[in_test], held[~in_test]
        train = torch.ones(len(y), dtype=torch.bool)
        train[held] = False
        return ImageData(
            (x[train], y[train]), (x[validation], y[validation]), (x[test], y[test]), {"digits5-9": outliers}
        )


# A plain MAP fit lasts under a second here: a hundred images for what takes many steps, and few epsilons.
FEW = 100
GRID = (0.0, 0.05, 0.1, 0.2, 0.4)
ATTACKS = (
    replace(PGD_LINF, images=FEW),
    Fgsm(epsilons=GRID),
    PaperFgsm(epsilons=GRID),
    NoiseLinf(),
    Transfer(images=FEW),
    replace(PGD_L2, images=FEW, epsilons=(0.75,)),
    Boundary(images=FEW, epsilons=(0.75,), steps=75),
)

TASK = ClassificationTask(
    name="digits5",
    title="8x8 handwritten digits 0-4, outliers 5-9 (scikit-learn)",
    version=2,
    source=Digits5(),
    network=partial(small_lenet, classes=5),
    classes=5,
    epochs=60,
    batch_size=32,
    attacks=ATTACKS,
    threads=1,
)
