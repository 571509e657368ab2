"""Tasks whose description, data or evaluation breaks the contract, each in one way."""

import itertools
from dataclasses import dataclass, replace

import line_plugin
import torch

from bbh_bench.data import check_open


@dataclass(frozen=True)
class Line(line_plugin.Line):
    """A straight line, with which everything is right."""

    points: int = 8

    def describe(self):
        return replace(super().describe(), fit={"points": self.points})

    def load(self, folder):
        check_open("line")
        return Loaded()


class Loaded(line_plugin.LoadedLine):
    """The eight points."""


class Described(Line):
    """A line whose description is changed."""

    def describe(self):
        return replace(super().describe(), **self.changes())


class Title(Described):
    def changes(self):
        return {"title": "two\nlines"}


class NoJson(Described):
    def changes(self):
        return {"evaluation": {"function": len}}


class NoNumber(Described):
    def changes(self):
        return {"fit": {"points": 8, "noise": float("nan")}}


class Address(Described):
    def changes(self):
        return {"evaluation": {"network": repr(Loaded())}}


COUNTER = itertools.count()


class Changing(Described):
    def changes(self):
        return {"evaluation": {"run": next(COUNTER)}}


class OfThisProcess(Described):
    def changes(self):
        return {"evaluation": {"task": id(self)}}


class ForgetsAField(Described):
    def changes(self):
        return {"fit": {}}


class NoDescription(Line):
    def describe(self):
        return {"title": "a line"}


class ReadsToDescribe(Line):
    def describe(self):
        self.load(None)
        return super().describe()


class Headline(Described):
    def changes(self):
        return {"headline": "test/nll"}


class AttackChangesIt(Line):
    def with_attacks(self, attacks):
        return replace(self, points=9)


class AttackForgotten(Line):
    def with_attacks(self, attacks):
        return self


class AttackRaises(Line):
    def with_attacks(self, attacks):
        raise KeyError("attack")


class Open(Line):
    def load(self, folder):
        return Loaded()


class LoadRaises(Line):
    def load(self, folder):
        check_open("line")
        raise KeyError("points")


class Of(Line):
    """A line whose loaded task is another one."""

    def load(self, folder):
        check_open("line")
        return self.loaded()


def with_problem(change):
    """A loaded line whose problem is changed."""

    class Other(Loaded):
        def problem(self, device):
            return change(super().problem(device))

    class Task(Of):
        def load(self, folder):
            check_open("line")
            return Other()

    return Task()


class Kept(Loaded):
    """Gives every method the same tensors."""

    def __init__(self):
        self.kept = super().problem(torch.device("cpu"))

    def problem(self, device):
        return self.kept


class SameTensors(Of):
    loaded = Kept


SPLITS = itertools.count()


class OtherData(Loaded):
    def __init__(self):
        self.split = next(SPLITS)

    def problem(self, device):
        problem = super().problem(device)
        return replace(problem, y=problem.y + self.split)


class OtherSplit(Of):
    loaded = OtherData


class NoStage(Loaded):
    def evaluate(self, posterior, device, seed, stage):
        problem = self.problem(device)
        outputs = posterior.sample(4)(problem.x).mean(0).squeeze(1).detach()
        return {"test/outputs": outputs.numpy(), "test/targets": problem.y.numpy()}


class Unseeded(Of):
    loaded = NoStage


def with_arrays(change):
    """A line whose evaluation returns other arrays."""

    class Other(Loaded):
        def evaluate(self, posterior, device, seed, stage):
            return change(super().evaluate(posterior, device, seed, stage))

    class Task(Of):
        def load(self, folder):
            check_open("line")
            return Other()

    return Task()


class EvaluateRaises(Loaded):
    def evaluate(self, posterior, device, seed, stage):
        raise KeyError("grid")


class Raising(Of):
    loaded = EvaluateRaises


class Trains(Loaded):
    """Its evaluation changes what later cells are fitted to."""

    def __init__(self):
        self.shift = 0.0

    def problem(self, device):
        problem = super().problem(device)
        return replace(problem, y=problem.y + self.shift)

    def evaluate(self, posterior, device, seed, stage):
        arrays = super().evaluate(posterior, device, seed, stage)
        self.shift = 1.0
        return arrays | {"test/targets": arrays["test/outputs"]}


class Training(Of):
    loaded = Trains


class Validation(Loaded):
    """Validates with random numbers of no stage."""

    def validation_nll(self, posterior, device, stage):
        return float(torch.rand(1))


class Unvalidated(Of):
    loaded = Validation


class ValidationNaN(Loaded):
    def validation_nll(self, posterior, device, stage):
        return float("nan")


class NotValidated(Of):
    loaded = ValidationNaN
