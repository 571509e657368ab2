"""The threat model: what an attacker knows and may do to an image, and the check that no attack did more.

White box, of which an attack may use less; the attacker has the posterior and draws networks from it, but not the draws by
which the attack is judged. Perturbations are made in pixel space, within the attack's norm, clipped to the data's bounds.
What Foolbox returns is checked, not trusted.
"""

from typing import Any

import torch
from torch import Tensor, nn

from bbh_bench.api import Attack, Predict
from bbh_bench.errors import ContractError
from bbh_bench.predictive import chunk_size, log_mean_softmax

TOLERANCE = 1e-5  # float32 rounding of a sum and a difference of pixels in [0, 1]


class _Predictive(nn.Module):
    """Frozen networks as one classifier: its logits are the log mean probabilities ``[B, K]``.

    Foolbox's cross-entropy is then the negative log-likelihood of the predictive itself.
    """

    def __init__(self, networks: Predict) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, x: Tensor) -> Tensor:
        return log_mean_softmax(self.networks(x))


def craft(
    attack: Attack, networks: Predict, x: Tensor, y: Tensor, bounds: tuple[float, float], device: torch.device
) -> list[Tensor]:
    """Attack images ``x`` ``[N, ...]`` of classes ``y`` ``[N]``: one tensor of the same shape for each epsilon.

    Raises ``ContractError`` where what comes back has another shape, isn't finite, leaves the bounds, or is farther from
    ``x`` than epsilon.
    """
    import foolbox  # noqa: PLC0415

    model = foolbox.PyTorchModel(_Predictive(networks).eval(), bounds=bounds, device=device)
    model.networks = networks  # for an attack that looks at single draws
    run: Any = attack.foolbox()
    positive = [epsilon for epsilon in attack.epsilons if epsilon > 0]
    parts: list[list[Tensor]] = []
    size = chunk_size(device)
    for images, labels in zip(x.split(size), y.split(size), strict=True):
        images, labels = images.to(device, copy=True), labels.to(device)  # noqa: PLW2901
        _, clipped, _ = run(model, images, labels, epsilons=positive)
        for epsilon, adversarial in zip(positive, clipped, strict=True):
            verify(attack, images, adversarial, epsilon, bounds)
        parts.append([image.detach().cpu() for image in clipped])
    crafted = iter([torch.cat(part) for part in zip(*parts, strict=True)])
    return [next(crafted) if epsilon > 0 else x for epsilon in attack.epsilons]


def distance(a: Tensor, b: Tensor, norm: str) -> Tensor:
    """Distance between images ``[N, ...]`` in the norm ``linf`` or ``l2``, ``[N]``, in units of the pixels."""
    return (a - b).flatten(1).norm(p=float("inf") if norm == "linf" else 2.0, dim=1)


def verify(attack: Attack, clean: Tensor, adversarial: Tensor, epsilon: float, bounds: tuple[float, float]) -> None:
    """Raise ``ContractError`` unless ``adversarial`` obeys the threat model."""
    if adversarial.shape != clean.shape or not adversarial.isfinite().all():
        raise ContractError(
            f"attack '{attack.name}' returned images of another shape or with values that aren't finite."
        )
    low, high = adversarial.min().item(), adversarial.max().item()
    if low < bounds[0] - TOLERANCE or high > bounds[1] + TOLERANCE:
        raise ContractError(f"attack '{attack.name}' returned pixels in [{low}, {high}], outside {list(bounds)}.")
    farthest = distance(adversarial, clean, attack.norm).max().item()
    if farthest > epsilon + TOLERANCE:
        raise ContractError(
            f"attack '{attack.name}' returned an image at {attack.norm} distance {farthest}, beyond epsilon {epsilon}."
        )
