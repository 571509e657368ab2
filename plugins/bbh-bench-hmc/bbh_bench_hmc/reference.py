"""Samples the reference predictive of a task, and says how accurate it is.

``python -m bbh_bench_hmc.reference TASK --to FOLDER`` writes ``TASK.npz``, the arrays that ``bbh_bench.evaluation.fidelity``
compares with, and ``TASK.json``, the sampler's settings and diagnostics. With ``--sampler nutpie``, another sampler with other
code for the density: the check that both agree.
"""

import argparse
import hashlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from blackjax.diagnostics import ess_bulk, rhat

from bbh_bench.api import Problem
from bbh_bench.data import data_folder
from bbh_bench.errors import ContractError
from bbh_bench.evaluation.fidelity import total_variation
from bbh_bench.plugins import load_plugins
from bbh_bench.tasks.classification import LoadedClassification
from bbh_bench.tasks.regression import LoadedRegression
from bbh_bench_hmc import Hmc
from bbh_bench_hmc.independent import Nuts, sample_with_nuts
from bbh_bench_hmc.posterior import sample_weights
from bbh_bench_hmc.predictive import Draws, Predictive, of_classification, of_regression

HMC = Hmc(chains=20, warmup=500, draws=2500, leapfrog=64)
"""So many draws that the floor is below 0.005 on OOD images too, where networks differ most."""
NUTS = Nuts(chains=4, warmup=300, draws=500)
SEED = 0


@dataclass(frozen=True)
class Sampled:
    """Predictive distributions of all chains, and how they were sampled."""

    predictive: Predictive
    settings: dict[str, object]
    seconds: float


def sample(problem: Problem, predict: Callable[[Draws], Predictive], sampler: str) -> Sampled:
    """Sample with ``hmc``, blackjax on the translated network, or ``nutpie``, NUTS on torch's own network in float64."""
    torch.manual_seed(SEED)
    start = time.perf_counter()
    if sampler == "hmc":
        draws = Draws(*sample_weights(HMC, problem))
        settings = {"sampler": f"blackjax {version('blackjax')}, HMC", **asdict(HMC)}
    else:
        draws = Draws(*sample_with_nuts(NUTS, problem, SEED))
        settings = {"sampler": f"nutpie {version('nutpie')}, NUTS", **asdict(NUTS)}
    seconds = time.perf_counter() - start
    settings |= {"prior_scale": problem.prior_scale_or(HMC.prior_scale), "seed": SEED}
    return Sampled(predict(draws), settings, seconds)


def diagnostics(predictive: Predictive) -> dict[str, object]:
    """Convergence of predictive quantities, of some inputs of every set, and the floor of every set.

    The largest rank-normalised split R-hat and the smallest bulk effective sample size (Vehtari et al. 2021, arXiv 1903.08008);
    the floor is the total variation between the predictive distributions of the two halves of the chains.
    """
    r_hats = {name: float(np.nanmax(rhat(values))) for name, values in predictive.traces.items()}
    sizes = {name: float(np.nanmin(ess_bulk(values))) for name, values in predictive.traces.items()}
    half = len(next(iter(predictive.by_chain.values()))) // 2
    floor = {
        name: total_variation(chains[:half].mean(0), chains[half:].mean(0))
        for name, chains in predictive.by_chain.items()
    }
    return {"r_hat_max": r_hats, "effective_sample_size_min": sizes, "total_variation_between_halves": floor}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("task")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--sampler", choices=["hmc", "nutpie"], default="hmc")
    options = parser.parse_args()
    loaded = load_plugins().tasks[options.task].load(data_folder(None))
    problem = loaded.problem(torch.device("cpu"))
    match loaded:
        case LoadedClassification():
            sampled = sample(problem, lambda draws: of_classification(draws, loaded), options.sampler)
        case LoadedRegression():
            sampled = sample(problem, lambda draws: of_regression(draws, loaded), options.sampler)
        case _:
            raise ContractError(f"the task '{options.task}' is neither a ClassificationTask nor a RegressionTask.")
    name = options.task if options.sampler == "hmc" else f"{options.task}-{options.sampler}"
    write(sampled, options.to, name)


def write(sampled: Sampled, folder: Path, name: str) -> None:
    """The arrays and their description."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{key: array.astype(np.float32) for key, array in sampled.predictive.arrays().items()})
    content = buffer.getvalue()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.npz").write_bytes(content)
    description = {
        "digest": hashlib.sha256(content).hexdigest(),
        "settings": sampled.settings,
        "seconds": round(sampled.seconds),
        "diagnostics": diagnostics(sampled.predictive),
        "versions": {package: version(package) for package in ("jax", "torch", "numpy")},
    }
    (folder / f"{name}.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(description, indent=2))


if __name__ == "__main__":
    main()
