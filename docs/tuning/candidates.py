"""Settings that were compared by hand, as methods of their own: ``bbh-bench tune --plugin docs/tuning/candidates.py``."""

from dataclasses import replace

from bbh_bench import hookimpl
from bbh_bench.methods.bbh import SINGLE, SLICED


@hookimpl
def bbh_methods():
    """The generators that share weights: with one sample in the likelihood, and with the full weight of the KL."""
    return [
        replace(SINGLE, name="bbh-single-one-sample", likelihood_samples=1, kl_weight=0.2),
        replace(SINGLE, name="bbh-single-warm", likelihood_samples=3, kl_weight=1.0),
        replace(SLICED, name="bbh-sliced-one-sample", likelihood_samples=1, kl_weight=0.2),
        replace(SLICED, name="bbh-sliced-warm", likelihood_samples=3, kl_weight=1.0),
    ]
