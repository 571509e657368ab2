import mlflow
import pytest

from bbh_bench.cli import main
from bbh_bench.plugins import load_plugins
from bbh_bench.records.store import Store


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, in which MLflow has a file store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    return tmp_path


def test_the_suite_finds_it_through_its_entry_point():
    plugins = load_plugins()
    assert plugins.problems == ()
    assert "bbh-bench-mlflow" in {listener.package for listener in plugins.listeners}


def test_every_cell_is_a_run_with_its_scores(folder):
    assert main(["run", "--task", "toy", "--method", "map", "--seeds", "0,1"]) == 0
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    logged = {int(run.data.params["seed"]): run for run in runs}
    for record in Store(folder / "runs").records():
        run = logged.pop(record.seed)
        assert run.info.status == "FINISHED"
        assert mlflow.get_experiment(run.info.experiment_id).name == f"{record.task.name} v{record.task.version}"
        assert run.data.metrics["inside/nll"] == record.scores["inside/nll"]
        assert run.data.metrics["cost/fit/relative"] == record.cost["fit/relative"]
        assert run.data.tags["record"] == str(record.path)
    assert not logged


def test_a_failed_cell_is_a_failed_run(folder):
    (folder / "broken.py").write_text(
        "from dataclasses import dataclass\nfrom bbh_bench import Method, hookimpl\n\n\n@dataclass(frozen=True)\n"
        "class Broken:\n    '''A method that fails.'''\n\n    name: str = 'broken'\n    version: int = 1\n\n"
        "    def fit(self, problem):\n        raise ValueError('no idea')\n\n\n"
        "@hookimpl\ndef bbh_methods():\n    return [Broken()]\n"
    )
    assert main(["run", "--task", "toy", "--method", "broken", "--seeds", "0", "--plugin", "broken.py"]) == 1
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "ValueError: no idea"
