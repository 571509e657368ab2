"""What a method may use: training data, a network, a likelihood and a budget; and how a long fit is saved."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bbh_bench.errors import ContractError


class Likelihood(Protocol):
    """How well outputs explain targets. Write it as a frozen dataclass."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Outputs ``[B, K]`` and targets ``[B]`` -> mean negative log-likelihood of the batch, a scalar, in nats."""
        ...


@dataclass(frozen=True)
class Categorical:
    """Classification: outputs are logits ``[B, K]``, targets are class indices ``[B]``."""

    classes: int

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy, averaged over the batch."""
        return F.cross_entropy(outputs, targets)


@dataclass(frozen=True)
class Gaussian:
    """Regression with normal noise of known standard deviation: outputs are means ``[B, 1]``, targets are ``[B]``."""

    std: float

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Negative log-density, including its constant, averaged over the batch."""
        error = (targets - outputs.squeeze(-1)) / self.std
        return error.square().mean() / 2 + math.log(self.std * math.sqrt(2 * math.pi))


@runtime_checkable
class Stateful(Protocol):
    """Something whose state can be saved: a module, an optimiser, ``Batches``, or an object of your own.

    The state consists of tensors, numbers, strings, None, and dicts, lists and tuples of these. Nothing else is loaded.
    """

    def state_dict(self) -> Any:
        """The state. It may share memory with the object: it is written before the fit goes on."""
        ...

    def load_state_dict(self, state_dict: Any) -> object:
        """Go back to a state. Copy its tensors: they are on the CPU, and in a file that is closed afterwards."""
        ...


class Augmentation(Protocol):
    """Changes training examples at random. Write it as a frozen dataclass with name and version: its fields are recorded."""

    def __call__(self, originals: Tensor) -> Tensor:
        """Stored examples ``[B, ...]`` -> inputs ``[B, ...]`` of the network, with torch's global random generator."""
        ...


@dataclass(frozen=True)
class Augmented:
    """Training examples as they are stored, and how inputs are computed from them, for every batch again."""

    originals: Tensor
    """Examples ``[N, ...]``, in the order of ``Problem.x`` and on the same device."""
    augmentation: Augmentation

    def __call__(self, index: Tensor) -> Tensor:
        """Inputs ``[B, ...]`` from the examples at the indices ``[B]``."""
        return self.augmentation(self.originals[index])


SaveIfDue: TypeAlias = Callable[[], None]
"""Saves a checkpoint if the last one is old enough. Call it after every step."""
OpenCheckpoint: TypeAlias = Callable[[Mapping[str, Stateful]], AbstractContextManager[SaveIfDue]]


@contextmanager
def no_checkpoint(state: Mapping[str, Stateful]) -> Iterator[SaveIfDue]:
    """Save nothing: the checkpoint of a run without ``--checkpoints``."""
    yield lambda: None


class Batches(Iterator[tuple[Tensor, Tensor]]):
    """The batches of a whole budget, in a new random order every epoch. Its position is a state that can be saved."""

    def __init__(self, x: Tensor, y: Tensor, epochs: int, batch_size: int, augmented: Augmented | None = None) -> None:
        self.step = 0
        """Number of batches that were taken."""
        self._x, self._y = x, y
        self._inputs: Callable[[Tensor], Tensor] = augmented or x.__getitem__
        self._size = batch_size
        self._per_epoch = -(-len(x) // batch_size)
        self._steps = epochs * self._per_epoch
        self._order = torch.empty(0, dtype=torch.int64)
        """Of the examples in the current epoch, ``[N]``."""

    def __next__(self) -> tuple[Tensor, Tensor]:
        """Inputs ``[B, ...]`` and targets ``[B]``. The order of an epoch is drawn when its first batch is taken."""
        if self.step >= self._steps:
            raise StopIteration
        position = self.step % self._per_epoch
        if position == 0:
            self._order = torch.randperm(len(self._x), device=self._x.device)
        self.step += 1
        index = self._order[position * self._size : (position + 1) * self._size]
        return self._inputs(index), self._y[index]

    def state_dict(self) -> dict[str, Any]:
        """The position, and the order of the current epoch."""
        return {"step": self.step, "order": self._order}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to a position."""
        self.step = state_dict["step"]
        self._order = state_dict["order"].to(self._x.device, copy=True)


def _no_progress(fraction: float, loss: float) -> None:
    pass


@dataclass(frozen=True)
class Problem:
    """Everything that a method may use: training data, an architecture, a likelihood and a budget. No test data."""

    x: Tensor
    """Training inputs ``[N, ...]``, on the device that the method should use.

    They are prepared as the inputs of a prediction are. ``batches`` may change them at random.
    """
    y: Tensor
    """Training targets ``[N]``, on the same device."""
    network: Callable[[], nn.Module]
    """Builds a new network on that device, initialised with torch's global random generator.

    A module of standard layers. ``nn.Dropout(p=0)`` marks the places where a method may drop units.
    """
    likelihood: Likelihood
    epochs: int
    batch_size: int
    progress: Callable[[float, float], None] = _no_progress
    """``progress(fraction, loss)`` reports the completed fraction of ``fit``, in [0, 1], and the current loss."""
    checkpoint: OpenCheckpoint = no_checkpoint
    """``with problem.checkpoint({"network": network, "optimiser": optimiser, "batches": batches}) as save_if_due:``

    Entered around a training loop, it restores the state of each named object (and of all random generators) if an earlier
    process was stopped in this loop. ``save_if_due()`` saves them when it is time. ``minimise`` does both. Since ``batches``
    continue where they were, the loop needs no change; of a finished loop no batch remains. A ``fit`` may have several such
    loops, one after the other: the code before and between them runs again.
    """
    augmented: Augmented | None = None
    """If given, ``batches`` compute their inputs from these stored examples, not from ``x``."""
    prior_scale: float | None = None
    """If given, the task states the prior: normal with this standard deviation, on every weight and bias.

    A method then uses it in place of its own. It makes the posteriors of all methods approximations of the same one.
    """

    def __post_init__(self) -> None:
        """Raises ``ContractError`` if ``x``, ``y`` and the stored examples differ in number."""
        counts = [len(self.x), len(self.y)] + ([] if self.augmented is None else [len(self.augmented.originals)])
        if len(set(counts)) > 1:
            raise ContractError(f"a problem has as many inputs as targets and stored examples; these are {counts}.")

    @property
    def steps(self) -> int:
        """Number of batches that one call of ``batches`` yields."""
        return self.epochs * -(-len(self.x) // self.batch_size)

    def prior_scale_or(self, own: float) -> float:
        """Standard deviation of the prior: the task's if it states one, otherwise the method's own."""
        return own if self.prior_scale is None else self.prior_scale

    def batches(self) -> Batches:
        """The whole budget, in a new random order every epoch. An ensemble iterates over it once per member."""
        return Batches(self.x, self.y, self.epochs, self.batch_size, self.augmented)
