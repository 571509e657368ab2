"""``bbh-bench run`` as a user has it: what it prints, what it writes, and its exit code."""

import json
from pathlib import Path

import pytest
from cli_helpers import ONE, RUN, Provided, refused
from helpers import QUICK, Failing

from bbh_bench import cli
from bbh_bench.cli.run import ATTACKED_TASKS, DEFAULT_TASKS, default_tasks, run_options, selection
from bbh_bench.errors import BenchError
from bbh_bench.leaderboard import FILE
from bbh_bench.records.store import Store

pytest_plugins = ["cli_fixtures"]
RECORD = Path("runs/tiny/v1/quick/seed0.json")


def test_run_prints_the_table_and_writes_records_and_the_leaderboard(install, folder, capsys):
    assert cli.main(RUN) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("2 cells, 1 at a time\n")
    assert "[2/2] tiny quick seed 1: test/nll" in printed
    assert "| quick" in printed
    assert sorted(p.name for p in (folder / "runs/tiny/v1/quick").iterdir()) == [
        "seed0.json",
        "seed0.npz",
        "seed1.json",
        "seed1.npz",
    ]
    assert "quick" in (folder / "runs" / FILE).read_text()


def test_run_again_skips_what_is_finished(install, folder, capsys):
    cli.main(RUN)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("seed*.json")}
    assert cli.main([*RUN[:-1], "0-2"]) == 0
    assert "2 of 3 cells are finished already" in capsys.readouterr().out
    assert all(p.stat().st_mtime_ns == time for p, time in before.items())
    assert (folder / "runs/tiny/v1/quick/seed2.json").exists()


def test_a_failing_cell_is_recorded_the_run_goes_on_and_the_code_is_1(install, folder, capsys):
    install(Provided(more=(Failing(),)))
    assert cli.main(["run", "--task", "tiny", "--method", "failing,quick", "--seeds", "0"]) == 1
    printed = capsys.readouterr().out
    assert "tiny failing seed 0: FAILED: RuntimeError: out of luck (helpers.py:" in printed
    assert "). bbh-bench show runs/tiny/v1/failing/seed0.json prints the traceback.\n" in printed
    assert "tiny quick seed 0: test/nll" in printed
    record = json.loads((folder / "runs/tiny/v1/failing/seed0.json").read_text())
    assert record["status"] == "failed"
    assert "Traceback" in record["error"]["traceback"]
    assert cli.main(["show", "runs/tiny/v1/failing/seed0.json"]) == 0
    assert "Traceback" in capsys.readouterr().out


def test_an_interrupted_run_keeps_its_finished_cells(install, folder, capsys, monkeypatch):
    original = type(QUICK).fit
    fits = []

    def interrupt(self, problem):
        fits.append(self)
        if len(fits) == 3:
            raise KeyboardInterrupt
        return original(self, problem)

    monkeypatch.setattr(type(QUICK), "fit", interrupt)
    assert cli.main([*RUN[:-1], "0,1,2"]) == 130
    assert "finished cells are kept" in capsys.readouterr().err
    assert len(list((folder / "runs").rglob("*.json"))) == 2


def test_another_attack_runs_the_cell_again_and_keeps_the_tasks_fingerprint(install, folder, capsys):
    assert cli.main(ONE) == 0
    before = json.loads(RECORD.read_text())
    assert cli.main([*ONE, "--attack", "noise-linf,fgsm"]) == 0
    after = json.loads(RECORD.read_text())
    assert after["task"]["fingerprint"] == before["task"]["fingerprint"]
    assert [attack["name"] for attack in after["task"]["attacks"]] == ["fgsm", "noise-linf"]
    assert after["curves"].keys() - before["curves"].keys() == {"attack/noise-linf"}
    assert {name: after["scores"][name] for name in before["scores"]} == before["scores"]
    capsys.readouterr()
    assert cli.main(ONE) == 0
    assert "1 of 1 cells are finished already" in capsys.readouterr().out
    assert json.loads(RECORD.read_text()) == after
    assert cli.main(["verify"]) == 0
    refused(capsys, [*ONE, "--attack", "paper-fgsm"], "would lose (noise-linf)", "--attack too")
    assert json.loads(RECORD.read_text()) == after


def test_a_regression_cannot_be_attacked(install, folder, capsys):
    refused(capsys, ["run", "--task", "toy", "--attack", "fgsm"], "task 'toy' is a regression", "not attacked")
    refused(capsys, ["run", "--attack", "fgsmm"], "No attack named 'fgsmm'", "Did you mean 'fgsm'?")


def test_a_run_without_tasks_has_those_that_its_attacks_apply_to():
    assert default_tasks([]) == list(DEFAULT_TASKS)
    assert default_tasks(["fgsm"]) == list(ATTACKED_TASKS)
    assert set(ATTACKED_TASKS) < set(DEFAULT_TASKS)


def test_run_in_processes(folder, capsys):
    run = ["run", "--task", "digits5", "--method", "map", "--seeds", "0,1", "--executor", "processes", "--jobs", "2"]
    assert cli.main(run) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("2 cells, 2 at a time\n")
    assert "wrote runs/LEADERBOARD.md" in printed
    assert len(Store(Path("runs")).records()) == 2


