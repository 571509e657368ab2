"""How often the fuzz tests try: few and fixed examples in a test run, many random ones with ``BBH_BENCH_FUZZ=long``."""

import os

from hypothesis import HealthCheck, settings

LONG = os.environ.get("BBH_BENCH_FUZZ") == "long"
MORE = 40
"""Times as many examples in a long run."""


def examples(number: int) -> settings:
    """The settings of a test with so many examples: the same ones in each run, so that no run fails by chance."""
    return settings(
        max_examples=number * MORE if LONG else number,
        derandomize=not LONG,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )
