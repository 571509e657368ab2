"""Lifecycle hooks: plugins are told what a run does, and cannot change or end it."""

import random
from types import ModuleType

import numpy as np
import pytest
import torch
from helpers import QUICK, TINY, Failing

from bbh_bench import cli, hookimpl, library, plugins
from bbh_bench.errors import BenchWarning
from bbh_bench.methods.map import Map

pytest_plugins = ["cli_fixtures"]


def tracker(events, **functions):
    """A plugin that writes down what it is told; ``functions`` replace some of its hooks."""

    @hookimpl
    def bbh_run_started(cells, finished_before):
        events.append(("run started", [str(cell) for cell in cells], finished_before))

    @hookimpl
    def bbh_cell_started(cell):
        events.append(("cell started", str(cell)))

    @hookimpl
    def bbh_cell_progress(cell, stage, fraction, loss):
        events.append(("progress", str(cell), stage, fraction, loss))

    @hookimpl
    def bbh_cell_finished(cell, record):
        events.append(("cell finished", str(cell), record.status, record.path == cell.path))

    @hookimpl
    def bbh_run_finished(records):
        events.append(("run finished", len(records)))

    module = ModuleType("a_tracker")
    for function in (bbh_run_started, bbh_cell_started, bbh_cell_progress, bbh_cell_finished, bbh_run_finished):
        setattr(module, function.__name__, functions.get(function.__name__, function))
    return module


@pytest.fixture
def track(monkeypatch):
    """Installs trackers."""

    def install(*modules):
        load = plugins.load_plugins

        def loaded(external=True, files=()):
            loader = plugins.PluginLoader()
            for module in modules:
                loader.add(module.__name__, module.__name__, lambda module=module: module)
            builtin = load(external=False, files=files)
            return plugins.Plugins(*builtin.registries, builtin.problems, loader.collect().listeners)

        monkeypatch.setattr(library, "load_plugins", loaded)

    return install


def run(*methods):
    return library.run(methods=list(methods) or [QUICK], tasks=[TINY], seeds=[0])


def test_a_tracker_sees_a_run_from_start_to_end(track, monkeypatch):
    monkeypatch.setattr("bbh_bench.running.hooks.SECONDS", 0)  # a fit takes a tenth of a second
    events = []
    track(tracker(events))
    run(Map(), Failing())
    assert events[0] == ("run started", ["tiny map seed 0", "tiny failing seed 0"], 0)
    assert events[1] == ("cell started", "tiny map seed 0")
    stages = [event[2] for event in events if event[0] == "progress" and event[1] == "tiny map seed 0"]
    assert {"fit", "predict"} <= set(stages)
    (fitting, *_) = [event for event in events if event[0] == "progress" and event[3] is not None]
    assert 0 < fitting[3] <= 1
    finished = [event for event in events if event[0] == "cell finished"]
    assert finished == [
        ("cell finished", "tiny map seed 0", "finished", True),
        ("cell finished", "tiny failing seed 0", "failed", True),
    ]
    assert events[-1] == ("run finished", 2)


def test_random_numbers_of_a_hook_change_no_score(track):
    @hookimpl
    def bbh_cell_progress(stage):
        torch.rand(3), np.random.rand(), random.random()

    track()
    (plain,) = run()
    track(tracker([], bbh_cell_progress=bbh_cell_progress))
    (tracked,) = run()
    assert plain.record.scores == tracked.record.scores


@pytest.mark.parametrize("error", [ValueError("no server"), SystemExit(3)])
def test_a_tracker_that_fails_in_a_cell_is_named_and_left_out_of_the_rest(track, capsys, error):
    @hookimpl
    def bbh_cell_progress(stage):
        raise error

    events, others = [], []
    track(tracker(events, bbh_cell_progress=bbh_cell_progress), tracker(others))
    (result,) = run()
    assert result.record.finished
    assert result.record.warnings == []
    shown = capsys.readouterr().out
    assert shown.count("gets no further events of this run: its hook bbh_cell_progress() failed with") == 1
    assert [event[0] for event in events] == ["run started", "cell started"]
    assert others[-1] == ("run finished", 1)


def test_a_tracker_that_fails_at_the_start_is_named(track):
    @hookimpl
    def bbh_run_started(cells):
        raise OSError("no server")

    track(tracker([], bbh_run_started=bbh_run_started))
    with pytest.warns(BenchWarning, match=r"'a_tracker' gets no further events.*bbh_run_started\(\).*no server"):
        (result,) = run()
    assert result.record.finished


def test_a_hook_may_not_ask_for_what_there_is_not(track):
    @hookimpl
    def bbh_cell_started(cell, weather):
        """Nobody knows the weather."""

    loader = plugins.PluginLoader()
    loader.add("other", "a_tracker", lambda: tracker([], bbh_cell_started=bbh_cell_started))
    assert "weather" in loader.problems[0]
    assert loader.collect().listeners == ()


def test_a_run_that_is_stopped_is_finished_too(track):
    @hookimpl
    def bbh_cell_started(cell):
        raise KeyboardInterrupt

    events = []
    track(tracker(events, bbh_cell_started=bbh_cell_started))
    with pytest.raises(KeyboardInterrupt):
        run()
    assert events[-1] == ("run finished", 0)


def test_hooks_are_called_where_cells_have_processes_of_their_own(tmp_path, monkeypatch):
    """In the process of the run, for all cells; from a file of ``--plugin``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tracker.py").write_text(
        "import os\nfrom pathlib import Path\nfrom bbh_bench import hookimpl\n\n\n"
        "@hookimpl\ndef bbh_cell_finished(cell, record):\n"
        "    with Path('log').open('a') as file:\n        print(os.getpid(), cell, record.status, file=file)\n"
    )
    arguments = ["run", "--task", "toy", "--method", "map", "--seeds", "0,1", "--executor", "processes", "--jobs", "2"]
    assert cli.main([*arguments, "--plugin", "tracker.py"]) == 0
    lines = sorted((tmp_path / "log").read_text().split("\n")[:-1])
    assert [line.split(" ", 1)[1] for line in lines] == ["toy map seed 0 finished", "toy map seed 1 finished"]
    assert len({line.split()[0] for line in lines}) == 1
