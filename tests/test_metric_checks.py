"""``check_metric``: every built-in metric passes, and each way to break the contract is named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bbh_bench.api import Metric
from bbh_bench.cli import main
from bbh_bench.errors import NotApplicable
from bbh_bench.plugins import load_plugins
from bbh_bench.testing import check_metric

GOOD = Metric("wrong", "labelled", "lower", "share of errors", lambda p, y: float(np.mean(p.log_probs.argmax(1) != y)))
RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("metric", load_plugins(external=False).metrics.values(), ids=lambda metric: metric.name)
def test_built_in_metrics_keep_the_contract(metric):
    check_metric(metric)


def spoil(p, y):
    p.log_probs[:] = 0
    return 0.5


def spoil_score(p, y):
    if p.ood_score is not None:
        p.ood_score.sort()
    return 0.5


def never(p, y):
    raise NotApplicable("of nothing")


def test_a_metric_may_not_apply_to_a_single_network():
    def information(p, y):
        if not p.mutual_information.any():
            raise NotApplicable("one network")
        return float(p.mutual_information.mean())

    check_metric(replace(GOOD, compute=information, better="neither"))


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"better": "higher"}, "the wrong way round"),
        ({"compute": lambda p, y: p.probs}, "return a finite float"),
        ({"compute": lambda p, y: float("nan")}, "return a finite float"),
        ({"compute": lambda p, y: 1 / 0}, "raised ZeroDivisionError"),
        ({"compute": lambda p: 0.0}, "raised TypeError"),
        ({"compute": lambda p, y: RANDOM.random()}, "another number the second time"),
        ({"compute": lambda p, y: float(p.log_probs[0, 0])}, "order of the inputs"),
        (
            {"compute": lambda p, y: float(-np.mean(p.probs[:, 0] / (1 - p.probs.max(1))))},
            "on predictions that are certain",
        ),
        ({"compute": lambda p, y: float(np.std(y, ddof=1))}, "on predictions of a single input"),
        ({"compute": lambda p, y: float(1 - p.ood_score.mean())}, "of a single network without OOD scores"),
        ({"compute": lambda p, y: float(-1 / p.mutual_information.max())}, "of a single network without OOD scores"),
        ({"compute": never}, r"raises NotApplicable \(of nothing\) on predictions of a good network"),
        ({"compute": spoil_score}, "changes its arguments"),
        ({"compute": spoil}, "changes its arguments"),
        ({"name": "Not a name"}, "is not valid"),
        ({"scope": "everything"}, "scope"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_breaks_the_contract_is_named(changes, advice):
    with pytest.raises(AssertionError, match=advice):
        check_metric(replace(GOOD, **changes))


def test_the_command_checks_metrics_by_name_and_of_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["check", "brier"]) == 0
    assert "brier keeps the contract of a metric." in capsys.readouterr().out
    Path("two.py").write_text(
        "from bbh_bench import Metric, hookimpl\n\n\n@hookimpl\ndef bbh_metrics():\n"
        "    return [Metric('constant', 'inputs', 'neither', 'one', lambda p: 1.0),"
        " Metric('broken', 'inputs', 'neither', 'none', lambda p: None)]\n"
    )
    assert main(["check", "--plugin", "two.py"]) == 1
    shown = capsys.readouterr()
    assert "constant keeps the contract of a metric." in shown.out
    assert "broken breaks the contract: 'broken' gives None" in shown.err
    assert main(["check", "nobody"]) == 2