def test_a_failure_does_not_take_a_finished_records_place(install, folder, capsys, monkeypatch):
    assert cli.main(ONE) == 0
    before = RECORD.read_text()

    def fails(self, norm):
        raise RuntimeError("this attack is broken")

    builtin = cli.arguments.load([]).attacks["noise-linf"]
    monkeypatch.setattr(type(builtin.algorithm), "foolbox", fails)
    capsys.readouterr()
    assert cli.main([*ONE, "--attack", "noise-linf"]) == 1
    printed = capsys.readouterr().out
    assert "FAILED: RuntimeError: this attack is broken (" in printed
    assert "). The finished record of this cell is kept.\nTraceback" in printed  # no record has the traceback
    assert RECORD.read_text() == before


def test_a_full_disk_is_one_paragraph(install, folder, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    refused(capsys, ONE, "No space left", "--records")


def test_a_stored_posterior_takes_another_attack_without_another_fit(install, folder, capsys, monkeypatch):
    run = [*ONE, "--posteriors", "stored"]
    assert cli.main(run) == 0
    (stored,) = Path("stored").glob("quick-seed0-*.pt")
    before = json.loads(RECORD.read_text())
    assert before["provenance"]["fit"] is None
    monkeypatch.setattr(type(QUICK), "fit", lambda *given: pytest.fail("it was fitted again"))
    assert cli.main([*run, "--attack", "noise-linf"]) == 0
    after = json.loads(RECORD.read_text())
    assert after["scores"].keys() > before["scores"].keys()
    assert after["cost"]["fit/seconds"] == before["cost"]["fit/seconds"]
    assert after["provenance"]["fit"]["command"] == before["provenance"]["command"]
    stored.write_bytes(b"")
    assert cli.main([*run, "--attack", "noise-linf", "--replace"]) == 1
    assert "Delete it" in capsys.readouterr().out


def test_records_of_older_source_code_are_kept_if_asked(install, folder, capsys):
    cli.main(ONE)
    record = json.loads(RECORD.read_text())
    record["method"]["source"] = "0" * 16
    RECORD.write_text(json.dumps(record))
    refused(capsys, ONE, "source code of method 'quick' has changed", "--keep-outdated")
    assert cli.main([*ONE, "--keep-outdated"]) == 0
    assert "1 of 1 cells are finished already" in capsys.readouterr().out
    assert json.loads(RECORD.read_text()) == record


def parsed(*arguments):
    return cli.parser().parse_args(["run", *arguments])


def test_names_are_separated_by_commas_or_options():
    chosen = selection(parsed("--method", "map,blur", "--method", "dropout", "--task", "a, b", "--seeds", "0-2,5"))
    assert chosen.methods == ["map", "blur", "dropout"]
    assert chosen.tasks == ["a", "b"]
    assert chosen.attacks == []
    assert chosen.seeds == [0, 1, 2, 5]
    assert selection(parsed()).seeds == [0, 1, 2]
    assert selection(parsed("--attack", "fgsm,pgd-linf")).attacks == ["fgsm", "pgd-linf"]


def test_options_are_passed_on():
    options = run_options(parsed("--keep-outdated", "--replace", "--plugin", "a.py", "--plugin", "b.py"))
    assert (options.keep_outdated, options.replace) == (True, True)
    assert options.plugin_files == (Path("a.py"), Path("b.py"))
    assert options.jobs is None
    assert options.fast
    assert not run_options(parsed("--no-fast")).fast
    assert run_options(parsed()).posteriors is None
    assert run_options(parsed("--posteriors", "p")).posteriors == Path("p")


def test_the_number_of_cells_at_a_time():
    def at_a_time(*arguments):
        options = run_options(parsed(*arguments))
        options.check()
        return options.at_a_time

    assert at_a_time() is None
    assert 1 <= at_a_time("--executor", "processes") <= 8
    assert at_a_time("--executor", "processes", "--jobs", "3") == 3
    assert at_a_time("--executor", "ray") == 0  # as many as the cluster has room for


def test_limits_of_a_cell_and_checkpoints():
    options = run_options(parsed("--executor", "processes", "--timeout", "1.5h", "--memory", "500 MB"))
    assert (options.timeout, options.memory) == (5400, 500 * 2**20)
    assert run_options(parsed("--checkpoints", "saved")).checkpoint_seconds == 120
    assert run_options(parsed("--checkpoints", "saved", "--checkpoint-every", "30")).checkpoint_seconds == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "2"], "--jobs .*--executor processes"),
        (["--timeout", "1h"], "--timeout .*--executor processes"),
        (["--memory", "1GB"], "--memory .*--executor processes"),
        (["--gpus", "1"], "--gpus .*--executor ray"),
        (["--executor", "processes", "--jobs", "two"], "'two'"),
        (["--executor", "processes", "--timeout", "soon"], "--timeout .*90s.*'soon'"),
        (["--executor", "processes", "--timeout", "-1"], "--timeout .*'-1'"),
        (["--executor", "processes", "--memory", "much"], "--memory .*4GB.*'much'"),
        (["--executor", "processes", "--memory", "0"], "--memory .*'0'"),
        (["--executor", "ray", "--gpus", "-1"], "--gpus .*'-1'"),
        (["--checkpoint-every", "nan"], "--checkpoint-every .*'nan'"),
    ],
)
def test_options_that_make_no_sense(arguments, message):
    with pytest.raises(BenchError, match=message):
        run_options(parsed(*arguments)).check()
