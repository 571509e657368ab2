"""cifar5: classes 0-4 of CIFAR-10, with classes 5-9 of its test set as OOD set, as in the paper.

A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009. The classes are airplane, automobile, bird, cat and
deer; those of the OOD set are dog, frog, horse, ship and truck.

Differences to the paper: 2,500 of its 25,000 training images are set aside for validation; the standardisation of an image is a
layer of the network, so that attacks perturb pixels; and brightness is not changed at random, because standardisation subtracts
it again.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from bbh_bench.attacks.builtin import ADAPTIVE_L2, ADAPTIVE_LINF, FGSM, NOISE_LINF, PAPER_FGSM, SQUARE_LINF, TRANSFER
from bbh_bench.data import DataFile, TarArchive, stratified
from bbh_bench.tasks.classification import UNCERTAINTY, ClassificationTask, ImageData
from bbh_bench.tasks.expected import EvaluationSets
from bbh_bench.tasks.resnet import RESNET_32

CLASSES = 5
VALIDATION = 2500
SIZE, CROP = 32, 24
"""Height and width of the stored images and of the network's inputs, in pixels."""

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
FILES = TarArchive(
    URL,
    tuple(
        DataFile(f"cifar-10-batches-py/{name}", sha256, URL)
        for name, sha256 in {
            "data_batch_1": "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd",
            "data_batch_2": "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8",
            "data_batch_3": "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9",
            "data_batch_4": "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b",
            "data_batch_5": "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154",
            "test_batch": "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831",
        }.items()
    ),
)
"""The test images are in the last file."""


@dataclass(frozen=True)
class Cifar5:
    """The first five classes of CIFAR-10. The split belongs to the task's version and does not depend on a run's seed."""

    def digests(self) -> Mapping[str, str]:
        """Of every file that is read. These texts are part of the task's identity."""
        split = f"classes 0-{CLASSES - 1}; validation: stratified {VALIDATION} of the training images, seed 0"
        return {file.path: file.sha256 for file in FILES.files} | {"split": split}

    def load(self, folder: Path) -> ImageData:
        """Read the data folder. The files are downloaded if they are missing. Raises ``DataError``."""
        *train_batches, (test_images, test_labels) = map(_read_batch, FILES.read(folder))
        images, labels = (torch.cat(parts) for parts in zip(*train_batches, strict=True))
        images, labels = images[labels < CLASSES], labels[labels < CLASSES]
        in_train = torch.ones(len(labels), dtype=torch.bool)
        in_train[stratified(labels, VALIDATION)] = False
        known = test_labels < CLASSES
        return ImageData(
            train=(centre_crop(images[in_train]), labels[in_train]),
            validation=(centre_crop(images[~in_train]), labels[~in_train]),
            test=(centre_crop(test_images[known]), test_labels[known]),
            ood={"cifar10-others": centre_crop(test_images[~known])},
            originals=images[in_train].contiguous(memory_format=torch.channels_last),
        )


def _read_batch(path: Path) -> tuple[Tensor, Tensor]:
    """Images ``[N, 3, 32, 32]``, uint8, and labels ``[N]``, int64, of one file.

    The file is a pickle, which could run any code when it is read. ``DataFile.read`` has compared its SHA-256 with that of the
    file that the authors of CIFAR-10 published.
    """
    batch = pickle.loads(path.read_bytes(), encoding="bytes")
    return torch.from_numpy(batch[b"data"]).view(-1, 3, SIZE, SIZE), torch.tensor(batch[b"labels"])


def centre_crop(images: Tensor) -> Tensor:
    """The network's inputs for prediction: images ``[N, 3, 32, 32]``, uint8 -> ``[N, 3, 24, 24]``, float32, in [0, 1]."""
    start = (SIZE - CROP) // 2
    return images[:, :, start : start + CROP, start : start + CROP].float() / 255


@dataclass(frozen=True)
class CropFlipContrast:
    """The paper's augmentation: a random crop, mirrored half of the time, with a random contrast in each channel.

    The paper also adds a random brightness to all pixels. The network's standardisation cancels it exactly.
    """

    name: str = "crop-flip-contrast"
    version: int = 1
    padding: int = 2
    """Pixels of zeros on each side before an image is cropped."""
    size: int = CROP
    """Height and width of the crop."""
    contrast: tuple[float, float] = (0.2, 1.8)
    """Range of the factor, uniform, of the difference to the mean of a channel. Results are not clipped to [0, 1]."""

    def __call__(self, originals: Tensor) -> Tensor:
        """Images ``[B, C, H, W]``, uint8 -> ``[B, C, size, size]``, float32, with the channels last in memory."""
        count, device = len(originals), originals.device
        padded = F.pad(originals, [self.padding] * 4).permute(0, 2, 3, 1)
        image = torch.arange(count, device=device)[:, None, None]
        offset = torch.arange(self.size, device=device)
        ends = torch.tensor(padded.shape[1:3], device=device) - self.size
        start = (torch.rand(count, 2, device=device) * (ends + 1)).long()  # rand is below 1: at most ends
        flipped = torch.rand(count, 1, device=device) < 0.5
        rows = start[:, :1] + offset
        columns = start[:, 1:] + torch.where(flipped, offset.flip(0), offset)
        x = padded[image, rows[:, :, None], columns[:, None, :]].float() / 255
        mean = x.mean((1, 2), keepdim=True)
        low, high = self.contrast
        factor = low + (high - low) * torch.rand(mean.shape, device=device)
        return torch.lerp(mean, x, factor).permute(0, 3, 1, 2)


# The network is deep and an attack step takes long, so that attacks of many steps get few images and few epsilons.
FEW = 50
GRID = (0.0, 1 / 255, 2 / 255, 4 / 255, 8 / 255)
LINF = (2 / 255, 4 / 255, 8 / 255)
L2 = (0.25,)
ATTACKS = (
    replace(ADAPTIVE_LINF, images=FEW, epsilons=LINF),
    replace(FGSM, epsilons=GRID),
    replace(PAPER_FGSM, images=FEW, epsilons=GRID),
    replace(NOISE_LINF, epsilons=LINF),
    replace(TRANSFER, images=FEW, epsilons=LINF),
    replace(ADAPTIVE_L2, images=FEW, epsilons=L2),
    replace(SQUARE_LINF, images=FEW, epsilons=LINF),
)

TASK = ClassificationTask(
    name="cifar5",
    title="CIFAR-10 classes 0-4, OOD 5-9, ResNet of 32 layers, the paper's 200 epochs, 22,500 of its 25,000 images",
    version=1,
    source=Cifar5(),
    network=RESNET_32,
    classes=CLASSES,
    epochs=200,
    batch_size=100,
    attacks=ATTACKS,
    uncertainty=replace(UNCERTAINTY, images=FEW, epsilons=(1 / 255, 2 / 255, 4 / 255)),
    attacked=250,
    augmentation=CropFlipContrast(),
    sets=EvaluationSets("bca24bccdc4a436eb40f3574cb11d13728afb97b8ba0835b316037543da6bfc0", {"cifar10-others": 5_000}),
)
SHORT = replace(
    TASK,
    name="cifar5-short",
    title="CIFAR-10 classes 0-4, OOD 5-9, ResNet of 32 layers, 12 epochs for a laptop",
    epochs=12,
)
