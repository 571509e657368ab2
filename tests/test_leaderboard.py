"""The board from records alone: statistics against NumPy, tables by the kind of a task, and what is said of failures."""

import subprocess
import sys

import msgspec
import pytest
import scipy.stats
from record_factory import PROVENANCE, board, failed, record, unattacked, with_scores, with_task

from bbh_bench.leaderboard import render, summary
from bbh_bench.leaderboard.statistics import column_values, comparison, method_order
from bbh_bench.leaderboard.tables import Column, by_task
from bbh_bench.records.record import Package
from bbh_bench.tasks import cifar, mnist

replace = msgspec.structs.replace
GOOD = [record("good", seed, nll) for seed, nll in enumerate([0.10, 0.11, 0.12])]
POOR = [record("poor", seed, nll) for seed, nll in enumerate([0.50, 0.52, 0.48])]
NEAR = [record("near", seed, nll) for seed, nll in enumerate([0.09, 0.115, 0.14])]


def row(text, name):
    return next(line for line in text.splitlines() if line.startswith(f"| {name} "))


def cells(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def main_headings(text):
    return cells(next(line for line in text.splitlines() if line.startswith("| method ")))


def section(text, heading):
    return text[text.index(heading) :]


def test_mean_and_interval_over_seeds():
    (group,) = by_task(GOOD)
    stats = column_values(group, Column("NLL", "test/nll")).values["good"]
    assert stats.mean == pytest.approx(0.11)
    low, high = scipy.stats.t.interval(0.95, 2, loc=0.11, scale=scipy.stats.sem([0.10, 0.11, 0.12]))
    assert 2 * stats.half == pytest.approx(high - low)
    assert stats.count == 3
    assert "0.1100 ± 0.0248" in row(board(GOOD), "good")


def test_rows_are_in_the_order_of_the_headline():
    (group,) = by_task([*POOR, *GOOD])
    assert method_order(group) == ["good", "poor"]
    text = summary([*POOR, *GOOD])
    assert text.index("| good") < text.index("| poor")


def test_a_headline_of_which_more_is_better_is_ordered_the_other_way():
    records = [with_task(each, headline="ood/o/auroc") for each in (*POOR, *GOOD)]
    (group,) = by_task(records)
    assert method_order(group) == ["good", "poor"]
    reverse = [replace(each, directions=each.directions | {"auroc": "lower"}) for each in records]
    (group,) = by_task(reverse)
    assert method_order(group) == ["poor", "good"]


def test_the_best_is_bold_only_if_it_is_better_than_each_other():
    def best(records):
        (group,) = by_task(records)
        return comparison(group, Column("NLL", "test/nll", direction="lower")).best()

    assert best([*GOOD, *POOR]) == "good"
    assert best([*GOOD, *POOR, *NEAR]) is None
    assert best([*GOOD, *POOR, record("lone", 0, 0.01)]) == "good"  # one seed says nothing, and blocks nothing
    assert best(GOOD) is None
    assert "**0.1100 ± 0.0248**" in row(summary([*GOOD, *POOR]), "good")
    assert "**" not in row(summary([*GOOD, *POOR]), "poor")
    assert "**" not in summary([*GOOD, *NEAR])


def test_higher_is_better_if_the_record_says_so():
    assert "AUROC ↑" in board(GOOD)
    assert "**0.890 ± 0.025**" in board([*GOOD, *POOR])


def test_the_columns_of_a_classification():
    assert main_headings(board(GOOD)) == [
        "method",
        "n",
        "error % ↓",
        "NLL ↓",
        "OOD AUROC ↑",
        "robust-accuracy AUC ↑",
        "relative cost (MAP = 1)",
        "audit",
    ]
    rescored = [
        with_scores(each, **{"robust__linf__accuracy@0.1": 0.2, "robust__linf__degradation": 0.7}) for each in GOOD
    ]
    headings = main_headings(board(rescored))
    assert headings[5:8] == ["robust accuracy at ε = 0.1, % ↑", "attack degradation, points ↓", "robust-accuracy AUC ↑"]
    line = cells(row(board(rescored), "good"))
    assert line[5:8] == ["20.0 ± 0.0", "70.0 ± 0.0", "0.400 ± 0.000"]
    assert "The OOD set of this table is o." in board(rescored)
    assert "Attack degradation is averaged over ε = 0.1." in board(rescored)
    assert "is averaged over ε =" not in board(GOOD)


def test_a_column_that_no_record_has_is_left_out():
    assert "ECE" in main_headings(board([with_scores(each, test__ece=0.1) for each in GOOD]))[4]
    assert "ECE" not in " ".join(main_headings(board(GOOD)))


def test_a_method_that_cannot_be_attacked_gets_a_dash():
    plain = [unattacked("plain", seed, 0.2) for seed in (0, 1)]
    text = board([*GOOD, *plain])
    assert cells(row(text, "plain"))[5:] == ["–", "1.2 ± 0.0", "–"]  # robust-accuracy AUC, relative cost, audit
    assert "| plain" in section(text, "## Attacks")
    attack_cost = dict(
        zip(*map(cells, (row(section(text, "## Cost"), name) for name in ("method", "plain"))), strict=True)
    )
    assert attack_cost["attacks (MAP = 1)"] == "–"


def test_unknown_parameters_get_a_dash():
    unknown = [replace(each, cost={k: v for k, v in each.cost.items() if k != "parameters"}) for each in POOR]
    cost = section(board([*GOOD, *unknown]), "## Cost")
    assert cells(row(cost, "good"))[-1] == "12,345"
    assert cells(row(cost, "poor"))[-1] == "–"
    assert "parameters" not in row(section(board(unknown), "## Cost"), "method")


def test_the_kind_of_a_task_decides_its_tables_not_the_names_of_its_scores():
    misleading = {"test/nll": 0.1, "inside/rmse": 2.0, "outside/width": 3.0}
    records = [replace(each, scores=misleading, curves={}, audit={}) for each in GOOD]
    assert "RMSE inside" not in main_headings(board(records))
    regression = board([with_task(each, kind="regression") for each in records])
    assert main_headings(regression)[:5] == ["method", "n", "RMSE inside", "95 % width outside", "test/nll ↓"]
    assert "## In distribution" not in regression


def test_a_task_of_another_kind_gets_a_table_of_all_its_scores():
    scores = {"coverage": 0.75, "quality/crps": 1234.5678, "tiny": 0.00012346}
    records = [
        replace(with_task(each, kind="survival", headline="quality/crps"), scores=scores, curves={}, audit={})
        for each in GOOD
    ]
    records = [replace(each, directions={"crps": "lower"}) for each in records]
    text = board(records)
    assert main_headings(text) == ["method", "n", "quality/crps ↓", "coverage", "tiny", "relative cost (MAP = 1)"]
    assert cells(row(text, "good"))[2:5] == ["1,234.6 ± 0.0", "0.7500 ± 0.0000", "0.0001235 ± 0.0000000"]
    assert "## In distribution" not in text
    assert "## Cost" in text


def test_other_scores_of_a_classification_have_a_table():
    text = board([with_scores(each, fairness__gap=0.125) for each in GOOD])
    assert cells(row(section(text, "## Other scores"), "good"))[2] == "0.1250 ± 0.0000"
    assert "## Other scores" not in board(GOOD)


def test_failures_are_shown_as_failures():
    text = board([*GOOD, failed("good", 3), failed("lost", 0)])
    assert "3 (1 failed)" in row(text, "good")
    assert row(text, "lost").split() == ["|", "lost", "|", "failed", "|", *["–", "|"] * 6]
    line = cells(row(section(text, "## Failures"), "lost"))
    assert line == ["lost", "0", "Diverged", "the loss was nan", "net.py:7"]
    assert "failed" in board([failed("lost", 0)])


def test_a_third_partys_error_message_cannot_break_the_page():
    lost = failed("lost", 0, message="a|b <img src=x>\n" + "long " * 100)
    line = next(line for line in board([lost]).splitlines() if "Diverged" in line)
    assert "a\\|b &lt;img" in line
    assert len(line) < 400


def test_names_and_titles_from_outside_are_escaped():
    text = board([with_task(each, title="T <script>") for each in (record("a|b", 0), record("a|b", 1))])
    assert "# t v1: T &lt;script>" in text
    assert "| a\\|b " in text


def test_warnings_are_listed_once_with_the_seeds_that_have_them():
    first, second, third = GOOD
    sentence = "no gradient: <b>not attacked</b> | not audited"
    records = [replace(first, warnings=[sentence]), replace(second, warnings=[sentence, "slow"]), third]
    lines = [cells(line) for line in section(board(records), "## Warnings").splitlines() if line.startswith("| good")]
    assert lines[0][:3] == ["good", "2", "0, 1"]
    assert lines[1] == ["good", "1", "1", "slow"]
    assert "no gradient: &lt;b>not attacked&lt;/b> \\| not audited" in board(records)
    assert "## Warnings" not in board(GOOD)


def test_a_column_that_fewer_seeds_have_says_so():
    part = [
        replace(each, scores={k: v for k, v in each.scores.items() if "/o/" not in k or each.seed == 0})
        for each in GOOD
    ]
    assert "0.900 (n = 1)" in row(summary(part), "good")
    assert "(n =" not in summary(GOOD)


def test_records_of_different_definitions_never_share_a_table():
    other = [with_task(each, fingerprint="g") for each in POOR]
    assert len(by_task([*GOOD, *other])) == 2


def test_a_third_party_metric_gets_a_column():
    more = [
        replace(with_scores(each, test__sharpness=0.25), directions=each.directions | {"sharpness": "lower"})
        for each in GOOD
    ]
    assert "sharpness ↓" in board(more)


def test_the_page_says_where_the_rows_come_from():
    line = "- 3 cells: bbh-bench 0 (commit 0123456789), torch 2, a processor, 2 threads, `bbh-bench run`"
    assert line in board(GOOD).splitlines()
    fit = replace(PROVENANCE, command="bbh-bench run --seeds 1", commit="fedcba9876543210", dirty=True)
    package = Package(name="bbh-bench-swag", version="1.2", commit=None, dirty=None)
    cached = [
        replace(
            each,
            provenance=replace(PROVENANCE, fit=fit, commit=None),
            method=replace(each.method, package=package),
        )
        for each in GOOD
    ]
    text = board(cached)
    assert "bbh-bench 0 (unknown commit), bbh-bench-swag 1.2, torch 2" in text
    fitted = (
        "posterior from the cache, fitted by `bbh-bench run --seeds 1` (commit fedcba9876 with uncommitted changes)"
    )
    assert fitted in text


def test_an_empty_board_says_so(tmp_path):
    assert "no records yet" in render([], tmp_path / "new").read_text()


def test_a_summary_fits_a_terminal():
    rescored = [
        with_scores(each, test__ece=0.1, test__entropy_auc=0.9, ood__o__entropy_auc=0.5, robust__linf__degradation=0.7)
        for each in GOOD
    ]
    assert max(len(line) for line in summary(rescored).splitlines()) <= 200


@pytest.mark.parametrize("module", ["leaderboard", "leaderboard.frame", "leaderboard.diff", "leaderboard.record_page"])
def test_the_leaderboard_imports_neither_torch_nor_another_room(module):
    code = f"import sys; import bbh_bench.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert f"bbh_bench.{module}" in loaded
    assert not loaded & {"torch", "torchvision", "foolbox"}
    ours = {name.split(".")[1] for name in loaded if name.startswith("bbh_bench.")}
    assert ours == {"calibration", "errors", "hookspecs", "leaderboard", "records", "risk_coverage"}


def mnist_record(seed, error, test_auc, ood_auc):
    scores = {"test/nll": 0.03, "test/error": error, "test/entropy_auc": test_auc, "ood/notmnist/entropy_auc": ood_auc}
    return replace(with_task(record("bbh", seed), name="mnist"), scores=scores)


def test_the_papers_tables_are_compared_with_ours():
    """By hand: 0.0056 of 10,000 images has a binomial standard error of 0.0746 points; for two seeds, t is 12.706.

    One more run lies within t sd sqrt(1 + 1 / 2) of the mean: for the error 12.706 * 0.0566 * 1.2247 = 0.880.
    """
    records = [mnist_record(0, 0.0060, 0.97, 0.50), mnist_record(1, 0.0068, 0.98, 0.54)]
    text = board(records)
    assert "## Comparison with the paper" in text
    lines = [cells(line) for line in text.splitlines() if line.startswith("| BbH")]
    assert lines[0] == ["BbH", "bbh", "2", "error %", "0.56", "0.64 ± 0.51", "+0.08", "0.89", "yes"]
    assert lines[1][-4:] == ["0.975 ± 0.064", "+0.005", "0.115", "yes"]
    assert lines[2][3:] == ["notmnist entropy AUC", "0.48", "0.520 ± 0.254", "+0.040", "0.445", "yes"]
    tied = "The paper's smallest error is that of Dropout, 0.47 %, from one run on 10,000 images."
    assert f"**Table 3** {tied} Within two standard errors of the difference, and so tied with it:" in " ".join(
        text.split()
    )
    assert "Ensemble (0.49 %), MNF (0.63 %), BbH (0.56 %)." in " ".join(text.split())
    layer_wise = next(line for line in text.splitlines() if line.startswith("| Layer-wise"))
    assert " -0.09 |" in layer_wise
    alone = next(line for line in board(records[:1]).splitlines() if line.startswith("| BbH") and "notmnist" in line)
    assert cells(alone)[-2:] == ["–", "–"]  # one seed has no spread
    far = [mnist_record(seed, 0.01, 0.97, 0.48) for seed in (0, 1)]
    assert next(line for line in board(far).splitlines() if line.startswith("| BbH")).endswith(" no |")


def test_table_4_is_compared_with_the_tasks_of_cifar5():
    """Its test set has 5,000 images: 13.62 % of them has a binomial standard error of 0.485 points."""
    scores = {"test/nll": 0.6, "test/error": 0.15, "test/entropy_auc": 0.7, "ood/cifar10-others/entropy_auc": 0.5}
    for task in (cifar.TASK, cifar.SHORT):
        text = board([replace(with_task(record("bbh", 0), name=task.name), scores=scores)])
        line = next(line for line in text.splitlines() if line.startswith("| BbH"))
        assert cells(line) == ["BbH", "bbh", "1", "error %", "13.62", "15.00", "+1.38", "0.97", "no"]
        assert "trains on 22,500 of them" in text


@pytest.mark.parametrize(
    ("full", "short", "ood"), [(mnist.TASK, mnist.SHORT, "notmnist"), (cifar.TASK, cifar.SHORT, "cifar10-others")]
)
def test_a_short_budget_is_named_beside_that_of_the_paper(full, short, ood):
    scores = {"test/nll": 0.6, "test/error": 0.15, "test/entropy_auc": 0.7, f"ood/{ood}/entropy_auc": 0.5}
    pages = [board([replace(with_task(record("map", 0), name=task.name), scores=scores)]) for task in (full, short)]
    sentence = f"The paper trains for {full.epochs} epochs and this task for {short.epochs}."
    assert [sentence in page for page in pages] == [False, True]


def test_a_task_of_another_name_is_not_compared_with_the_paper():
    assert "Comparison with the paper" not in board([with_task(mnist_record(0, 0.006, 0.97, 0.5), name="digits5")])


def test_shifts_are_drawn_and_named_on_the_page(tmp_path):
    many = {"angle": [0.0, 90.0], "entropy": [0.1, 0.9], "mutual_information": [0.0, 0.2], "accuracy": [0.9, 0.1]}
    one = {"share": [0.0, 1.0], "entropy": [0.1, 0.2], "mutual_information": [0.0, 0.0], "p(0)": [0.9, 0.1]}
    one |= {"p(1)": [0.1, 0.9]}
    curves = {"shift/rotation": many, "shift/pair": one}
    render([replace(each, curves=curves) for each in [*GOOD, *POOR]], tmp_path)
    text = (tmp_path / "t-v1-f.md").read_text()
    for figure in ("t-v1-f-shifts.png", "t-v1-f-images.png"):
        assert f"({figure})" in text
        assert (tmp_path / figure).read_bytes().startswith(b"\x89PNG")
    assert "## Shifts" not in board(GOOD)


def test_a_regression_is_drawn_and_named_on_the_page(tmp_path):
    curves = {
        "grid/prediction": {"x": [0.0, 1.0], "truth": [0.0, 1.0], "mean": [0.1, 0.9], "std": [0.2, 0.2]},
        "train/data": {"x": [0.5], "y": [0.4]},
    }
    scores = {"inside/nll": 1.0, "grid/nll": 2.0}
    records = [
        replace(with_task(each, kind="regression", headline="inside/nll"), scores=scores, curves=curves, audit={})
        for each in [*GOOD, *POOR]
    ]
    text = render(records, tmp_path).read_text()
    assert "(t-v1-f.png)" in text
    assert "*Inside* is the range of the training inputs" in (tmp_path / "t-v1-f.md").read_text()
    assert (tmp_path / "t-v1-f.png").read_bytes().startswith(b"\x89PNG")


def test_a_regression_without_curves_has_no_figure(tmp_path):
    records = [
        replace(with_task(each, kind="regression", headline="rmse"), scores={"rmse": 1.0}, curves={}, audit={})
        for each in GOOD
    ]
    text = render(records, tmp_path).read_text()
    assert "![" not in text
    assert "*Inside*" not in text
    assert not list(tmp_path.glob("*.png"))


def test_a_figure_that_no_page_shows_is_not_drawn(tmp_path):
    text = render([with_task(each, kind="survival") for each in GOOD], tmp_path).read_text()
    assert "![" not in text
    assert not list(tmp_path.glob("*.png"))
