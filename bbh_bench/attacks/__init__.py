"""The attacks: algorithms, threat model, evaluation on fresh samples, scores, and the audit of the scores."""

from bbh_bench.api import Attack
from bbh_bench.hookspecs import hookimpl


@hookimpl
def bbh_attacks() -> list[Attack]:
    """The built-in attacks."""
    from bbh_bench.attacks.builtin import ATTACKS

    return list(ATTACKS)
