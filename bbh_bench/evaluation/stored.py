"""The stored arrays of a cell, except those of attacks (``bbh_bench.attacks.stored``).

Their keys are written and read in this module only; ``leaderboard.images``, which must not import torch, reads two of them.

A classification with K classes stores, in this order:

- ``test/labels``: classes of the test images ``[N]``, uint8.
- ``test/log_odds`` ``[N, K]`` and ``test/mutual_information`` ``[N]``: predictions of the test images, float16, as
  ``predictive.predict`` returns them.
- ``outlier/<set>/log_odds`` and ``outlier/<set>/mutual_information``: the same of each OOD set. Scores are named
  ``ood/<set>/...``; the keys keep the older word, so that published files stay valid.
- ``test/ood_score`` and ``outlier/<set>/ood_score`` ``[N]``, float32, for a method that scores images itself.
- for each shift of N images at S values: ``shift/<name>/axis/<axis>``, the values ``[S]``, where ``<axis>`` is the label of
  their axis; ``shift/<name>/labels`` ``[N]``, uint8, if the images keep their classes; ``shift/<name>/log_odds``
  ``[S * N, K]`` and ``shift/<name>/mutual_information`` ``[S * N]``, all images at the first value first.

A regression on a line stores ``train/x`` and ``train/y`` ``[N]``; ``grid/x`` and ``grid/truth`` ``[G]``; ``grid/targets``
``[R, G]``, R noisy observations at each point, float32; ``grid/outputs`` ``[n, G]``, the means that n networks predict,
float32; and ``noise``, the standard deviation of the targets. The others are float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from bbh_bench.api import Arrays
from bbh_bench.evaluation.predictive import OOD_SCORE, STORED, Predictions, decode

TEST = "test"
"""Prefix of the test set's arrays."""
_OOD = "outlier"
_SHIFT = "shift"


def ood_prefix(name: str) -> str:
    """Prefix of an OOD set's arrays."""
    return f"{_OOD}/{name}"


def under(prefix: str, arrays: Arrays) -> Arrays:
    """The same arrays with keys ``<prefix>/<key>``."""
    return {f"{prefix}/{key}": value for key, value in arrays.items()}


def store_labels(labels: Tensor) -> Arrays:
    """The classes of the test images ``[N]``."""
    return under(TEST, {"labels": labels.numpy().astype(np.uint8)})


def store_shift(name: str, axis: str, values: Sequence[float], labels: Tensor | None, predicted: Arrays) -> Arrays:
    """A shift's values ``[S]``, labels ``[N]`` if the images keep them, and what ``predict`` returned of all S * N images."""
    arrays: Arrays = {f"axis/{axis}": np.array(values)}
    if labels is not None:
        arrays["labels"] = labels.numpy().astype(np.uint8)
    return under(f"{_SHIFT}/{name}", arrays | predicted)


def read_labels(arrays: Arrays) -> np.ndarray:
    """The classes of the test images ``[N]``, int64."""
    return arrays[f"{TEST}/labels"].astype(np.int64)


def read_test(arrays: Arrays, index: np.ndarray | None = None) -> Predictions:
    """Predictions of the test images, or of those at the places ``index`` only."""
    if index is None:
        return decode(arrays, TEST)
    keys = [f"{TEST}/{key}" for key in (*STORED, OOD_SCORE)]
    return decode({key: arrays[key][index] for key in keys if key in arrays}, TEST)


def read_ood(arrays: Arrays) -> dict[str, Predictions]:
    """Predictions of each OOD set, by name, in the order in which they were stored."""
    return {name: decode(arrays, ood_prefix(name)) for name in _names(arrays, _OOD)}


@dataclass(frozen=True)
class StoredShift:
    """Predictions of the same N images at each of S values of a shift."""

    axis: str
    """Label of the values, with their unit."""
    values: list[float]
    """``[S]``."""
    predictions: Predictions
    """Of S * N images: all images at the first value first."""
    labels: np.ndarray | None
    """``[N]``. None if the shift changes the class."""


def read_shifts(arrays: Arrays) -> dict[str, StoredShift]:
    """Each shift, by name, in the order in which they were stored."""
    return {name: _read_shift(arrays, f"{_SHIFT}/{name}") for name in _names(arrays, _SHIFT)}


def _read_shift(arrays: Arrays, prefix: str) -> StoredShift:
    axis = next(key for key in arrays if key.startswith(f"{prefix}/axis/"))
    return StoredShift(
        axis=axis.removeprefix(f"{prefix}/axis/"),
        values=arrays[axis].tolist(),
        predictions=decode(arrays, prefix),
        labels=arrays.get(f"{prefix}/labels"),
    )


def _names(arrays: Arrays, group: str) -> list[str]:
    """Names of the sets of a group, in the order in which they were stored."""
    return list(dict.fromkeys(key.split("/")[1] for key in arrays if key.startswith(f"{group}/")))


@dataclass(frozen=True)
class StoredRegression:
    """The arrays of a regression on a line; see the module's docstring."""

    train_x: np.ndarray
    train_y: np.ndarray
    grid: np.ndarray
    truth: np.ndarray
    targets: np.ndarray
    outputs: np.ndarray
    noise: float

    def arrays(self) -> Arrays:
        """What is stored, by key."""
        return {
            "train/x": self.train_x,
            "train/y": self.train_y,
            "grid/x": self.grid,
            "grid/truth": self.truth,
            "grid/targets": self.targets.astype(np.float32),
            "grid/outputs": self.outputs,
            "noise": np.array(self.noise),
        }

    @staticmethod
    def read(arrays: Arrays) -> "StoredRegression":
        """The reverse of ``arrays``; everything on the grid is float64."""
        return StoredRegression(
            train_x=arrays["train/x"],
            train_y=arrays["train/y"],
            grid=arrays["grid/x"].astype(np.float64),
            truth=arrays["grid/truth"].astype(np.float64),
            targets=arrays["grid/targets"].astype(np.float64),
            outputs=arrays["grid/outputs"].astype(np.float64),
            noise=float(arrays["noise"]),
        )
