from bbh_bench_swag import SwagDiag

from bbh_bench.cli import main
from bbh_bench.plugins import plugins
from bbh_bench.testing import check_method


def test_it_keeps_the_contract():
    check_method(SwagDiag())


def test_the_suite_finds_it_through_its_entry_point():
    catalogue = plugins().catalogue()
    assert catalogue.problems == ()
    assert catalogue.methods.entry("swag-diag").distribution == "bbh-bench-swag"


def test_its_row_stands_on_the_board(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--method", "map", "--method", "swag-diag", "--seeds", "0"]) == 0
    assert "| swag-diag |" in (tmp_path / "runs/LEADERBOARD.md").read_text()
