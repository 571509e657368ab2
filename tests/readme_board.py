"""The board of ``digits5`` in README, from the published records.

``python tests/readme_board.py`` writes it between two comments of README; a test compares.
"""

from pathlib import Path

from bbh_bench.leaderboard.figures import file_name
from bbh_bench.leaderboard.overview import overview_table
from bbh_bench.leaderboard.rendering import paragraph
from bbh_bench.leaderboard.tables import TaskRecords, by_task
from bbh_bench.leaderboard.verdict import verdict
from bbh_bench.records.store import Store

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BEGIN, END = "<!-- board: begin -->\n", "<!-- board: end -->\n"


def group() -> TaskRecords:
    """The published records of the newest version of ``digits5``."""
    store = Store(ROOT / "leaderboard")
    records = [record for record in store.records() if record.task.name == "digits5"]
    return by_task(records, store.arrays)[-1]


def section(records: TaskRecords) -> str:
    """A verdict, the table of the first page, and its figure."""
    seeds = sorted({record.seed for record in records.finished})
    caption = (
        f"`digits5`, version {records.task.version}, {len(seeds)} seeds, means and 95 % intervals. {verdict(records)}"
    )
    figure = f"![Likelihood against cost, and robustness](leaderboard/{file_name(records, 'summary')})"
    return "\n\n".join([paragraph(caption), overview_table(records).markdown(), figure]) + "\n"


def main() -> None:
    """Replace what is between the two comments."""
    before, rest = README.read_text().split(BEGIN)
    README.write_text(before + BEGIN + section(group()) + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
