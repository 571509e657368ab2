"""mnist: MNIST with notMNIST as OOD set, as in the paper: 55,000 training images, LeNet, batches of 100, 100 epochs.

The paper's loader sets the first 5,000 training images aside for validation. Neither the paper nor this task uses them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bbh_bench.data import DataFile, read_idx_images, read_idx_labels, shuffled
from bbh_bench.tasks.classification import ClassificationTask, ImageData
from bbh_bench.tasks.expected import EvaluationSets
from bbh_bench.tasks.networks import LENET
from bbh_bench.tasks.shifts import Mixup, Rotation, Swelling

VALIDATION = 5000
OPTIONAL_IMAGES = 2000  # of each optional OOD set


def _file(folder: str, name: str, sha256: str, site: str) -> DataFile:
    return DataFile(f"{folder}/raw/{name}", sha256, f"{site}/{name}.gz")


_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
TRAIN_IMAGES = _file(
    "MNIST", "train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", _MNIST
)
TRAIN_LABELS = _file(
    "MNIST", "train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", _MNIST
)
TEST_IMAGES = _file(
    "MNIST", "t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", _MNIST
)
TEST_LABELS = _file(
    "MNIST", "t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", _MNIST
)
NOTMNIST = _file(
    "notMNIST",
    "t10k-images-idx3-ubyte",
    "8e7f38ae95cc8f48e0986175ffc9137e5007ebcf3d8fdf6656c904eb9dab198b",
    "https://github.com/davidflanagan/notMNIST-to-MNIST/raw/master",
)
OPTIONAL = {
    "fashionmnist": _file(
        "FashionMNIST",
        "t10k-images-idx3-ubyte",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    ),
    "kmnist": _file(
        "KMNIST",
        "t10k-images-idx3-ubyte",
        "76fbd229ce87db80dd281af5e6670de4ad0e42fb30a7bd643972994c47c1f42e",
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist",
    ),
}


@dataclass(frozen=True)
class Mnist:
    """MNIST. OOD sets are the test images of notMNIST, and those of FashionMNIST and KMNIST if the data folder has them."""

    def digests(self) -> Mapping[str, str]:
        """Of every file that is read. These texts are part of the task's identity."""
        files = [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS, NOTMNIST, *OPTIONAL.values()]
        split = f"validation: first {VALIDATION}; optional outliers: {OPTIONAL_IMAGES}, seed 0"
        return {file.path: file.sha256 for file in files} | {"split": split}

    def load(self, folder: Path) -> ImageData:
        """Read the data folder. The files of MNIST and notMNIST are downloaded if they are missing. Raises ``DataError``."""
        x, y = read_idx_images(TRAIN_IMAGES.read(folder)), read_idx_labels(TRAIN_LABELS.read(folder))
        test = read_idx_images(TEST_IMAGES.read(folder)), read_idx_labels(TEST_LABELS.read(folder))
        ood: dict[str, Tensor] = {"notmnist": read_idx_images(NOTMNIST.read(folder))}
        for name, file in OPTIONAL.items():
            if file.present(folder):
                images = read_idx_images(file.read(folder))
                ood[name] = images[shuffled(len(images))[:OPTIONAL_IMAGES].sort().values]
        return ImageData(
            train=(x[VALIDATION:], y[VALIDATION:]),
            validation=(x[:VALIDATION], y[:VALIDATION]),
            test=test,
            ood=ood,
        )


# On two hundred images each; then on the images that the paper shows, by their places in the test set.
_BOTH_DIRECTIONS = tuple(range(-90, 91, 10))
SHIFTS = (
    Rotation(),
    Mixup(),
    Swelling(),
    Rotation("rotation-three", images=(270,), values=_BOTH_DIRECTIONS),
    Rotation("rotation-one", images=(202,), values=_BOTH_DIRECTIONS),
    Rotation("rotation-six", images=(217,), values=tuple(range(-180, 181, 10))),
    Mixup("mixup-three-eight", images=((270, 391),)),
)

SETS = EvaluationSets(
    "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    {"notmnist": 10_000},
    dict.fromkeys(OPTIONAL, OPTIONAL_IMAGES),
)

TASK = ClassificationTask(
    name="mnist",
    title="MNIST, OOD notMNIST, LeNet, the paper's 100 epochs",
    version=3,
    source=Mnist(),
    network=LENET,
    classes=10,
    epochs=100,
    batch_size=100,
    shifts=SHIFTS,
    sets=SETS,
)
SHORT = ClassificationTask(
    name="mnist-short",
    title="MNIST, OOD notMNIST, LeNet, 5 epochs for a laptop",
    version=3,
    source=Mnist(),
    network=LENET,
    classes=10,
    epochs=5,
    batch_size=100,
    shifts=SHIFTS,
    sets=SETS,
)
