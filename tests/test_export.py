"""The board as CSV, JSON and LaTeX, against pandas and the records."""

import io
import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from record_factory import FAILED, failed, record, with_task

from bbh_bench import load_leaderboard
from bbh_bench.leaderboard import exports
from bbh_bench.leaderboard.model import TaskModel, task_model
from bbh_bench.leaderboard.tables import by_task
from bbh_bench.records.store import Store

PUBLISHED = Path(__file__).parent.parent / "leaderboard"
replace = msgspec.structs.replace


def models(records):
    return [task_model(group) for group in by_task(records)]


@pytest.fixture(scope="module")
def published():
    return models(Store(PUBLISHED).records())


def as_frame(of_models):
    return pd.read_csv(io.BytesIO(exports(of_models)["leaderboard.csv"]))


def test_every_mean_of_the_csv_is_that_of_the_records(published):
    ours = as_frame(published).set_index(["task", "version", "method", "score"])["mean"]
    frame = load_leaderboard(PUBLISHED)
    expected = frame.groupby(["task", "version", "method", "score"])["value"].mean()
    assert len(ours) > 1000
    np.testing.assert_allclose(ours, expected.reindex(ours.index), rtol=1e-12)


def test_the_csv_counts_seeds_and_marks_provisional_rows():
    frame = as_frame(models([*(record("many", seed, 0.1 + seed / 100) for seed in range(3)), record("one", 0)]))
    nll = frame[frame.score == "test/nll"].set_index("method")
    assert nll.seeds.to_dict() == {"many": 3, "one": 1}
    assert nll.provisional.to_dict() == {"many": False, "one": True}
    assert nll.half_width.isna().to_dict() == {"many": False, "one": True}
    assert nll.half_width["many"] == pytest.approx(4.302653 * 0.01 / 3**0.5)  # t of two degrees of freedom


def test_json_has_everything_and_is_read_again(published):
    content = exports(published)["leaderboard.json"]
    assert msgspec.json.decode(content, type=dict[str, list[TaskModel]])["tasks"] == published
    assert {task["name"] for task in json.loads(content)["tasks"]} >= {"digits5", "toy"}


def test_a_spreadsheet_takes_no_name_for_a_formula():
    hostile = replace(record(), scores=record().scores | {"=cmd()": 1.0})
    assert "'=cmd()" in set(as_frame(models([hostile])).score)


def test_latex_has_a_table_for_each_task_and_escapes_names():
    distrusted = record("50 % & more_of_it", audit={"gradients": FAILED})
    distrusted = replace(distrusted, scores=distrusted.scores | {"robust/linf/accuracy@0.1": 0.5})
    text = exports(models([distrusted, failed("lost"), with_task(record("m"), name="other")]))[
        "leaderboard.tex"
    ].decode()
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert r"50 \% \& more\_of\_it*" in text
    assert r"\sout{50.0}" in text
    for table in text.split(r"\begin{tabular}")[1:]:
        rows = re.findall(r"^(.*) \\\\$", table, re.MULTILINE)
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1
