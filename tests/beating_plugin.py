"""A plugin file with a method that shows for as long as it fits that it is alive."""

import time
from dataclasses import dataclass
from pathlib import Path

from bbh_bench import hookimpl
from bbh_bench.methods.map import Map


@dataclass(frozen=True)
class Beating:
    """Touches a file ``beat`` in a folder, until there is a file ``go``."""

    name: str = "beating"
    version: int = 1
    folder: str = "."

    def fit(self, problem):
        while not Path(self.folder, "go").exists():
            Path(self.folder, "beat").touch()
            time.sleep(0.05)
        return Map(lr=0.01).fit(problem)


@hookimpl
def bbh_methods():
    return [Beating()]
