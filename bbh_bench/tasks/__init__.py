"""Built-in tasks: one file per data set; ``classification`` and ``regression`` hold what tasks of a kind share."""

from bbh_bench.api import Task
from bbh_bench.hookspecs import hookimpl


@hookimpl
def bbh_tasks() -> list[Task]:
    """The built-in tasks; the default one is first."""
    from bbh_bench.tasks import cifar, digits5, digits5_mlp, mnist, mnist_corrupted, toy

    return [
        digits5.TASK,
        digits5_mlp.TASK,
        mnist.TASK,
        mnist.SHORT,
        mnist_corrupted.TASK,
        cifar.TASK,
        cifar.SHORT,
        toy.TASK,
    ]
