"""The attacks: algorithms, threat model, evaluation on fresh samples, scores, and the audit of the scores."""

import os

from bbh_bench.api import Attack
from bbh_bench.hookspecs import hookimpl

# Foolbox imports GitPython, which raises an error where there is no git program, unless this says that none is needed. The
# package is imported before any of its modules, and with the plugins: before anything here imports Foolbox.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


@hookimpl
def bbh_attacks() -> list[Attack]:
    """The built-in attacks."""
    from bbh_bench.attacks.builtin import ATTACKS

    return list(ATTACKS)
