"""Records of schemas 1 and 2 are read as schema 3, with the same values; their tasks are the installed ones."""

import json
import re
from pathlib import Path

import pytest

from bbh_bench.api import task_fingerprint
from bbh_bench.records.identity import describe
from bbh_bench.records.record import SCHEMA, Record
from bbh_bench.records.upgrade import FINGERPRINTS, attack, upgraded

FOLDER = Path(__file__).parent / "data" / "schema2"
DEFINITIONS = json.loads((FOLDER / "task_definitions.json").read_text())
"""Of the tasks by their fingerprint of schema 2, as the code that made the records gave them."""
RECORDS = sorted(FOLDER.glob("*/v*/*/seed*.json"))


def old_fingerprint(definition):
    import hashlib

    canonical = json.dumps(definition, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def parameter_shapes(network: str) -> list[list[int]]:
    """Of the layers in a ``repr``."""
    shapes = []
    for line in network.splitlines():
        if match := re.search(r"Conv2d\((\d+), (\d+), kernel_size=\((\d+), (\d+)\)", line):
            inputs, outputs, height, width = map(int, match.groups())
            shapes += [[outputs, inputs, height, width], [outputs]]
        if match := re.search(r"Linear\(in_features=(\d+), out_features=(\d+)", line):
            inputs, outputs = map(int, match.groups())
            shapes += [[outputs, inputs], [outputs]]
    return shapes


@pytest.mark.parametrize("fingerprint", DEFINITIONS)
def test_an_old_fingerprint_stands_for_the_definition_of_the_installed_task(builtin, fingerprint):
    """The two definitions agree part by part: this is what allows records to be carried over.

    Of a task that has another version since, only what a fit depends on can be compared.
    """
    old = DEFINITIONS[fingerprint]
    assert old_fingerprint(old) == fingerprint
    task = builtin.tasks[old["name"]]
    described = task.describe()
    assert parameter_shapes(old["network"]) == described.fit["network"]["parameters"]
    for name in ("epochs", "batch_size"):
        assert old[name] == described.fit[name]
    if old["version"] < task.version:
        return
    assert FINGERPRINTS[fingerprint] == task_fingerprint(task)
    assert old["version"] == task.version
    assert old["evaluation"] == described.evaluation["version"]
    assert old["draws"] == described.evaluation["samples"]
    assert [attack(each) for each in old.get("attacks", [])] == [describe(each) for each in described.attacks]
    if described.kind == "classification":
        assert old["data"] == described.fit["data"]
        assert old["classes"] == described.fit["classes"]
        assert (old["attacked"], old["bounds"]) == (described.evaluation["attacked"], described.evaluation["bounds"])
        shifts = [{k: v for k, v in shift.items() if k != "class"} for shift in old.get("shifts", [])]
        assert shifts == described.evaluation["shifts"]
    else:
        assert old["noise"] == described.fit["noise"]


def test_every_known_fingerprint_has_its_definition():
    assert FINGERPRINTS.keys() == DEFINITIONS.keys()


def test_there_is_a_record_of_each_kind():
    assert [path.relative_to(FOLDER).parts[0] for path in RECORDS] == ["digits5", "digits5", "toy"]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: "/".join(path.relative_to(FOLDER).parts))
def test_an_old_record_keeps_every_value(path):
    old, record = json.loads(path.read_text()), Record.read(path)
    assert record.schema == SCHEMA
    assert list(record.scores.values()) == list(old["scores"].values())
    assert [list(curve.values()) for curve in record.curves.values()] == [
        list(curve.values()) for curve in old["curves"].values()
    ]
    assert list(record.cost.values()) == list(old["cost"].values())
    assert [(c.verdict, c.value, c.limit) for c in record.audit.values()] == [
        (c["verdict"], c["figure"], c["limit"]) for c in old.get("audit", {}).values()
    ]
    assert record.seed == old["seed"]
    assert record.predictions.sha256 == old["predictions"]["sha256"]
    assert record.provenance.commit == old["provenance"]["commit"]
    assert record.provenance.hardware.processor == old["provenance"]["hardware"]["processor"]


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: "/".join(path.relative_to(FOLDER).parts))
def test_no_python_path_and_no_old_word_is_left(path):
    content = upgraded(json.loads(path.read_text()))
    names = [*content["scores"], *content["directions"], *content["cost"], *content["audit"]]
    names += [column for curve in content["curves"].values() for column in curve]
    assert not [name for name in names if re.search(r"outlier|accuracy_area|judge|flagged|moved|draws|fits", name)]
    identity = json.dumps([content["task"]["attacks"], content["method"]])
    assert "bbh_bench." not in identity


def test_the_methods_have_the_hyperparameters_of_the_installed_ones(builtin):
    """Their values may differ: defaults change."""
    for path in RECORDS:
        record = Record.read(path)
        described = describe(builtin.methods[record.method.name])
        assert record.method.hyperparameters.keys() == described.keys() - {"name", "version"}
        assert record.method.version == described["version"]


def test_schema_1_has_no_audit(tmp_path):
    content = json.loads(RECORDS[0].read_text())
    del content["audit"]
    target = tmp_path / "seed0.json"
    target.write_text(json.dumps(content | {"schema": 1}))
    assert Record.read(target).audit == {}
