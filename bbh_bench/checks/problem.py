"""Contract tests of a task's data: what a method gets, and that no image is in two sets."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from bbh_bench.api import Categorical, Gaussian, LoadedTask, Problem
from bbh_bench.checks.tools import advice, require
from bbh_bench.data import digest
from bbh_bench.tasks.classification import ImageData, LoadedClassification

CPU = torch.device("cpu")


def check_problem(first: LoadedTask, second: LoadedTask) -> None:
    """Raise ``AssertionError`` unless a task that was loaded twice gives a good problem, the same each time."""
    problem = _problem(first)
    _check_tensors(problem)
    _check_network(problem)
    before = data_digest(problem)
    require(
        data_digest(_problem(second)) == before,
        "load() gave other training data the second time; fix the seed of the split and of the noise, and sort files by name.",
    )
    problem.x.zero_()
    problem.y.zero_()
    require(
        data_digest(_problem(first)) == before,
        "a method that changes its training data changes those of the next cell; give each problem a copy: "
        "x.to(device, copy=True).",
    )


def data_digest(problem: Problem) -> str:
    """SHA-256 of the training data."""
    return digest([problem.x.cpu().numpy(), problem.y.cpu().numpy()])


def _problem(loaded: LoadedTask) -> Problem:
    with advice("problem(device)"):
        problem = loaded.problem(CPU)
    require(
        isinstance(problem, Problem),
        f"problem(device) returned {type(problem).__name__}; return a bbh_bench.Problem.",
    )
    return problem


def _check_tensors(problem: Problem) -> None:
    x, y = problem.x, problem.y
    require(isinstance(x, Tensor) and isinstance(y, Tensor), "the problem's x and y must be tensors.")
    require(
        x.dim() > 1 and y.dim() == 1 and len(x) == len(y) > 0,
        f"the problem has x of shape {list(x.shape)} and y of shape {list(y.shape)}; they must be [N, ...] and [N].",
    )
    require(x.dtype == torch.float32, f"the problem's x is {x.dtype}; the networks need torch.float32.")
    require(x.isfinite().all(), "the problem's x has values that are not finite; clean the data in load().")
    if isinstance(problem.likelihood, Categorical):
        classes = problem.likelihood.classes
        require(y.dtype == torch.int64, f"the labels are {y.dtype}; cross-entropy needs torch.int64.")
        inside = bool(((y >= 0) & (y < classes)).all())
        require(inside, f"there are labels from {int(y.min())} to {int(y.max())} for {classes} classes; count from 0.")
    if isinstance(problem.likelihood, Gaussian):
        require(y.dtype == torch.float32, f"the targets are {y.dtype}; they must be torch.float32.")
        require(y.isfinite().all(), "the targets have values that are not finite; clean the data in load().")
    require(problem.epochs > 0 and problem.batch_size > 0, "the budget is empty: epochs and batch_size are 1 or more.")


def _check_network(problem: Problem) -> None:
    with advice("the task's network, for the first two training inputs,"):
        outputs = problem.network()(problem.x[:2])
    with advice("the likelihood of the outputs of the task's network"):
        loss = problem.likelihood(outputs, problem.y[:2])
    likelihood = problem.likelihood
    width = likelihood.classes if isinstance(likelihood, Categorical) else 1
    if isinstance(likelihood, Categorical | Gaussian):
        require(
            list(outputs.shape) == [2, width],
            f"the task's network gives outputs of shape {list(outputs.shape)} for two inputs; it must be [2, {width}].",
        )
    require(
        loss.dim() == 0 and loss.isfinite(),
        f"the likelihood gives {loss.tolist()} before training, not a finite number.",
    )


def check_images(loaded: LoadedTask) -> None:
    """Raise ``AssertionError`` if sets of a classification of images share an image, or have images of another range.

    Does nothing for tasks of other classes: it does not know where they keep their sets.
    """
    if not isinstance(loaded, LoadedClassification):
        return
    sets = _sets(loaded.data)
    shape = sets["training set"].shape[1:]
    low, high = loaded.task.bounds
    for name, images in sets.items():
        if len(images) == 0:
            require(name == "validation set", f"the {name} is empty.")
            continue
        require(
            images.dtype == torch.float32 and images.shape[1:] == shape,
            f"the {name} has images {list(images.shape[1:])}, {images.dtype}; "
            f"those of the training set are {list(shape)}, torch.float32.",
        )
        inside = bool(((images >= low) & (images <= high)).all())  # False for NaN too
        require(
            inside,
            f"the {name} has pixels from {float(images.min()):g} to {float(images.max()):g}, outside the task's bounds "
            f"[{low:g}, {high:g}]; scale them, or change `bounds`.",
        )
    _check_disjoint(sets)


def _sets(data: ImageData) -> dict[str, Tensor]:
    labelled = {"training set": data.train, "validation set": data.validation, "test set": data.test}
    for name, (x, y) in labelled.items():
        require(len(x) == len(y), f"the {name} has {len(x)} images and {len(y)} labels.")
    return {name: x for name, (x, _) in labelled.items()} | {f"OOD set '{name}'": x for name, x in data.ood.items()}


def _check_disjoint(sets: dict[str, Tensor]) -> None:
    """Two OOD sets may share images; no other two sets may."""
    seen: dict[str, set[bytes]] = {}
    for name, images in sets.items():
        own = set(_hashes(images))
        for other, theirs in seen.items():
            if name.startswith("OOD") and other.startswith("OOD"):
                continue
            shared = len(own & theirs)
            require(
                shared == 0,
                f"{shared} image{'s are' if shared > 1 else ' is'} both in the {other} and in the {name}; split the data by "
                "indices that occur once, after duplicates are removed.",
            )
        seen[name] = own


def _hashes(images: Tensor) -> Iterable[bytes]:
    return (hashlib.sha256(image.numpy().tobytes()).digest() for image in images.contiguous())
