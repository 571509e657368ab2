"""The board's part on fidelity: columns with the floor, the order of the figure, and nothing where there is no reference."""

import msgspec
from record_factory import board, record

from bbh_bench.leaderboard import render_folder
from bbh_bench.leaderboard.fidelity_figure import distances, fidelity_sets, floor
from bbh_bench.leaderboard.figures import draw
from bbh_bench.leaderboard.site.charts import task_figures
from bbh_bench.leaderboard.site.panels import Style
from bbh_bench.leaderboard.tables import by_task
from bbh_bench.records.store import Store

BETTER = {"total_variation": "lower", "agreement": "higher"}


def compared(method, seed, distance):
    base = record(method, seed)
    scores = {
        "test/total_variation": distance,
        "test/agreement": 1 - distance,
        "test/total_variation_floor": 0.0009,
        "ood/o/total_variation": 1 - distance,  # the other order
        "ood/o/total_variation_floor": 0.0042,
    }
    return msgspec.structs.replace(
        base,
        task=msgspec.structs.replace(base.task, headline="test/total_variation"),
        scores=base.scores | scores,
        directions=base.directions | BETTER,
    )


RECORDS = [compared(m, s, d + s / 1000) for m, d in (("far", 0.3), ("near", 0.01), ("between", 0.1)) for s in range(3)]


def test_the_page_has_each_distance_with_its_floor():
    page = board(RECORDS)
    assert "## Fidelity to the exact posterior" in page
    table = page.split("## Fidelity")[1].split("\n\n| method")[1].split("\n\n")[0]
    heading, _, best, *_ = table.splitlines()
    assert "test: total variation (floor 0.0009) ↓" in heading
    assert "OOD o: total variation (floor 0.0042) ↓" in heading
    assert "near" in best
    assert "0.0110" in best


def test_figures_order_methods_by_the_first_set():
    (group,) = by_task(RECORDS)
    assert fidelity_sets(group) == ["test", "ood/o"]
    for name, lowest in (("test", 0.0009), ("ood/o", 0.0042)):
        assert list(distances(group, name)) == ["near", "between", "far"]
        assert floor(group, name) == lowest
    pictures = draw([group], ["near", "between", "far"])
    assert [name.rpartition("-")[2] for name in pictures if "fidelity" in name] == ["fidelity.png"]
    chart = task_figures(group, Style({"near": 0, "between": 1, "far": 2}))["fidelity"]
    assert chart.count("class='panel'") == 2
    assert "0.0009" in chart


def test_records_without_a_reference_have_no_such_part():
    plain = [record("m", seed) for seed in range(2)]
    (group,) = by_task(plain)
    assert fidelity_sets(group) == []
    assert "Fidelity" not in board(plain)
    assert not [name for name in draw([group], ["m"]) if "fidelity" in name]


def test_the_figure_that_a_report_writes_has_every_method(tmp_path, monkeypatch):
    """Figures with lines show ten methods at most; this one has a row for each."""
    for k in range(12):
        for seed in range(3):
            each = compared(f"m{k}", seed, 0.01 * (k + 1))
            (tmp_path / each.path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / each.path).write_text(each.to_json())
    drawn = []
    monkeypatch.setattr(
        "bbh_bench.leaderboard.figures.fidelity_figure", lambda group, style: drawn.append(group) or b""
    )
    render_folder(Store(tmp_path), tmp_path)
    assert sorted(drawn[0].by_method) == sorted(f"m{k}" for k in range(12))
