"""A method's own OOD scores of images, for the methods that have them, in bounded memory."""

import numpy as np
import torch
from torch import Tensor

from bbh_bench.api import Arrays, OodDetector
from bbh_bench.errors import ContractError
from bbh_bench.evaluation.predictive import OOD_SCORE, chunk_size


@torch.no_grad()
def scored(detector: OodDetector, x: Tensor, device: torch.device) -> Arrays:
    """Score the inputs ``x`` ``[N, ...]``. Returns ``ood_score`` ``[N]``, float32, whose range half precision does not have.

    Raises ``ContractError`` if the scores of a batch of B inputs do not have the shape ``[B]``, or are not finite in float32.
    """
    scores = []
    for part in x.split(chunk_size(device, x)):
        score = detector.ood_score(part.to(device, copy=True))  # a method may change its copy
        check_scores(score, len(part))
        scores.append(score.float().cpu())
    return {OOD_SCORE: torch.cat(scores).numpy().astype(np.float32)}


def check_scores(score: object, inputs: int) -> None:
    """Raise ``ContractError`` unless ``score`` is a tensor ``[inputs]`` of numbers that are finite in float32."""
    if not isinstance(score, Tensor) or list(score.shape) != [inputs]:
        shape = f"the shape {list(score.shape)}" if isinstance(score, Tensor) else f"a {type(score).__name__}"
        raise ContractError(
            f"ood_score returned {shape} for {inputs} inputs; it must be a tensor [{inputs}]: one score for each."
        )
    bad = int((~score.float().isfinite()).sum())
    if bad:
        raise ContractError(f"ood_score returned values that are not finite in float32 for {bad} of {inputs} inputs.")
