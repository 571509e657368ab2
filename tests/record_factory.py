"""Builders of records: of a classification under attack, with methods and seeds of one's choice."""

import msgspec

from bbh_bench.leaderboard import FILE, pages
from bbh_bench.records.record import (
    SCHEMA,
    Check,
    Failure,
    Hardware,
    MethodInfo,
    Package,
    Predictions,
    Provenance,
    Record,
    TaskInfo,
)

ATTACK = {
    "name": "a",
    "version": 3,
    "norm": "linf",
    "epsilons": [0.1],
    "samples": 16,
    "access": "white",
    "images": 100,
    "surrogate": None,
    "algorithm": {"type": "Pgd", "steps": 40, "rel_stepsize": 0.1},
}
PASSED = Check(verdict="pass", value=-1.25, limit=2.0, unit="points", description="a difference")
FAILED = msgspec.structs.replace(PASSED, verdict="fail", value=7.5)
NOT_APPLICABLE = msgspec.structs.replace(PASSED, verdict="not applicable", value=None, limit=None)
DIRECTIONS = {
    "nll": "lower",
    "error": "lower",
    "auroc": "higher",
    "robust_accuracy_auc": "higher",
    "degradation": "lower",
    "accuracy@0.1": "higher",
}
PROVENANCE = Provenance(
    packages={"bbh-bench": "0", "torch": "2"},
    python="3.11.7",
    commit="0123456789abcdef",
    dirty=False,
    diff=None,
    command="bbh-bench run",
    device="cpu",
    hardware=Hardware(
        system="Linux",
        processor="a processor",
        cores=4,
        threads=2,
        memory_bytes=2**33,
        accelerator=None,
        vector="AVX2",
    ),
    started="2026-01-01T00:00:00Z",
    fit=None,
)


def record(method="m", seed=0, nll=0.1, **changes):
    """A finished record of the task ``t``, version 1, whose scores follow from ``nll``; ``changes`` replace its parts."""
    base = Record(
        schema=SCHEMA,
        status="finished",
        task=TaskInfo(
            name="t",
            version=1,
            kind="classification",
            title="T",
            headline="test/nll",
            fingerprint="f",
            attacks=[ATTACK],
            threat_model={"version": 1},
        ),
        method=MethodInfo(
            name=method,
            version=1,
            description="a method",
            hyperparameters={"lr": 0.01},
            package=Package(name="bbh-bench", version="0", commit="0123456789abcdef", dirty=False),
            source="c0de",
        ),
        seed=seed,
        scores={
            "test/nll": nll,
            "test/error": nll / 10,
            "ood/o/auroc": 1 - nll,
            "attack/a/robust_accuracy_auc": 0.5,
            "robust/linf/robust_accuracy_auc": 0.4,
        },
        directions=DIRECTIONS,
        curves={
            "attack/a": {"epsilon": [0.0, 0.1], "accuracy": [0.9, 0.25], "entropy": [0.1, 0.2], "entropy_auc": [1, 1]},
            "robust/linf": {
                "epsilon": [0.0, 0.1],
                "accuracy": [0.9, 0.2],
                "accuracy_low": [0.8, 0.1],
                "accuracy_high": [0.95, 0.3],
            },
        },
        audit={"pgd_vs_fgsm": PASSED, "gradients": NOT_APPLICABLE},
        cost={
            "fit/relative": 1.25,
            "fit/seconds": 3.0,
            "attack/relative": 0.5,
            "peak_memory_bytes": 2.0**30,
            "parameters": 12345,
        },
        warnings=[],
        predictions=Predictions(file=f"seed{seed}.npz", sha256="0"),
        provenance=PROVENANCE,
        error=None,
    )
    return msgspec.structs.replace(base, **changes)


def failed(method="m", seed=0, message="the loss\nwas nan"):
    """A record of a failed cell."""
    error = Failure(type="Diverged", message=message, location="net.py:7", traceback="Traceback:\n  net.py, line 7\n")
    return record(method, seed, status="failed", scores={}, curves={}, audit={}, cost={}, predictions=None, error=error)


def unattacked(method="m", seed=0, nll=0.1):
    """A record of a posterior that cannot be attacked; its cost of attacks is 0, as the runner stores it."""
    scores = {"test/nll": nll, "test/error": nll / 10, "ood/o/auroc": 1 - nll}
    plain = record(method, seed, nll)
    return msgspec.structs.replace(
        plain, scores=scores, curves={}, audit={}, cost=plain.cost | {"attack/relative": 0.0}
    )


def with_task(base, **changes):
    """The same record with parts of its task replaced."""
    return msgspec.structs.replace(base, task=msgspec.structs.replace(base.task, **changes))


def with_scores(base, **scores):
    """The same record with more scores. ``__`` in a name stands for ``/``."""
    more = {name.replace("__", "/"): value for name, value in scores.items()}
    return msgspec.structs.replace(base, scores=base.scores | more)


def board(records):
    """The pages of all tasks, one after the other, without the first page."""
    return "\n".join(text for name, text in pages(records).items() if name != FILE)


def first_page(records):
    """The first page of the board."""
    return pages(records)[FILE]
