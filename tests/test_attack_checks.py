"""``check_attack``: every built-in attack passes, and each way to break the contract is named."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from bbh_bench.api import Attack, AttackAlgorithm
from bbh_bench.attacks.builtin import FGSM, PGD_LINF, TRANSFER
from bbh_bench.attacks.gradient import Fgsm, Pgd
from bbh_bench.attacks.minimum_norm import FastMinimumNorm
from bbh_bench.attacks.threat_model import craft
from bbh_bench.cli import main
from bbh_bench.errors import ContractError
from bbh_bench.methods.map import Map
from bbh_bench.plugins import load_plugins
from bbh_bench.testing import check_attack

ATTACKS = [
    attack for attack in load_plugins(external=False).attacks.values() if attack.name != "adaptive-linf"
]  # its algorithm is that of adaptive-l2, and it takes 20 s


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_built_in_attacks_keep_the_contract(attack):
    check_attack(attack)


def broken(fault, of=None, **changes):
    """FGSM with a fault: a function of the attack and of what an attack is called with. ``changes`` are of the algorithm."""
    base = of or Fgsm()

    @dataclass(frozen=True)
    class Broken(AttackAlgorithm):
        """An attack with a fault."""

        @property
        def minimises(self):
            return changes.get("minimises", base.minimises)

        @property
        def checks(self):
            return changes.get("checks", 0)

        def foolbox(self, norm):
            run = base.foolbox(norm)
            return lambda model, x, y, **arguments: fault(run, model, x, y, arguments)

        def stronger(self):
            return changes.get("stronger", {})

    return Attack("broken", 1, "linf", (0.05, 0.1), Broken(), samples=2)


def too_far(run, model, x, y, arguments):
    _, images, _ = run(model, x, y, **arguments)
    return None, [(x + 2 * (image - x)).clamp(0, 1) for image in images], None


def out_of_bounds(run, model, x, y, arguments):
    return None, [x + epsilon * torch.ones_like(x) for epsilon in arguments["epsilons"]], None


def forgets_an_epsilon(run, model, x, y, arguments):
    return None, run(model, x, y, **arguments)[1][:1], None


def does_nothing(run, model, x, y, arguments):
    return None, [x.clone() for _ in arguments["epsilons"]], None


def helps(run, model, x, y, arguments):
    """Decreases the loss."""
    _, images, _ = run(model, x, y, **arguments)
    return None, [(2 * x - image).clamp(0, 1) for image in images], None


def own_generator(run, model, x, y, arguments):
    random = torch.Generator().manual_seed(torch.seed() % 2**31)
    _, images, _ = run(model, x, y, **arguments)
    kept = torch.rand(x.shape, generator=random) < 0.9
    return None, [torch.where(kept, image, x) for image in images], None


def spoils_inputs(run, model, x, y, arguments):
    images = run(model, x, y, **arguments)[1]
    x.zero_()
    return None, images, None


def spoils_labels(run, model, x, y, arguments):
    images = run(model, x, y, **arguments)[1]
    y.zero_()
    return None, images, None


def leaves_gradients_off(run, model, x, y, arguments):
    result = run(model, x, y, **arguments)
    torch.set_grad_enabled(False)
    return result


def raises(run, model, x, y, arguments):
    raise KeyError("images")


def only_images(run, model, x, y, arguments):
    return run(model, x, y, **arguments)[1]


def loses_its_start(run, model, x, y, arguments):
    if arguments.pop("starting_points", None) is not None:
        return None, [x.clone() for _ in arguments["epsilons"]], None
    return run(model, x, y, **arguments)


def far_away(run, model, x, y, arguments):
    """Of another class, but ten times as far as it need be."""
    _, (smallest,), _ = run(model, x, y, **arguments)
    return None, [(x + 10 * (smallest - x)).clamp(0, 1)], None


FAULTS = {
    "beyond epsilon": (broken(too_far), r"beyond epsilon 0\.05\. End the algorithm with .*projected"),
    "out of bounds": (broken(out_of_bounds), r"returned pixels in .* outside \[0\.0, 1\.0\]"),
    "an epsilon is missing": (broken(forgets_an_epsilon), r"images for 1 epsilons instead of 3.* one tensor for each"),
    "not finite": (
        broken(lambda run, model, x, y, arguments: (None, [x / 0 for _ in arguments["epsilons"]], None)),
        "values that are not finite",
    ),
    "does nothing": (broken(does_nothing), r"at epsilon 0\.4 the attack is weaker than noise.*use all of epsilon"),
    "wrong sign": (broken(helps), r"weaker than noise: .* Does it increase the loss"),
    "own generator": (broken(own_generator), "the same seed gave other images; use torch's or NumPy's global"),
    "spoils inputs": (broken(spoils_inputs), r"changed its inputs or labels; work on inputs\.clone\(\)"),
    "spoils labels": (broken(spoils_labels), "changed its inputs or labels"),
    "settings": (broken(leaves_gradients_off), "leaves other settings of torch than it found"),
    "raises": (broken(raises), r"the attack raised KeyError: 'images'\. It is called as run\(model"),
    "no tuple": (broken(only_images), r"the attack returned list; return \(anything, list of images"),
    "black box with gradients": (
        replace(FGSM, access="black", epsilons=(0.1,)),
        "With access='black' it gets no gradients; set access='white'",
    ),
    "transfer without surrogate": (replace(TRANSFER, surrogate=None), "access='transfer' needs a `surrogate`"),
    "surrogate without transfer": (replace(TRANSFER, access="white"), "access='transfer' needs a `surrogate`"),
    "epsilons twice": (replace(FGSM, epsilons=(0.1, 0.1)), "must increase, .* leave out those that occur twice"),
    "epsilons decrease": (replace(FGSM, epsilons=(0.2, 0.1)), "increasing"),
    "no positive epsilon": (replace(FGSM, epsilons=(0.0,)), "the last one be positive"),
    "norm": (replace(FGSM, norm="l2"), "supports the norm 'linf', not 'l2'"),
    "no attack": (Fgsm(), "wrap your algorithm"),
    "loses its start": (broken(loses_its_start, of=Pgd(steps=5), checks=2), "keep the starting_points unless"),
    "stronger is no mapping": (
        broken(lambda run, *rest: run(*rest[:3], **rest[3]), stronger=[Fgsm()]),
        "must return a mapping from what is increased",
    ),
    "stronger raises": (
        broken(lambda run, *rest: run(*rest[:3], **rest[3]), stronger={"raise": broken(raises).algorithm}),
        "the stronger variant 'raise' does not run: the attack raised KeyError",
    ),
    "minimises, but finds nothing": (
        broken(does_nothing, minimises=True),
        "only 0% of the perturbations that it found change the class",
    ),
    "minimises, but goes far": (
        broken(far_away, of=FastMinimumNorm(steps=30)),
        "half of the perturbation changes the class as well: it is not the smallest",
    ),
}


@pytest.mark.parametrize(("attack", "advice"), FAULTS.values(), ids=FAULTS)
def test_what_breaks_the_contract_is_named(attack, advice):
    with pytest.raises(AssertionError, match=advice):
        check_attack(attack)


@dataclass(frozen=True)
class Content(Pgd):
    """Says that it is its own stronger variant."""

    def stronger(self):
        return {"confidence": self}


@dataclass(frozen=True)
class Undocumented(Fgsm):
    __doc__ = None


def test_a_stronger_variant_is_another_attack():
    with pytest.raises(AssertionError, match="'confidence' is the attack itself; increase something in it"):
        check_attack(replace(PGD_LINF, algorithm=Content(steps=3)))


def test_an_attack_has_a_description():
    with pytest.raises(AssertionError, match="Undocumented has no docstring"):
        check_attack(replace(FGSM, algorithm=Undocumented()))


def test_an_attack_that_changes_the_network_is_named():
    """Its surrogate hands it the network, which the model does not."""
    fitted = []

    @dataclass(frozen=True)
    class Surrogate(Map):
        """MAP, whose network others know."""

        def fit(self, problem):
            fitted.append(super().fit(problem))
            return fitted[-1]

    def trains(run, model, x, y, arguments):
        images = run(model, x, y, **arguments)[1]
        for weight in fitted[-1].network.parameters():
            weight.mul_(0.5)
        return None, images, None

    attack = replace(broken(trains), access="transfer", surrogate=Surrogate())
    with pytest.raises(AssertionError, match="changed the network that it attacks; it may call the model only"):
        check_attack(attack)


def test_an_attack_cannot_move_the_images_with_which_it_is_compared():
    def overwrites(run, model, x, y, arguments):
        return None, [x.fill_(0.5) for _ in arguments["epsilons"]], None

    x = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).requires_grad_(False)
    with pytest.raises(ContractError, match="beyond epsilon"):
        craft(
            broken(overwrites),
            lambda x: network(x)[None],
            x,
            torch.zeros(4).long(),
            (0.0, 1.0),
            torch.device("cpu"),
        )


def test_the_command_checks_attacks_by_name_and_of_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["check", "fgsm"]) == 0
    assert "fgsm keeps the contract of an attack." in capsys.readouterr().out
    Path("two.py").write_text(
        "from dataclasses import replace\nfrom bbh_bench import hookimpl\nfrom bbh_bench.attacks.builtin import FGSM\n\n\n"
        "@hookimpl\ndef bbh_attacks():\n"
        "    return [replace(FGSM, name='good'), replace(FGSM, name='bad', access='black')]\n"
    )
    assert main(["check", "--plugin", "two.py"]) == 1
    shown = capsys.readouterr()
    assert "good keeps the contract of an attack." in shown.out
    assert "bad breaks the contract: the attack raised" in shown.err
