from bbh_bench_swag import SwagDiag

from bbh_bench.cli import main
from bbh_bench.plugins import load_plugins
from bbh_bench.testing import check_method


def test_it_satisfies_the_contract():
    check_method(SwagDiag())


def test_the_suite_finds_it_through_its_entry_point():
    plugins = load_plugins()
    assert plugins.problems == ()
    assert plugins.methods.registered("swag-diag").package == "bbh-bench-swag"


def test_the_leaderboard_has_its_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--method", "map", "--method", "swag-diag", "--seeds", "0"]) == 0
    assert " swag-diag |" in (tmp_path / "runs/LEADERBOARD.md").read_text()
