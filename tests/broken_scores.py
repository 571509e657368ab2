"""Tasks whose scores break the contract, each in one way."""

import itertools
import random
from dataclasses import dataclass, field, replace

import numpy as np
from broken_tasks import Line


class Scoring(Line):
    """A line whose scores are changed."""

    def score(self, arrays, metrics):
        return self.changed(super().score(arrays, metrics), arrays)


class Random(Scoring):
    def changed(self, scored, arrays):
        noise = np.random.default_rng(0).normal() + 0 * np.random.normal()
        return replace(scored, scores=scored.scores | {"test/noise": float(noise)})


class PythonRandom(Scoring):
    def changed(self, scored, arrays):
        random.random()
        return scored


class Spoils(Scoring):
    def changed(self, scored, arrays):
        arrays["test/outputs"][:] = 0
        return scored


class NotFinite(Scoring):
    def changed(self, scored, arrays):
        return replace(scored, scores=scored.scores | {"test/ratio": float("inf")})


class NotANumber(Scoring):
    def changed(self, scored, arrays):
        return replace(scored, scores=scored.scores | {"test/ratio": np.zeros(2)})


CALLS = itertools.count()


class Counting(Scoring):
    def changed(self, scored, arrays):
        return replace(scored, scores=scored.scores | {"test/calls": float(next(CALLS))})


class NoScored(Scoring):
    def changed(self, scored, arrays):
        return scored.scores


class NoDirection(Scoring):
    def changed(self, scored, arrays):
        return replace(scored, directions={})


class WrongDirection(Scoring):
    def changed(self, scored, arrays):
        return replace(scored, directions={"mse": "down"})


class Curve(Scoring):
    def changed(self, scored, arrays):
        return replace(scored, curves={"error": {"x": [1.0, 2.0], "y": [1.0]}})


class ScoreReads(Line):
    def score(self, arrays, metrics):
        self.load(None)
        return super().score(arrays, metrics)


@dataclass(frozen=True)
class Remembers(Line):
    """Its scores depend on what its object has seen, and copies have not."""

    seen: list = field(default_factory=list, compare=False)

    def __getstate__(self):
        return {"name": self.name, "version": self.version, "disk": self.disk, "points": self.points, "seen": []}

    def __setstate__(self, state):
        self.__dict__.update(state)

    def load(self, folder):
        self.seen.append(1) if not self.seen else None
        return super().load(folder)

    def score(self, arrays, metrics):
        scored = super().score(arrays, metrics)
        return replace(scored, scores=scored.scores | {"test/loads": float(len(self.seen))})


class Refuses(Line):
    def faults(self, arrays):
        return ["test/outputs is missing"]
