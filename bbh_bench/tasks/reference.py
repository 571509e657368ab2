"""Reference predictives: the predictive distribution of the exact posterior, which a task ships as arrays.

They were sampled by Hamiltonian Monte Carlo with many chains (``plugins/bbh-bench-hmc``). The description beside the arrays
has the sampler's settings, its diagnostics and the *floor*: the total variation between the predictive distributions of two
halves of the chains. A smaller difference from the reference means nothing.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from bbh_bench.errors import DataError


@dataclass(frozen=True)
class Reference:
    """A file of arrays in the package, recognised by its digest."""

    name: str
    """The file is ``references/<name>.npz``, its description ``references/<name>.json``."""
    digest: str
    """SHA-256 of the arrays' file."""
    floor: Mapping[str, float]
    """Total variation between two halves of the chains, by the name of the set."""

    def load(self) -> dict[str, np.ndarray]:
        """The arrays, float64, see ``evaluation.fidelity``. Raises ``DataError`` if the file is not the released one."""
        content = self._file("npz")
        if hashlib.sha256(content).hexdigest() != self.digest:
            raise DataError(
                f"the reference predictive '{self.name}' of the installed package is not the one that was released. "
                "Install bbh-bench again."
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name].astype(np.float64) for name in arrays.files}

    def floors(self) -> dict[str, float]:
        """Scores that are the same for every method: ``<set>/total_variation_floor``."""
        return {f"{name}/total_variation_floor": value for name, value in self.floor.items()}

    def description(self) -> Any:
        """The sampler's settings and diagnostics, as JSON values. Raises ``DataError`` if they are missing."""
        return json.loads(self._file("json"))

    def _file(self, ending: str) -> bytes:
        try:
            return (files("bbh_bench.tasks") / "references" / f"{self.name}.{ending}").read_bytes()
        except FileNotFoundError:
            raise DataError(
                f"the installed package has no file references/{self.name}.{ending}. Install bbh-bench again."
            ) from None


def stated_prior(scale: float | None) -> dict[str, object]:
    """What a task's description says of the prior: nothing if it states none, so that its fingerprint has no such key."""
    return {} if scale is None else {"prior": f"normal, standard deviation {scale:g}, on every weight and bias"}


def stated_reference(reference: Reference | None) -> dict[str, object]:
    """What a task's description says of its reference predictive: nothing if there is none."""
    if reference is None:
        return {}
    return {"reference": {"name": reference.name, "digest": reference.digest, "floor": dict(reference.floor)}}
