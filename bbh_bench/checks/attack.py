"""Tests of the contract of an attack: call ``check_attack(yours)`` in a test of your plugin."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bbh_bench.api import Attack, AttackAlgorithm, Norm, PredictFn, Problem, RunAttack
from bbh_bench.attacks.auditing import stronger_variants
from bbh_bench.attacks.ball import projected, scaled
from bbh_bench.attacks.losses import log_odds_against
from bbh_bench.attacks.networks import AttackerNetworks, unknown_to_defender
from bbh_bench.attacks.threat_model import AdversarialExamples, craft
from bbh_bench.checks.small_problems import quick_posterior, small_problem
from bbh_bench.checks.tools import advice, require
from bbh_bench.contracts import check_object
from bbh_bench.errors import ContractError, text
from bbh_bench.evaluation.predictive import log_mean_softmax
from bbh_bench.inference.weights import WeightPosterior
from bbh_bench.running.settings import TorchSettings, settings_restored
from bbh_bench.running.stages import seed_everything

CPU = torch.device("cpu")
BOUNDS = (0.0, 1.0)
LARGE: Mapping[Norm, float] = {"linf": 0.4, "l2": 2.0}
"""A size at which attacks succeed on the small problem; tried beside the attack's own epsilons."""
STEPS, NETWORKS = 240, 8
DRAWS = 20
"""Of noise, with which the attack is compared."""
SMALLER = 0.5
"""Share of a smallest perturbation that should not change the class."""


def check_attack(attack: Attack) -> None:
    """Attack a small trained network, and raise ``AssertionError`` with advice if the attack breaks its contract.

    Perturbations obey norm, epsilons and bounds; they harm at least as much as noise; the same seed gives the same images; and
    model, inputs and settings stay as they are. An attack that minimises finds small perturbations, and stronger variants run.
    """
    _check_definition(attack)
    problem = small_problem()
    with settings_restored():
        seed_everything(0, "fit")
        posterior = quick_posterior(problem, STEPS, NETWORKS)
        attacked = _surrogate(attack, problem) or posterior
        largest = max(*attack.epsilons, LARGE[attack.norm])
        wider = replace(attack, epsilons=tuple(sorted({*attack.epsilons, largest})))
        crafted = _check_run(wider, attacked, problem)
        if attack.algorithm.minimises:
            _check_smallest(attack, attacked, problem, crafted)
        _check_strength(wider, posterior, problem, crafted)
        if attack.algorithm.checks:
            _check_goes_on(wider, posterior, problem, crafted)
        _check_stronger(attack, attacked, problem)


def _check_definition(attack: Attack) -> None:
    try:
        check_object("attack", attack)
    except ContractError as error:
        raise AssertionError(str(error)) from error
    epsilons = list(attack.epsilons)
    require(
        epsilons == sorted(set(epsilons)) and epsilons[-1] > 0,
        f"the epsilons {epsilons} must increase, and the last one be positive; leave out those that occur twice.",
    )
    require(
        (attack.access == "transfer") == (attack.surrogate is not None),
        "an attack with access='transfer' needs a `surrogate`, the method whose networks it attacks; others have none.",
    )
    line = attack.description
    require(
        line.strip() and not line.startswith(f"{type(attack.algorithm).__name__}("),
        f"the class {type(attack.algorithm).__name__} has no docstring; its first line describes the attack on the board.",
    )


def _surrogate(attack: Attack, problem: Problem) -> Any:
    if attack.surrogate is None:
        return None
    with advice("the fit of the surrogate"):
        return attack.surrogate.fit(problem)


def _check_run(attack: Attack, posterior: Any, problem: Problem) -> AdversarialExamples:
    """The images of the attack at its epsilons, crafted twice."""
    watched = replace(attack, algorithm=_Watching(attack.algorithm))
    seed_everything(0, "model")
    networks = unknown_to_defender(posterior, attack)
    before, settings = networks(problem.x).detach(), TorchSettings.current()
    first = _crafted(watched, networks, problem)
    require(
        TorchSettings.current() == settings,
        "the attack leaves other settings of torch than it found; use torch.enable_grad() as a context, and set nothing "
        "globally.",
    )
    after = networks(problem.x).detach()
    require(after.equal(before), "the attack changed the network that it attacks; it may call the model only.")
    second = _crafted(watched, networks, problem)
    same = all(a.equal(b) for a, b in zip(_images(first), _images(second), strict=True))
    require(
        same,
        "the same seed gave other images; use torch's or NumPy's global random generator only, and keep nothing between calls.",
    )
    return first


def _crafted(attack: Attack, networks: AttackerNetworks, problem: Problem, starts: Any = None) -> AdversarialExamples:
    seed_everything(0, "attack")
    try:
        with _without_gradients(attack, networks) as seen:
            return craft(attack, seen, problem.x, problem.y, BOUNDS, CPU, starts)
    except ContractError as error:
        raise AssertionError(
            f"{text(error)} End the algorithm with bbh_bench.attacks.ball.projected(images, clean, epsilon, norm, bounds), and "
            "give one tensor for each epsilon, in their order."
        ) from error
    except AssertionError:
        raise
    except (Exception, SystemExit) as error:
        raise AssertionError(_explained(attack, error)) from error


def _explained(attack: Attack, error: BaseException) -> str:
    what = f"the attack raised {type(error).__name__}: {text(error)}."
    if attack.access == "black" and "grad" in text(error):
        return f"{what} With access='black' it gets no gradients; set access='white', or use predictions only."
    return f"{what} It is called as run(model, inputs, labels, epsilons=[...]); see bbh_bench.api.RunAttack."


