"""The built-in attacks: named settings of the algorithms."""

from dataclasses import replace

from bbh_bench.api import Attack
from bbh_bench.attacks.adaptive import Adaptive
from bbh_bench.attacks.baselines import Noise, PaperFgsm
from bbh_bench.attacks.gradient import Fgsm, Pgd, PlainPgd
from bbh_bench.attacks.minimum_norm import Boundary, CarliniWagner, DeepFool, FastMinimumNorm
from bbh_bench.attacks.square import Square
from bbh_bench.methods.map import Map

PAPER_GRID = tuple(step / 20 for step in range(9))
"""Epsilons of the paper's curves: 0, 0.05, ..., 0.4."""
GRID = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
"""Those of them at which the tasks run one-step attacks."""
LINF = (0.05, 0.1, 0.2)
"""Epsilons of the other attacks in L-infinity."""
L2 = (0.5, 1.0, 2.0)
"""Epsilons of the attacks in L2."""
ITERATED = 250
"""Number of images for attacks that take many steps."""

ADAPTIVE_LINF = Attack(
    name="adaptive-linf",
    version=1,
    norm="linf",
    epsilons=LINF,
    algorithm=Adaptive(),
    samples=256,
    images=ITERATED,
)
ADAPTIVE_L2 = replace(ADAPTIVE_LINF, name="adaptive-l2", norm="l2", epsilons=L2)
FGSM = Attack(name="fgsm", version=2, norm="linf", epsilons=PAPER_GRID, algorithm=Fgsm())
PGD_LINF = Attack(name="pgd-linf", version=2, norm="linf", epsilons=LINF, algorithm=Pgd(), images=ITERATED)
PGD_L2 = Attack(name="pgd-l2", version=2, norm="l2", epsilons=L2, algorithm=Pgd(), images=ITERATED)
DEEPFOOL_L2 = Attack(name="deepfool-l2", version=2, norm="l2", epsilons=L2, algorithm=DeepFool(), images=ITERATED)
CARLINI_WAGNER_L2 = Attack(
    name="carlini-wagner-l2", version=2, norm="l2", epsilons=L2, algorithm=CarliniWagner(), images=ITERATED
)
FMN_LINF = Attack(name="fmn-linf", version=1, norm="linf", epsilons=LINF, algorithm=FastMinimumNorm(), images=ITERATED)
BOUNDARY = Attack(
    name="boundary", version=2, norm="l2", epsilons=L2, algorithm=Boundary(), access="black", images=ITERATED
)
SQUARE_LINF = Attack(
    name="square-linf",
    version=1,
    norm="linf",
    epsilons=LINF,
    algorithm=Square(steps=100),
    samples=8,
    access="black",
    images=ITERATED,
)
TRANSFER = Attack(
    name="transfer",
    version=1,
    norm="linf",
    epsilons=LINF,
    algorithm=PlainPgd(),
    samples=1,
    access="transfer",
    images=ITERATED,
    surrogate=Map(lr=1e-3),  # the definition of an attack does not follow the defaults of a method
)
"""If it succeeds where attacks with the posterior's own gradients fail, these gradients mislead."""
NOISE_LINF = Attack(
    name="noise-linf", version=1, norm="linf", epsilons=LINF, algorithm=Noise(), samples=1, access="black"
)
PAPER_FGSM = Attack(name="paper-fgsm", version=1, norm="linf", epsilons=PAPER_GRID, algorithm=PaperFgsm())
"""The paper takes 100 samples, this attack 16. The cost increases with the square of their number: the gradient of each
sample is computed through the stack of all."""

ATTACKS = (
    ADAPTIVE_LINF, ADAPTIVE_L2, FGSM, PGD_LINF, PGD_L2, FMN_LINF, DEEPFOOL_L2, CARLINI_WAGNER_L2, BOUNDARY, SQUARE_LINF,
    TRANSFER,    NOISE_LINF, PAPER_FGSM,
)  # fmt: skip
