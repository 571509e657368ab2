"""Which attacks remain for a posterior whose outputs have no gradient with respect to the inputs."""

from collections.abc import Iterable

from bbh_bench.api import Attack

NO_GRADIENTS = (
    "no gradients: attacked by black-box and transfer attacks only, so that its robustness values are bounds. An attacker with "
    "gradients could do more"
)
"""Text of the warning about such a posterior."""
NOT_ATTACKED = "no gradients: not attacked, since all attacks of the task need them"
"""The same where no attack is left."""
REMEDY = (
    "The outputs have no gradient with respect to the inputs: do not use detach or no_grad in the networks, or set "
    "`differentiable = False`"
)
"""Follows either where the posterior did not declare it."""


def without_gradients(attacks: Iterable[Attack]) -> list[Attack]:
    """The attacks that use predictions only, or the gradients of a surrogate: all but those with white-box access."""
    return [attack for attack in attacks if attack.access != "white"]
