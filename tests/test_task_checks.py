"""``check_task``: the fast built-in tasks pass, and each way to break the contract is named."""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from broken_scores import (
    Counting,
    Curve,
    NoDirection,
    NoScored,
    NotANumber,
    NotFinite,
    PythonRandom,
    Random,
    Refuses,
    Remembers,
    ScoreReads,
    Spoils,
    WrongDirection,
)
from broken_tasks import (
    Address,
    AttackChangesIt,
    AttackForgotten,
    AttackRaises,
    Changing,
    ForgetsAField,
    Headline,
    Line,
    Loaded,
    LoadRaises,
    NoDescription,
    NoJson,
    NoNumber,
    NotValidated,
    OfThisProcess,
    Open,
    OtherSplit,
    Raising,
    ReadsToDescribe,
    SameTensors,
    Title,
    Training,
    Unseeded,
    Unvalidated,
    with_arrays,
    with_problem,
)
from helpers import TINY

from bbh_bench.cli import main
from bbh_bench.data import check_open
from bbh_bench.errors import BenchWarning, DataError
from bbh_bench.tasks import digits5, digits5_mlp, toy
from bbh_bench.testing import check_task

NAMES = itertools.count()


@pytest.mark.parametrize("task", [toy.TASK, digits5_mlp.TASK, TINY], ids=lambda task: task.name)
def test_fast_built_in_tasks_keep_the_contract(task):
    check_task(task)


def test_a_task_that_is_no_classification_keeps_the_contract():
    check_task(Line())


FAULTS = {
    "title of two lines": (Title(), r"`title` is 'a?two\\nlines'; it must be one line of text"),
    "no JSON": (NoJson(), r"`evaluation` cannot be stored .*records\.identity\.describe"),
    "NaN": (NoNumber(), r"`fit` cannot be stored"),
    "address": (Address(), r"`evaluation` has the address of an object \(' at 0x"),
    "changes": (Changing(), "another description the second time; leave out times, random numbers"),
    "of this process": (OfThisProcess(), "a copy in another process has another fingerprint; describe the task by its"),
    "forgets a field": (ForgetsAField(), r"stays the same if the field `points` changes; put it into `fit`"),
    "no description": (NoDescription(), "describe.. returned dict; return a bbh_bench.api.TaskDescription"),
    "reads to describe": (ReadsToDescribe(), r"describe\(\) raised ContractError: .*asked for the data set 'line'"),
    "no such headline": (Headline(), "headline 'test/nll' is not among the scores, which are test/mse"),
    "an attack changes it": (AttackChangesIt(), "does not name the attack in `extra_attacks`"),
    "an attack is forgotten": (AttackForgotten(), "does not name the attack in `extra_attacks`"),
    "an attack raises": (AttackRaises(), "with_attacks.. raised KeyError.*cannot be attacked raises BenchError"),
    "open": (Open(), r"load\(\) works while a method fits.*bbh_bench\.data\.check_open\('line'\)"),
    "load raises": (LoadRaises(), r"load\(\) raised KeyError: 'points'"),
    "no problem": (with_problem(lambda problem: None), r"problem\(device\) returned NoneType; return a bbh_bench\.Problem"),
    "lengths": (with_problem(lambda problem: replace(problem, y=problem.y[:3])), r"problem.* raised ContractError: .*\[8, 3\]"),
    "dtype": (with_problem(lambda problem: replace(problem, x=problem.x.double())), r"x is torch\.float64; the networks need"),
    "NaN in x": (with_problem(lambda problem: replace(problem, x=problem.x / 0)), "x has values that are not finite"),
    "NaN in y": (with_problem(lambda problem: replace(problem, y=problem.y / 0)), "targets have values that are not finite"),
    "targets": (with_problem(lambda problem: replace(problem, y=problem.y.double())), r"targets are torch\.float64"),
    "budget": (with_problem(lambda problem: replace(problem, epochs=0)), "the budget is empty"),
    "width": (
        with_problem(lambda problem: replace(problem, network=lambda: torch.nn.Linear(1, 2))),
        r"outputs of shape \[2, 2\] for two inputs; it must be \[2, 1\]",
    ),
    "network": (
        with_problem(lambda problem: replace(problem, network=lambda: torch.nn.Linear(7, 1))),
        "the task's network, for the first two training inputs, raised RuntimeError",
    ),
    "same tensors": (SameTensors(), r"changes those of the next cell; give each problem a copy: x\.to\(device, copy=True\)"),
    "other split": (OtherSplit(), "gave other training data the second time; fix the seed of the split"),
    "no stage": (Unseeded(), r"gave other values in test/outputs; sample networks .* inside `with stage\(name\):`"),
    "evaluate raises": (Raising(), "evaluate.., of MAP with noise on its weights, raised KeyError: 'grid'"),
    "no arrays": (with_arrays(lambda arrays: None), "evaluate.. must return a dict of arrays by name"),
    "tensors": (
        with_arrays(lambda arrays: arrays | {"test/extra": torch.zeros(3)}),
        r"returned 'test/extra' as Tensor; .* use tensor\.cpu\(\)\.numpy\(\)",
    ),
    "objects": (
        with_arrays(lambda arrays: arrays | {"test/extra": np.array([None])}),
        "returned 'test/extra' as an array of object",
    ),
    "other arrays": (
        with_arrays(lambda arrays: arrays | {f"test/{next(NAMES)}": np.zeros(1)}),
        "returned other arrays the second time: test/",
    ),
    "evaluation trains": (Training(), "evaluate.. changed the training data; work on copies"),
    "validation without a stage": (Unvalidated(), r"validation_nll.. gave another value .* `with stage\('validate'\):`"),
    "validation is NaN": (NotValidated(), "validation_nll.. returned nan; return a finite float"),
    "random scores": (Random(), "score.. draws random numbers; scores must follow from the arrays alone"),
    "random numbers of Python": (PythonRandom(), "score.. draws random numbers"),
    "spoils arrays": (Spoils(), "score.. changes its arrays"),
    "infinite score": (NotFinite(), "the score 'test/ratio' is inf; return a finite float, and leave out"),
    "an array as a score": (NotANumber(), r"the score 'test/ratio' is array\("),
    "counts": (Counting(), "gave other values the second time: test/calls"),
    "no Scored": (NoScored(), r"score.. returned dict; return a bbh_bench\.api\.Scored"),
    "no direction": (NoDirection(), "has no direction, so that methods cannot be ranked; put 'mse': 'lower' or"),
    "wrong direction": (WrongDirection(), "directions are 'lower', 'higher' or 'neither', not 'down'"),
    "curve": (Curve(), "the curve 'error' has columns of different lengths"),
    "scores read data": (ScoreReads(), r"score\(arrays, metrics\) raised ContractError: .*asked for the data set"),
    "remembers": (Remembers(), "another process computes other scores from the same arrays: test/loads"),
    "refuses its own arrays": (Refuses(), "faults.. refuses the arrays of the task's own evaluate.*: test/outputs is missing"),
    "no task": (Loaded(), "is not an instance of a frozen dataclass"),
}  # fmt: skip


