"""The paper's tables beside ours: Pawlowski et al. 2017, arXiv 1711.01297, Tables 1, 3 and 4."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from bbh_bench.leaderboard.tables import Column, TaskRecords, statistics

TEST_IMAGES = 10_000  # of MNIST; CIFAR-10's test set holds 5,000 of the five classes
PRINTED = 0.005  # half the last digit of an entropy AUC in the paper


@dataclass(frozen=True)
class PaperTable:
    """One table of the paper: error in per cent, entropy AUC on the test set and on outliers, by its row and our method."""

    title: str
    tasks: tuple[str, ...]
    outlier: str
    test_images: int
    rows: dict[tuple[str, str], tuple[float, float, float]]


PAPER = [
    PaperTable(
        "Table 1",
        ("mnist", "mnist-short"),
        "notmnist",
        TEST_IMAGES,
        {
            ("Single G", "bbh-single"): (1.1, 0.89, 0.48),
            ("Sliced layer-wise", "bbh-sliced"): (1.7, 0.93, 0.55),
            ("Layer-wise", "bbh"): (0.73, 0.98, 0.54),
        },
    ),
    PaperTable(
        "Table 3",
        ("mnist", "mnist-short"),
        "notmnist",
        TEST_IMAGES,
        {
            ("MAP", "map"): (0.80, 0.99, 0.71),
            ("Ensemble", "ensemble"): (0.49, 0.99, 0.65),
            ("BbB", "bbb"): (0.72, 0.97, 0.41),
            ("Dropout", "dropout"): (0.47, 0.99, 0.58),
            ("MNF", "mnf"): (0.63, 0.99, 0.58),
            ("BbH", "bbh"): (0.56, 0.97, 0.48),
        },
    ),
    PaperTable(
        "Table 4",
        ("cifar5",),
        "cifar10-others",
        TEST_IMAGES // 2,
        {
            ("MAP", "map"): (13.58, 0.83, 0.68),
            ("Ensemble", "ensemble"): (10.18, 0.77, 0.55),
            ("BbB", "bbb"): (13.78, 0.65, 0.44),
            ("Dropout", "dropout"): (24.74, 0.46, 0.35),
            ("MNF", "mnf"): (12.82, 0.82, 0.62),
            ("BbH", "bbh"): (13.62, 0.68, 0.51),
        },
    ),
]

HEADINGS = ["paper's row", "method", "n", "score", "paper", "ours", "difference", "tolerance", "within it"]

CAPTION = """The paper gives one run each, and doesn't say in which settings Tables 1 and 3 differ; both have a layer-wise BbH.
The tolerance of an error is twice its binomial standard error on the test set; that of an entropy AUC is the half
unit in the last digit that the paper prints and twice the standard deviation over our seeds; one seed has none.

Known differences: the paper's entropy AUC is a sum over a histogram, up to 0.0013 below the exact one on confident data. Its
ensemble has ten members and adversarial training, ours five and none. `bbh-sliced` and `bbh-single` weight the KL by 0.2."""

SHORT = "The paper trains for 100 epochs, this task for 5: agreement isn't to be expected of every row."


def tables(group: TaskRecords) -> Iterator[tuple[str, list[list[str]]]]:
    """Title and rows, under ``HEADINGS``, of each of the paper's tables that has a row of this task's."""
    for table in PAPER:
        if group.head.task["name"] in table.tasks and table.outlier in group.outliers():
            rows = [row for labels, figures in table.rows.items() for row in _rows(group, table, labels, figures)]
            if rows:
                yield table.title, rows


def _rows(
    group: TaskRecords, table: PaperTable, labels: tuple[str, str], figures: tuple[float, float, float]
) -> Iterator[list[str]]:
    outlier = table.outlier
    columns = [
        Column("error %", "test/error", 2, 100),
        Column("entropy AUC", "test/entropy_auc", 3),
        Column(f"{outlier} entropy AUC", f"outlier/{outlier}/entropy_auc", 3),
    ]
    for column, paper in zip(columns, figures, strict=True):
        stats = statistics(group, column)
        if labels[1] not in stats.index:
            continue
        mean, sem, n = (float(stats.at[labels[1], key]) for key in ("mean", "sem", "count"))  # type: ignore[arg-type]
        tolerance = PRINTED + 2 * sem * math.sqrt(n)  # not known from one seed
        if column.key == "test/error":
            tolerance = 2 * 100 * math.sqrt(paper / 100 * (1 - paper / 100) / table.test_images)
        digits = column.decimals
        ours = f"{mean:.{digits}f}" + ("" if math.isnan(sem) else f" ± {sem:.{digits}f}")
        difference = mean - paper
        shown = [f"{paper:.2f}", ours, f"{difference:+.{digits}f}", "–", "–"]
        if not math.isnan(tolerance):
            shown[-2:] = [f"{tolerance:.{digits}f}", "yes" if abs(difference) <= tolerance else "no"]
        yield [*labels, f"{n:.0f}", column.heading, *shown]
