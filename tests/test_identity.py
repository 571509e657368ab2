"""Identity is name, version and fields; never where code lies."""

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import pytest
from helpers import TINY
from torch import nn

import bbh_bench
from bbh_bench.api import Architecture, task_fingerprint
from bbh_bench.errors import ContractError
from bbh_bench.methods.dropout import Dropout
from bbh_bench.methods.ensemble import Ensemble
from bbh_bench.records.identity import describe, hyperparameters


def test_a_method_is_its_name_version_and_fields_all_the_way_down():
    described = describe(Ensemble(base=Dropout(rate=0.3, lr=1e-3)))
    assert described["base"] == {"name": "dropout", "version": 1, "rate": 0.3, "lr": 0.001, "prior_scale": 1.0}
    assert "bbh_bench" not in json.dumps(described)
    assert set(hyperparameters(Ensemble())) == {"members", "base"}


def test_a_dataclass_without_a_name_has_the_name_of_its_class():
    @dataclass(frozen=True)
    class Cosine:
        periods: int = 2

    assert describe({"schedule": (Cosine(),)}) == {"schedule": [{"type": "Cosine", "periods": 2}]}


class Kind(Enum):
    SOFT = "soft"


def test_an_enum_is_its_value():
    assert describe(Kind.SOFT) == "soft"


@pytest.mark.parametrize("value", [object(), lambda x: x, nn.ReLU(), {1, 2}])
def test_objects_that_cannot_be_told_apart_are_refused(value):
    with pytest.raises(ContractError, match="whose settings a record cannot store"):
        describe({"activation": value})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_have_are_refused(value):
    with pytest.raises(ContractError, match="use None instead"):
        describe({"lr": value})


def test_the_fingerprint_follows_the_definition():
    assert task_fingerprint(TINY) == task_fingerprint(replace(TINY))
    changes = [{"epochs": 4}, {"samples": 5}, {"attacks": ()}, {"version": 2}, {"attacked": 41}, {"batch_size": 31}]
    fingerprints = {task_fingerprint(replace(TINY, **change)) for change in [{}, *changes]}
    assert len(fingerprints) == len(changes) + 1
    assert task_fingerprint(replace(TINY, title="another title", threads=2)) == task_fingerprint(TINY)


def test_a_layer_that_only_concerns_speed_does_not_change_a_network():
    def plain():
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))

    def faster():
        return nn.Sequential(nn.Identity(), nn.Flatten(), nn.Identity(), nn.Linear(4, 2))

    first, second = Architecture("a", 1, plain).describe(), Architecture("a", 1, faster).describe()
    assert first == second == {"name": "a", "version": 1, "parameters": [[2, 4], [2]]}
    assert Architecture("a", 2, plain).describe() != first
    assert Architecture("a", 1, lambda: nn.Linear(4, 3)).describe() != first


FINGERPRINTS = """
import json
from bbh_bench.api import task_fingerprint
from bbh_bench.plugins import load_plugins
from bbh_bench.records.identity import describe
from bbh_bench.running.source import source_digest
plugins = load_plugins(external=False)
assert not plugins.problems, plugins.problems
print(json.dumps({
    "tasks": {task.name: task_fingerprint(task) for task in plugins.tasks.values()},
    "methods": {method.name: [describe(method), source_digest(method)] for method in plugins.methods.values()},
    "attacks": {attack.name: describe(attack) for attack in plugins.attacks.values()},
}))
"""


def identities(folder: Path) -> dict:
    done = subprocess.run([sys.executable, "-c", FINGERPRINTS], cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def move(package: Path, old: str, new: str) -> None:
    """Move a module, and adapt every import of it."""
    (package / new).parent.mkdir(exist_ok=True)
    (package / new).parent.joinpath("__init__.py").touch()
    shutil.move(package / old, package / new)
    names = [f"bbh_bench.{name.removesuffix('.py').replace('/', '.')}" for name in (old, new)]
    for file in package.rglob("*.py"):
        text = file.read_text()
        if names[0] in text:
            file.write_text(text.replace(*names))


def test_moving_modules_changes_no_fingerprint_and_no_source_digest(tmp_path):
    """A copy of the package in which a method, a training loop, a network, an attack and a task lie elsewhere."""
    package = tmp_path / "bbh_bench"
    shutil.copytree(Path(bbh_bench.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    before = identities(tmp_path)
    moves = {
        "methods/map.py": "somewhere/point.py",
        "inference/training.py": "somewhere/loop.py",
        "tasks/networks.py": "somewhere/nets.py",
        "tasks/classification.py": "somewhere/classify.py",
        "attacks/gradient.py": "elsewhere/gradients.py",
    }
    for old, new in moves.items():
        move(package, old, new)
    assert identities(tmp_path) == before
    assert before["tasks"]["digits5"]
    assert importlib.util.find_spec("bbh_bench.methods.map").origin != str(package / "methods/map.py")
