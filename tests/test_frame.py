"""A leaderboard as a data frame, of hand-written records and of the published ones."""

import msgspec
import numpy as np
import pandas as pd
import pytest
from record_factory import failed, record

import bbh_bench
from bbh_bench.errors import RecordError
from bbh_bench.leaderboard.frame import load_leaderboard
from bbh_bench.records.files import write_atomically
from bbh_bench.records.store import Store

COLUMNS = ["task", "version", "fingerprint", "method", "seed", "score", "value", "direction"]
COLUMNS += ["relative_cost", "fit_seconds", "parameters"]
PUBLISHED = "leaderboard"


def write(folder, *records):
    for each in records:
        path = folder / each.path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, each.to_json().encode())


def test_one_row_for_each_score_and_cost_of_a_cell(tmp_path):
    original = record("m", 4)
    write(tmp_path, original)
    frame = load_leaderboard(tmp_path)
    assert list(frame.columns) == COLUMNS
    assert len(frame) == len(original.scores) + len(original.cost)
    first = frame[frame.score == "test/nll"].iloc[0]
    assert list(first) == ["t", 1, "f", "m", 4, "test/nll", 0.1, "lower", 1.25, 3.0, 12345]
    by_score = frame.set_index("score")
    assert by_score.value["cost/fit/relative"] == 1.25
    assert by_score.direction["cost/fit/relative"] == "lower"
    assert by_score.direction["ood/o/auroc"] == "higher"


def test_a_score_without_a_direction_and_the_speed_of_the_machine_have_no_better_side(tmp_path):
    original = record("m", cost={"reference/step_seconds": 0.5}, directions={})
    write(tmp_path, original)
    assert set(load_leaderboard(tmp_path).direction) == {"neither"}


def test_costs_that_were_not_measured_are_missing_values(tmp_path):
    write(tmp_path, record("m", cost={}), record("n"))
    frame = load_leaderboard(str(tmp_path))
    missing = frame[frame.method == "m"]
    for column in ("relative_cost", "fit_seconds", "parameters"):
        assert missing[column].isna().all()
        assert frame[frame.method == "n"][column].notna().all()


def test_failed_cells_are_left_out(tmp_path):
    write(tmp_path, record("m"), failed("lost"))
    assert set(load_leaderboard(tmp_path).method) == {"m"}


def test_only_failed_cells_give_an_empty_frame_with_all_columns(tmp_path):
    write(tmp_path, failed("lost"))
    frame = load_leaderboard(tmp_path)
    assert frame.empty
    assert list(frame.columns) == COLUMNS
    assert frame.dtypes["value"] == np.float64


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(RecordError, match="There is no folder"):
        load_leaderboard(tmp_path / "absent")
    with pytest.raises(RecordError, match="There are no records"):
        load_leaderboard(tmp_path)


def test_a_damaged_record_is_refused(tmp_path):
    original = record("m")
    write(tmp_path, original)
    (tmp_path / original.path).write_text("{}")
    with pytest.raises(RecordError, match=r"seed0\.json"):
        load_leaderboard(tmp_path)


def test_the_published_records_as_a_frame(pytestconfig):
    folder = pytestconfig.rootpath / PUBLISHED
    frame = load_leaderboard(folder)
    records = Store(folder).records()
    assert len(frame) == sum(len(r.scores) + len(r.cost) for r in records)
    assert frame.groupby(["task", "version", "method", "seed"]).ngroups == len(records)
    digits = frame[(frame.task == "digits5") & frame.score.isin(["test/nll", "test/error"])]
    table = digits.pivot_table(index="method", columns="score", values="value")
    expected = [r.scores["test/nll"] for r in records if (r.task.name, r.method.name) == ("digits5", "bbh")]
    assert table.loc["bbh", "test/nll"] == pytest.approx(np.mean(expected))
    assert not frame.duplicated(["task", "version", "fingerprint", "method", "seed", "score"]).any()
    parameters = {(r.task.name, r.method.name, r.seed): r.cost["parameters"] for r in records}
    cells = frame.drop_duplicates(["task", "method", "seed"])
    assert (
        dict(zip(zip(cells.task, cells.method, cells.seed, strict=True), cells.parameters, strict=True)) == parameters
    )


def test_it_is_a_name_of_the_package():
    assert bbh_bench.load_leaderboard is load_leaderboard


def test_seeds_of_a_task_with_two_versions_stay_apart(tmp_path):
    original = record("m")
    write(tmp_path, original, msgspec.structs.replace(original, task=msgspec.structs.replace(original.task, version=2)))
    frame = load_leaderboard(tmp_path)
    assert isinstance(frame, pd.DataFrame)
    assert sorted(set(frame.version)) == [1, 2]
