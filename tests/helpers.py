"""A task so small that a cell takes a moment, and a method that fails."""

from dataclasses import dataclass, replace

from bbh_bench.api import Task
from bbh_bench.methods.map import Map
from bbh_bench.tasks import digits5

TINY = replace(digits5.TASK, name="tiny", title="a tiny task", epochs=3, draws=4, attacked=40)
QUICK = Map(name="quick", lr=0.01)


@dataclass(frozen=True)
class Failing:
    """A method whose fit raises."""

    name: str = "failing"
    message: str = "out of luck"

    def fit(self, problem):
        raise RuntimeError(self.message)


def tasks() -> list[Task]:
    return [TINY]
