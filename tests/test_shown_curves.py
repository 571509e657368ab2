"""A record whose curve lacks what a board shows is refused by name; optional columns may be missing in some records."""

import msgspec
import pytest
from record_factory import record

from bbh_bench.errors import RecordError
from bbh_bench.leaderboard import pages
from bbh_bench.leaderboard.figures import draw
from bbh_bench.leaderboard.tables import by_task
from bbh_bench.records.limits import LARGEST_NUMBER
from bbh_bench.records.record import Record

AXIS = [0.0, 0.1]
AUROCS = {f"{score}_{which}": AXIS for score in ("auroc", "mi_auroc") for which in ("ood", "test", "both")}
CLASSES = {"p(0)": [0.75, 0.5], "p(1)": [0.25, 0.5]}
CURVES = {
    "attack/a": {"epsilon": AXIS, "accuracy": AXIS, "entropy": AXIS, "entropy_auc": AXIS},
    "robust/linf": {"epsilon": AXIS, "accuracy": AXIS, "accuracy_low": AXIS, "accuracy_high": AXIS},
    "uncertainty/o": {"epsilon": AXIS, **AUROCS, "images_test": AXIS, "images_ood": AXIS},
    "shift/one": {"angle": AXIS, "entropy": AXIS, **CLASSES},
    "grid/prediction": {"x": AXIS, "truth": AXIS, "mean": AXIS, "std": AXIS},
    "train/data": {"x": AXIS, "y": AXIS},
}
OPTIONAL = [("attack/a", "entropy"), ("attack/a", "entropy_auc"), ("shift/one", "angle")]
NEEDED = [(name, column) for name, curve in CURVES.items() for column in curve if (name, column) not in OPTIONAL]


def of_seed(seed, changes):
    return record("m", seed, curves=CURVES | changes)


def without(name, column):
    return {name: {key: values for key, values in CURVES[name].items() if key != column}}


def read(folder, content):
    path = folder / "seed1.json"
    path.write_text(content.to_json())
    return Record.read(path)


@pytest.mark.parametrize(("name", "column"), NEEDED)
def test_a_curve_without_a_column_that_is_shown_is_refused(name, column, tmp_path):
    with pytest.raises(RecordError, match=r"seed1\.json' is damaged") as refused:
        read(tmp_path, of_seed(1, without(name, column)))
    assert f"the curve '{name}' lacks the columns {column}" in str(refused.value)


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_without_points_is_refused(name, tmp_path):
    with pytest.raises(RecordError, match=f"the curve '{name}' has no points"):
        read(tmp_path, of_seed(1, {name: {column: [] for column in CURVES[name]}}))


def test_a_curve_that_no_board_shows_may_have_any_columns(tmp_path):
    changed = of_seed(1, {"train/loss": {"epoch": []}, "mine": {"a": AXIS}})
    assert read(tmp_path, changed) == changed
    assert pages([changed])


SHORT = {"robust/linf": {column: values[:1] for column, values in CURVES["robust/linf"].items()}}
MANY = {"shift/one": {"angle": AXIS, "entropy": AXIS, "accuracy": AXIS}}
DIFFERENT = [SHORT, MANY, *(without(name, column) for name, column in OPTIONAL)]


@pytest.mark.parametrize("change", DIFFERENT)
def test_a_page_shows_records_whose_curves_differ(change):
    """Whichever of them is the first."""
    assert pages([of_seed(0, change), of_seed(1, {})])
    assert pages([of_seed(0, {}), of_seed(1, change)])


def test_figures_show_records_whose_curves_differ():
    different = SHORT | MANY | without("attack/a", "entropy")
    assert draw(by_task([of_seed(0, {}), of_seed(1, different)]), ["m"])


@pytest.mark.parametrize("value", [LARGEST_NUMBER, -LARGEST_NUMBER])
def test_the_largest_numbers_are_squared_without_overflow(value, tmp_path):
    """Numbers of 1e154 ended a board with a warning: the square of their deviation is no float."""
    curves = CURVES | {"attack/a": CURVES["attack/a"] | {"accuracy": [value, 0.0]}}
    plain = [of_seed(seed, {}) for seed in range(3)]
    records = [msgspec.structs.replace(plain[0], curves=curves), *plain[1:]]
    assert pages([read(tmp_path, records[0]), *records[1:]])
