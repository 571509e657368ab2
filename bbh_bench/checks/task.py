"""Tests of the contract of a task: call ``check_task(yours)`` in a test of your plugin."""

import json
import pickle
import re
import warnings
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from bbh_bench.api import LoadedTask, Task, TaskDescription, task_fingerprint
from bbh_bench.attacks.builtin import NOISE_LINF
from bbh_bench.checks.evaluation import check_evaluation
from bbh_bench.checks.problem import check_images, check_problem
from bbh_bench.checks.tools import advice, require
from bbh_bench.checks.tools import no_data_files as no_files
from bbh_bench.contracts import check_object
from bbh_bench.data import data_folder, sealed
from bbh_bench.errors import BenchError, BenchWarning, ContractError, DataError, text

NO_SCORE_DEPENDS_ON = ("version", "threads")
"""Fields that a description need not repeat: the version is part of the fingerprint anyway, and threads concern speed."""
ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}")


def check_task(task: Task, folder: Path | None = None) -> None:
    """Load a task, evaluate a quick posterior twice, and raise ``AssertionError`` with advice if it breaks its contract.

    ``folder``: the data folder; None for that of ``data_folder``. Raises ``DataError`` if the data are not there.
    """
    try:
        check_object("task", task)
    except ContractError as error:
        raise AssertionError(str(error)) from error
    described = _check_description(task)
    _check_fields(task, described)
    _check_extra_attacks(task, described)
    folder = folder or data_folder()
    _check_sealed(task, folder)
    first, second = _load(task, folder), _load(task, folder)
    check_problem(first, second)
    check_images(first)
    check_evaluation(_copied(task), task, first, described)


def _check_description(task: Task) -> TaskDescription:
    with sealed("describe()"), no_files("a description must not need the data"), advice("describe()"):
        described, again = task.describe(), task.describe()
    require(
        isinstance(described, TaskDescription),
        f"describe() returned {type(described).__name__}; return a bbh_bench.api.TaskDescription.",
    )
    for part in ("kind", "title", "headline"):
        value = getattr(described, part)
        one_line = isinstance(value, str) and value.strip() and "\n" not in value
        require(one_line, f"the description's `{part}` is {value!r}; it must be one line of text.")
    for part in ("fit", "evaluation", "threat_model"):
        _check_json(part, getattr(described, part) or {})
    with advice("task_fingerprint()"):
        same = task_fingerprint(task, described) == task_fingerprint(task, again)
    require(same, "describe() gives another description the second time; leave out times, random numbers and counters.")
    with advice("describe() of a copy that was sent to another process"):
        elsewhere = task_fingerprint(_copied(task))
    require(
        task_fingerprint(task, described) == elsewhere,
        "a copy in another process has another fingerprint; describe the task by its fields only, not by hash() or id().",
    )
    return described


def _check_json(part: str, value: Any) -> None:
    try:
        shown = json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(
            f"the description's `{part}` cannot be stored ({text(error)}); it must be a mapping of JSON values: "
            "bbh_bench.records.identity.describe makes them from dataclasses."
        ) from error
    address = ADDRESS.search(shown)
    require(
        address is None,
        f"the description's `{part}` has the address of an object ('{address and address[0]}'), which is another one in "
        "every process; give its name and settings instead.",
    )


def _copied(task: Task) -> Task:
    """The task as another process receives it. Warns, and returns the task itself, if it cannot be sent."""
    try:
        copy: Task = pickle.loads(pickle.dumps(task))
    except Exception as error:  # pickling may raise anything
        warnings.warn(
            f"the task '{task.name}' cannot be sent to another process ({text(error)}), so that it runs with --executor inline "
            "only. Define what it consists of at the top level of its module",
            BenchWarning,
            stacklevel=4,
        )
        return task
    return copy


def _check_fields(task: Any, described: TaskDescription) -> None:
    """A number among the fields that changes no fingerprint lets scores of different tasks be compared."""
    before = task_fingerprint(task, described)
    for field in fields(task):
        value = getattr(task, field.name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not field.compare or not field.init or field.name in NO_SCORE_DEPENDS_ON:
            continue
        try:
            after = task_fingerprint(replace(task, **{field.name: value + 1}))
        except Exception:  # a value that the task refuses cannot be confused with this one
            continue
        require(
            after != before,
            f"the fingerprint stays the same if the field `{field.name}` changes; put it into `fit` or `evaluation` of the "
            "description. If no score depends on it, declare it with field(compare=False).",
        )


def _check_extra_attacks(task: Task, described: TaskDescription) -> None:
    try:
        attacked = task.with_attacks([NOISE_LINF])
    except BenchError:  # it is not attacked
        return
    except (Exception, SystemExit) as error:
        raise AssertionError(
            f"with_attacks() raised {type(error).__name__}: {text(error)}. A task that cannot be attacked raises BenchError."
        ) from error
    with advice("describe() with an extra attack"):
        described_attacked = attacked.describe()
        same = task_fingerprint(attacked, described_attacked) == task_fingerprint(task, described)
    own = NOISE_LINF in described.attacks
    require(
        own or NOISE_LINF in described_attacked.extra_attacks,
        "with_attacks() returned a task whose description does not name the attack in `extra_attacks`.",
    )
    require(same, "an extra attack changes the fingerprint; only the task's own attacks belong to its definition.")


def _check_sealed(task: Task, folder: Path) -> None:
    try:
        with sealed("bbh-bench check"):
            task.load(folder)
    except ContractError:
        return
    except DataError:
        raise
    except (Exception, SystemExit) as error:
        raise AssertionError(f"load() raised {type(error).__name__}: {text(error)}") from error
    raise AssertionError(
        "load() works while a method fits, so that a method could read the test data; call "
        f"bbh_bench.data.check_open('{task.name}') where the data are read."
    )


def _load(task: Task, folder: Path) -> LoadedTask:
    try:
        return task.load(folder)
    except DataError:  # a file is missing: no fault of the task
        raise
    except (Exception, SystemExit) as error:
        raise AssertionError(f"load() raised {type(error).__name__}: {text(error)}") from error
