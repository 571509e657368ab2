"""Contract tests of plugins: call ``check_method(YourMethod())`` in a test of your plugin.

``check_task``, ``check_attack`` and ``check_metric`` do the same for tasks, attacks and metrics. Each raises ``AssertionError``
with advice.
"""

from bbh_bench.checks.attack import check_attack
from bbh_bench.checks.method import check_method
from bbh_bench.checks.metric import check_metric
from bbh_bench.checks.small_problems import small_network, small_problem, small_regression
from bbh_bench.checks.task import check_task

__all__ = [
    "check_attack",
    "check_method",
    "check_metric",
    "check_task",
    "small_network",
    "small_problem",
    "small_regression",
]
