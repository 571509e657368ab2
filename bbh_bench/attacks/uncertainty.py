"""Attacks on the uncertainty itself: OOD images that look certain, and test images that look uncertain.

Feng et al. 2024, "Attacking Bayes: on the adversarial robustness of Bayesian neural networks", arXiv 2404.19640.
Images are perturbed within L-infinity balls, as for the attacks on accuracy. The attack is projected gradient descent on the
entropy of the mean probabilities. Its networks are sampled again at every step (expectation over transformation: Athalye et
al. 2018, arXiv 1802.00420), which finds the same images as four times as many frozen networks, at a quarter of the cost.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bbh_bench.api import Arrays, Posterior, PredictFn, Stage
from bbh_bench.attacks.ball import projected, random_points, scaled
from bbh_bench.attacks.context import AttackContext
from bbh_bench.attacks.passes import PassCounter
from bbh_bench.attacks.stored_uncertainty import ATTACK, CLEAN, TEST, attacked_arrays
from bbh_bench.data import stratified
from bbh_bench.evaluation.predictive import chunk_size, log_mean_softmax, predict

FIRST_STEP = 0.5
"""Size of the first step, relative to epsilon. The sizes decrease linearly to zero."""
DECAY = 0.75
"""Factor of earlier gradients at each step. Their sum, each divided by its own size, has less noise than that of one sample of
networks (momentum: Dong et al. 2018, arXiv 1710.06081)."""
HIGH, LOW = 1.0, -1.0
"""Whether an image is to look uncertain or certain."""
SMALL = 1e-4
"""Below it, log(1 + s) / s is replaced by the first terms of its series."""


@dataclass(frozen=True)
class UncertaintyAttack:
    """Settings of the attack: OOD images towards low entropy, test images towards high entropy, in L-infinity."""

    epsilons: tuple[float, ...]
    """Positive and increasing, in units of pixel values."""
    images: int
    """Number of test images, stratified by class, and of images of each OOD set; all if there are fewer."""
    ood: tuple[str, ...] | None = None
    """Names of the OOD sets that are attacked. None: all."""
    steps: int = 15
    """Gradient steps at each epsilon."""
    samples: int = 16
    """Networks that the attacker samples for each step, and networks by which it chooses the best of its images."""
    restarts: int = 1
    """Runs at each epsilon. The first starts from the best image of the previous epsilon, the others from random points."""
    version: int = 1
    """Raise it when the same posterior could get other scores."""

    def chosen(self, ood: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The images ``[N, ...]`` of the OOD sets that are attacked, by name. Raises ``KeyError`` for an unknown name."""
        return dict(ood) if self.ood is None else {name: ood[name] for name in self.ood}


def attacked(
    context: AttackContext, posterior: Posterior, ood: Mapping[str, Tensor], settings: UncertaintyAttack, stage: Stage
) -> Arrays:
    """The stored arrays of the attack; ``ood`` are the images of the OOD sets by name, on the CPU.

    All images, with and without perturbation, are evaluated on the same fresh samples: entropies of two sets of samples must
    not be compared, since samples of few networks shift the entropies of all images together. The posterior must pass
    ``evaluate.gradients_reach_inputs``.
    """
    clean = {TEST: (context.x, stratified(context.y, settings.images))}
    for name, images in settings.chosen(ood).items():
        clean[f"ood/{name}"] = images, stratified(torch.zeros(len(images)), settings.images)
    sets = {name: images[index] for name, (images, index) in clean.items()}
    towards = torch.cat([torch.full((len(images),), HIGH if name == TEST else LOW) for name, images in sets.items()])
    with stage(f"attack/{ATTACK}", images=len(towards)):
        counter, together = PassCounter(), torch.cat(list(sets.values()))
        found = change_entropy(posterior, together, towards, settings, context.bounds, context.device, counter)
        stage.count(ATTACK, counter.forward, counter.backward, len(towards))
    parts = [images.split([len(images) for images in sets.values()]) for images in found]
    perturbed = {name: [part[k] for part in parts] for k, name in enumerate(sets)}
    with stage(f"evaluate/{ATTACK}", images=sum(map(len, sets.values())) * (1 + len(settings.epsilons))):
        networks = posterior.sample(context.samples)
        predictions = {
            name: [predict(networks, x, context.device, context.classes) for x in (images, *perturbed[name])]
            for name, images in sets.items()
        }
    index = {name: chosen for name, (_, chosen) in clean.items()}
    return attacked_arrays((CLEAN, *settings.epsilons), index, predictions)