@pytest.mark.parametrize(("task", "advice"), FAULTS.values(), ids=FAULTS)
@pytest.mark.filterwarnings("ignore:the task 'line' cannot be sent:bbh_bench.BenchWarning")
def test_what_breaks_the_contract_is_named(task, advice):
    with pytest.raises(AssertionError, match=advice):
        check_task(task)


@dataclass(frozen=True)
class Changed:
    """The images of digits5, changed by one of the functions below."""

    how: str

    def digests(self):
        return {"how": self.how}

    def load(self, folder):
        return CHANGES[self.how](digits5.Digits5().load(folder))


def first_of(images, other):
    """The images, with that of another set in place of the first one."""
    return torch.cat([other[:1], images[1:]])


CHANGES = {
    "test in training": lambda d: replace(d, train=(first_of(d.train[0], d.test[0]), d.train[1])),
    "test in validation": lambda d: replace(d, validation=(first_of(d.validation[0], d.test[0]), d.validation[1])),
    "OOD in training": lambda d: replace(d, ood={"digits5-9": first_of(d.ood["digits5-9"], d.train[0])}),
    "bytes": lambda d: replace(d, test=(255 * d.test[0], d.test[1])),
    "OOD of another size": lambda d: replace(d, ood={"digits5-9": d.ood["digits5-9"][:, :, :6]}),
    "labels": lambda d: replace(d, train=(d.train[0], d.train[1] + 1)),
    "labels as floats": lambda d: replace(d, train=(d.train[0], d.train[1].float())),
    "a label is missing": lambda d: replace(d, test=(d.test[0], d.test[1][1:])),
    "no test images": lambda d: replace(d, test=(d.test[0][:0], d.test[1][:0])),
}
ADVICE = {
    "test in training": "1 image is both in the training set and in the test set; split the data by indices",
    "test in validation": "1 image is both in the validation set and in the test set",
    "OOD in training": "1 image is both in the training set and in the OOD set 'digits5-9'",
    "bytes": r"the test set has pixels from 0 to 255, outside the task's bounds \[0, 1\]; scale them",
    "OOD of another size": r"the OOD set 'digits5-9' has images \[1, 6, 8\], torch.float32; those of the training set",
    "labels": "there are labels from 1 to 5 for 5 classes; count from 0",
    "labels as floats": r"the labels are torch\.float32; cross-entropy needs torch\.int64",
    "a label is missing": "the test set has 270 images and 269 labels",
    "no test images": "the test set is empty",
}


@pytest.mark.parametrize("how", CHANGES)
def test_faults_in_images_are_named(how):
    with pytest.raises(AssertionError, match=ADVICE[how]):
        check_task(replace(TINY, source=Changed(how)))


def test_a_task_of_this_process_only_gets_a_warning():
    @dataclass(frozen=True)
    class Local(Line):
        """It is defined in a function."""

    with pytest.warns(BenchWarning, match="'line' cannot be sent to another process .*--executor inline only"):
        check_task(Local())


def test_missing_data_are_no_fault_of_the_task(tmp_path):
    class Missing(Line):
        def load(self, folder):
            check_open("line")
            raise DataError(f"The data file '{folder}/line' is missing.")

    with pytest.raises(DataError, match="is missing"), pytest.warns(BenchWarning):
        check_task(Missing(), tmp_path)


def test_the_command_checks_tasks_by_name_and_of_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["check", "toy"]) == 0
    assert "toy keeps the contract of a task." in capsys.readouterr().out
    Path("mine.py").write_text(
        "from dataclasses import replace\nfrom bbh_bench import hookimpl\nfrom bbh_bench.tasks import toy\n\n\n"
        "@hookimpl\ndef bbh_tasks():\n"
        "    return [replace(toy.TASK, name='good'), replace(toy.TASK, name='bad', headline='inside/luck')]\n"
    )
    assert main(["check", "--plugin", "mine.py"]) == 1
    shown = capsys.readouterr()
    assert "good keeps the contract of a task." in shown.out
    assert "bad breaks the contract: the headline 'inside/luck' is not among the scores" in shown.err
    assert main(["check", "nothing-of-this-name"]) == 2
    assert "No method, task, attack or metric named" in capsys.readouterr().err
    assert main(["check", "mnist-short", "--data", str(tmp_path / "gone")]) == 2
    assert "does not exist" in capsys.readouterr().err