@contextmanager
def _without_gradients(attack: Attack, networks: AttackerNetworks) -> Iterator[AttackerNetworks]:
    """The networks as the attack may use them: a black box gives outputs without gradients."""
    if attack.access != "black":
        yield networks
        return

    def detached(each: PredictFn) -> PredictFn:
        return lambda x: each(x.detach()).detach()

    yield AttackerNetworks(tuple(map(detached, networks.groups)), detached(networks.check))


def _images(crafted: AdversarialExamples) -> list[Tensor]:
    return [*crafted.images, *([] if crafted.smallest is None else [crafted.smallest])]


def _loss(networks: PredictFn, images: Tensor, labels: Tensor) -> float:
    """Mean log odds against the label: they do not saturate where all images are classified correctly."""
    with torch.no_grad():
        return float(log_odds_against(log_mean_softmax(networks(images)), labels).mean())


def _check_strength(attack: Attack, posterior: WeightPosterior, problem: Problem, crafted: AdversarialExamples) -> None:
    """At the largest epsilon, on fresh samples."""
    seed_everything(0, "fresh samples")
    networks, epsilon = posterior.sample(NETWORKS), attack.epsilons[-1]
    noise = [_loss(networks, _noise(problem.x, epsilon, attack.norm), problem.y) for _ in range(DRAWS)]
    loss = _loss(networks, crafted.images[-1], problem.y)
    require(
        loss >= min(noise),
        f"at epsilon {epsilon:g} the attack is weaker than noise: the log odds against the label are {loss:.2f}, with noise "
        f"{min(noise):.2f} or more. Does it increase the loss, and does it use all of epsilon?",
    )


def _noise(clean: Tensor, epsilon: float, norm: Norm) -> Tensor:
    """Noise of the size epsilon: random signs in L-infinity, a random direction in L2."""
    moved = torch.randn_like(clean)
    moved = moved.sign() if norm == "linf" else moved / moved.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return projected(clean + epsilon * moved, clean, epsilon, norm, BOUNDS)


def _check_smallest(attack: Attack, posterior: Any, problem: Problem, crafted: AdversarialExamples) -> None:
    smallest = crafted.smallest
    if smallest is None:
        raise AssertionError("the attack minimises, but found no smallest perturbation.")
    seed_everything(0, "model")
    networks = unknown_to_defender(posterior, attack)
    changed = _misclassified(networks, smallest, problem.y)
    share = changed.float().mean().item()
    require(
        share > 0.5,
        f"`minimises` is True, but only {share:.0%} of the perturbations that it found change the class; without an epsilon "
        "it must go on until they do. Is it called with epsilons=[None]?",
    )
    smaller = scaled(problem.x, smallest, torch.full((len(smallest),), SMALLER), BOUNDS)
    early = (_misclassified(networks, smaller, problem.y) & changed).sum().item() / changed.sum().item()
    require(
        early < 0.5,
        f"`minimises` is True, but for {early:.0%} of the images half of the perturbation changes the class as well: it is not "
        "the smallest. Stop at the decision boundary, or let `minimises` be False.",
    )


def _misclassified(networks: PredictFn, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return log_mean_softmax(networks(images)).argmax(-1) != labels


def _check_goes_on(attack: Attack, posterior: WeightPosterior, problem: Problem, crafted: AdversarialExamples) -> None:
    """An algorithm with ``checks`` attacks known networks from where it ended on unknown ones."""
    seed_everything(0, "known networks")
    known = AttackerNetworks.of(posterior.sample(NETWORKS))
    starts = list(crafted.images)
    again = _crafted(attack, known, problem, starts)
    before, after = _loss(known, starts[-1], problem.y), _loss(known, again.images[-1], problem.y)
    require(
        after >= before - 0.1 * abs(before),
        f"started from its own images, on known networks, the attack ended with log odds {after:.2f} against the label, from "
        f"{before:.2f}; keep the starting_points unless a better image is found.",
    )


def _check_stronger(attack: Attack, posterior: Any, problem: Problem) -> None:
    with advice("stronger()"):
        variants = attack.algorithm.stronger()
    require(
        isinstance(variants, Mapping) and all(isinstance(each, AttackAlgorithm) for each in variants.values()),
        "stronger() must return a mapping from what is increased to an AttackAlgorithm.",
    )
    for what, algorithm in variants.items():
        require(
            algorithm != attack.algorithm,
            f"the stronger variant '{what}' is the attack itself; increase something in it.",
        )
    if not variants:
        return
    for what, variant in stronger_variants(attack, attack.epsilons[-1]).items():
        seed_everything(0, "model")
        try:
            _crafted(variant, unknown_to_defender(posterior, variant), problem)
        except AssertionError as error:
            raise AssertionError(f"the stronger variant '{what}' does not run: {error}") from error


@dataclass(frozen=True)
class _Watching(AttackAlgorithm):
    """An algorithm as it is, with the check that it leaves images and labels as they are."""

    algorithm: AttackAlgorithm

    @property
    def minimises(self) -> bool:
        return self.algorithm.minimises

    @property
    def groups(self) -> int:
        return self.algorithm.groups

    @property
    def checks(self) -> int:
        return self.algorithm.checks

    def foolbox(self, norm: Norm) -> RunAttack:
        """The same attack, watched."""
        run = self.algorithm.foolbox(norm)

        def watched(model: Any, inputs: Tensor, labels: Tensor, **arguments: Any) -> Any:
            images, classes = inputs.clone(), labels.clone()
            returned = run(model, inputs, labels, **arguments)
            require(
                inputs.equal(images) and labels.equal(classes),
                "the attack changed its inputs or labels; work on inputs.clone().",
            )
            require(
                isinstance(returned, tuple) and len(returned) == 3 and isinstance(returned[1], Sequence),
                f"the attack returned {type(returned).__name__}; return (anything, list of images for each epsilon, anything).",
            )
            return returned

        return watched