def change_entropy(
    posterior: Posterior,
    x: Tensor,
    towards: Tensor,
    settings: UncertaintyAttack,
    bounds: tuple[float, float],
    device: torch.device,
    counter: PassCounter | None = None,
) -> list[Tensor]:
    """Images whose predictive entropy is as high or as low as the attack makes it.

    ``towards`` ``[N]`` is ``HIGH`` or ``LOW`` for each image; all images get the same networks at each step. ``x`` ``[N, ...]``
    are on the CPU, and so are the results, one ``[N, ...]`` for each epsilon. They are within the L-infinity
    ball and the bounds. The entropies of an image at increasing epsilons are monotone for the networks by which the attacker
    chooses. These are sampled once and never attacked. ``counter`` counts the passes.
    """
    counter = counter or PassCounter()

    def sample() -> PredictFn:
        return counter.counted(posterior.sample(settings.samples))

    search = _Search(sample, x.to(device), towards.to(device), settings.steps, bounds)
    found, previous = [], 0.0
    for epsilon in settings.epsilons:
        if previous:
            search.keep_best(search.rescaled(epsilon / previous))
        for run in range(settings.restarts):
            search.run(epsilon, from_best=run == 0)
        found.append(search.best.cpu().clone())  # the best images change in place
        previous = epsilon
    return found


def log_entropy(log_probs: Tensor) -> Tensor:
    """Logarithm of the entropy in nats ``[N]`` of log-probabilities ``[N, K]``, K of at least 2, which need not be normalised.

    Computed from the log odds d of each class against the most probable one: H is the sum over the other classes of
    exp(d) (log(Z) / (Z - 1) - d / Z), where Z is 1 plus the sum of their exp(d). No term is negative, and the sum is taken in
    logarithms. The gradient therefore stays exact where the entropy itself has none in float32, since the largest probability
    rounds to 1.
    """
    top = log_probs.argmax(1, keepdim=True)
    classes = torch.arange(log_probs.shape[1], device=log_probs.device)
    others = classes.expand_as(log_probs)[classes != top].view(len(log_probs), -1)
    odds = log_probs.gather(1, others) - log_probs.gather(1, top)
    rest = odds.exp().sum(1, keepdim=True)
    ratio = torch.where(rest > SMALL, rest.log1p() / rest.clamp_min(SMALL), 1 - rest / 2)
    return (odds + (ratio - odds / (1 + rest)).log()).logsumexp(1)


class _Search:
    """The best images so far, ``[N, ...]`` on the attacked device, and the steps that improve them."""

    def __init__(
        self, sample: Callable[[], PredictFn], x: Tensor, towards: Tensor, steps: int, bounds: tuple[float, float]
    ) -> None:
        self.best = x.clone()
        self._sample = sample
        self._clean = x
        self._towards = towards
        self._steps = steps
        self._bounds = bounds
        self._chooser = sample()
        self._value = self._values(x)

    def run(self, epsilon: float, from_best: bool) -> None:
        """Take all steps at one epsilon. All images of a step get the same networks."""
        images = self.best.clone() if from_best else random_points(self._clean, epsilon, "linf", self._bounds)
        total = torch.zeros_like(images)
        direction = self._towards.view(-1, *[1] * (images.dim() - 1))
        for step in range(self._steps):
            networks = self._sample()
            size = FIRST_STEP * epsilon * (1 - step / self._steps)
            total = DECAY * total + torch.cat([_gradient(networks, part) for part in self._chunks(images)])
            images = images + size * direction * total.sign()
            images = projected(images, self._clean, epsilon, "linf", self._bounds)
        self.keep_best(images)

    def rescaled(self, factor: float) -> Tensor:
        """The best images with ``factor`` times their perturbations, clipped to the bounds."""
        return scaled(
            self._clean, self.best, torch.full((len(self.best),), factor, device=self.best.device), self._bounds
        )

    def keep_best(self, images: Tensor) -> None:
        """Replace the images that the attacker's independent networks find worse."""
        value = self._values(images)
        better = value > self._value
        self.best[better] = images[better]
        self._value = torch.where(better, value, self._value)

    def _chunks(self, images: Tensor) -> Iterator[Tensor]:
        return iter(images.split(chunk_size(images.device, images)))

    @torch.no_grad()
    def _values(self, images: Tensor) -> Tensor:
        values = [log_entropy(log_mean_softmax(self._chooser(part.clone()))) for part in self._chunks(images)]
        return self._towards * torch.cat(values)


def _gradient(networks: PredictFn, images: Tensor) -> Tensor:
    """Of the log entropy, divided by the mean of its absolute values in each image."""
    with torch.enable_grad():
        leaf = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(log_entropy(log_mean_softmax(networks(leaf))).sum(), leaf)
    size = gradient.abs().flatten(1).mean(1).clamp_min(torch.finfo(gradient.dtype).tiny)
    return gradient / size.view(-1, *[1] * (images.dim() - 1))
