"""The command as a user has it: what it prints, what it writes, and its exit code."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import QUICK, TINY, Failing

from bbh_bench import cli, hookimpl, plugins
from bbh_bench.attacks.algorithms import PGD_LINF, Fgsm
from bbh_bench.leaderboard import FILE
from bbh_bench.records.record import SCHEMA
from bbh_bench.records.store import Store
from bbh_bench.running import commands


class Things:
    """A plugin with the tiny task and a quick method; ``more`` are further methods."""

    def __init__(self, task=TINY, more=()):
        self.task, self.more = task, more

    @hookimpl
    def bbh_methods(self):
        return [QUICK, *self.more]

    @hookimpl
    def bbh_tasks(self):
        return [self.task]


@pytest.fixture
def install(monkeypatch):
    """Make ``Things`` the only installed plugin."""

    def installed(things=None):
        def fresh(external=True):
            found = original(external=False)
            found.add("a-stranger", lambda: things or Things())
            return found

        monkeypatch.setattr(plugins, "plugins", fresh)
        monkeypatch.setattr(commands, "plugins", fresh)

    original = plugins.plugins
    installed()
    return installed


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BBH_BENCH_DATA", raising=False)
    return tmp_path


RUN = ["run", "--task", "tiny", "--method", "quick", "--seeds", "0,1"]


def test_run_prints_the_table_and_writes_records_and_the_board(install, folder, capsys):
    assert cli.main(RUN) == 0
    printed = capsys.readouterr().out
    assert "[2/2] tiny quick seed 1: test/nll" in printed
    assert "| quick" in printed
    assert sorted(p.name for p in (folder / "runs/tiny/v1/quick").iterdir()) == [
        "seed0.json",
        "seed0.npz",
        "seed1.json",
        "seed1.npz",
    ]
    assert "| quick" in (folder / "runs" / FILE).read_text()


def test_run_again_skips_what_is_finished(install, folder, capsys):
    cli.main(RUN)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*.json")}
    assert cli.main([*RUN[:-1], "0,1,2"]) == 0
    assert "2 of 3 cells are finished already" in capsys.readouterr().out
    assert all(p.stat().st_mtime_ns == then for p, then in before.items())
    assert (folder / "runs/tiny/v1/quick/seed2.json").exists()


def test_a_failing_cell_is_recorded_the_run_goes_on_and_the_code_is_1(install, folder, capsys):
    install(Things(more=(Failing(),)))
    assert cli.main(["run", "--task", "tiny", "--method", "failing", "--method", "quick", "--seeds", "0"]) == 1
    printed = capsys.readouterr().out
    assert "tiny failing seed 0: FAILED: RuntimeError: out of luck" in printed
    assert "tiny quick seed 0: test/nll" in printed
    held = json.loads((folder / "runs/tiny/v1/failing/seed0.json").read_text())
    assert held["status"] == "failed"
    assert "Traceback" in held["error"]["traceback"]


def test_publish_copies_verifies_and_renders_and_a_second_time_changes_nothing(install, folder, capsys):
    cli.main(RUN)
    assert cli.main(["publish"]) == 0
    assert "published 2 records, 0 were there already" in capsys.readouterr().out
    assert Store(folder / "leaderboard").records() == Store(folder / "runs").records()
    assert cli.main(["verify", "--records", "leaderboard"]) == 0
    assert "2 of 2 finished records" in capsys.readouterr().out
    assert cli.main(["publish"]) == 0
    assert "published 0 records, 2 were there already" in capsys.readouterr().out
    assert cli.main(["report", "--records", "leaderboard", "--out", "elsewhere"]) == 0
    assert (folder / "elsewhere" / FILE).read_text() == (folder / "leaderboard" / FILE).read_text()


def refused(capsys, arguments, *parts):
    """Exit code 2, one paragraph on standard error, no traceback."""
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("bbh-bench: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said
    for part in parts:
        assert part in said
    return said


def test_publish_refuses_all_or_nothing(install, folder, capsys):
    cli.main([*RUN[:-1], "0"])
    install(Things(more=(Failing(),)))
    cli.main(["run", "--task", "tiny", "--method", "failing", "--seeds", "0"])
    refused(capsys, ["publish"], "failed cell", "failing/seed0.json")
    assert not (folder / "leaderboard").exists()
    assert cli.main(["publish", "--method", "quick"]) == 0
    refused(capsys, ["publish", "--method", "nobody"], "no such record")


def test_publish_refuses_another_fingerprint_changed_scores_and_a_changed_record(install, folder, capsys):
    cli.main([*RUN[:-1], "0"])
    cli.main(["publish"])
    install(Things(task=replace(TINY, epochs=4)))
    refused(capsys, ["publish"], "fingerprint", "another definition")
    install()
    path = folder / "runs/tiny/v1/quick/seed0.json"
    held = json.loads(path.read_text())
    path.write_text(json.dumps(held | {"scores": held["scores"] | {"test/nll": 0.001}}))
    refused(capsys, ["publish"], "test/nll")
    assert cli.main(["verify"]) == 1
    assert "test/nll" in capsys.readouterr().out
    curve = held["curves"]["attack/fgsm"] | {"accuracy": [1.0] * 9}
    path.write_text(json.dumps(held | {"curves": held["curves"] | {"attack/fgsm": curve}}))
    refused(capsys, ["publish"], "attack/fgsm/accuracy")
    path.write_text(json.dumps(held | {"scores": held["scores"] | {"attack/pgd/accuracy_area": 1.0}}))
    refused(capsys, ["publish"], "attack/pgd/accuracy_area")
    path.write_text(json.dumps(held | {"cost": held["cost"] | {"fit/seconds": 0.5}}))
    refused(capsys, ["publish"], "differs from the published one", "--replace")
    assert cli.main(["publish", "--replace"]) == 0
    assert Store(folder / "leaderboard").records()[0].cost["fit/seconds"] == 0.5


def test_publish_reads_the_whole_board_before_it_copies(install, folder, capsys):
    cli.main([*RUN[:-1], "0"])
    damaged = folder / "leaderboard/other/v1/m/seed0.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    refused(capsys, ["publish"], "other/v1/m/seed0.json")
    assert [p for p in (folder / "leaderboard").rglob("*") if p.is_file()] == [damaged]


def test_verify_goes_on_after_a_record_that_it_cannot_check(install, folder, capsys):
    cli.main(RUN)
    (folder / "runs/tiny/v1/quick/seed0.npz").unlink()
    capsys.readouterr()
    assert cli.main(["verify"]) == 1
    said = capsys.readouterr().out
    assert "seed0.npz" in said
    assert "1 of 2 finished records" in said
    install(Things(task=replace(TINY, name="other")))
    assert cli.main(["verify"]) == 1
    assert "isn't installed" in capsys.readouterr().out
    refused(capsys, ["publish"], "isn't installed", "--task")


@pytest.mark.parametrize(
    "change",
    [{"task": {"headline": "test/error"}}, {"task": {"title": "hacked"}}, {"better": {"error": "higher"}}],
    ids=str,
)
def test_publish_refuses_what_would_turn_the_ranking_round(install, folder, capsys, change):
    cli.main([*RUN[:-1], "0"])
    path = folder / "runs/tiny/v1/quick/seed0.json"
    held = json.loads(path.read_text())
    ((part, values),) = change.items()
    path.write_text(json.dumps(held | {part: held[part] | values}))
    refused(capsys, ["publish"], *values)


def test_publish_puts_lost_predictions_back(install, folder, capsys):
    cli.main([*RUN[:-1], "0"])
    cli.main(["publish"])
    (folder / "leaderboard/tiny/v1/quick/seed0.npz").unlink()
    assert cli.main(["publish"]) == 0
    assert "published 1 records" in capsys.readouterr().out
    assert cli.main(["verify", "--records", "leaderboard"]) == 0


@pytest.mark.parametrize("command", ["verify", "report"])
def test_a_folder_without_records_is_likely_the_wrong_one(install, folder, capsys, command):
    cli.main([*RUN[:-1], "0"])
    capsys.readouterr()
    refused(capsys, [command, "--records", "runs/tiny"], "no records in 'runs/tiny'")


def test_a_task_whose_data_cannot_be_loaded_is_named(install, folder, capsys):
    class Broken:
        def digests(self):
            return {}

        def load(self, folder):
            raise FileNotFoundError("gone.bin")

    install(Things(task=replace(TINY, source=Broken())))
    refused(capsys, RUN, "Task 'tiny' can't load its data", "gone.bin")


def test_figures_of_a_metric_that_is_not_installed_are_passed_over(install, folder, capsys):
    cli.main([*RUN[:-1], "0"])
    path = folder / "runs/tiny/v1/quick/seed0.json"
    held = json.loads(path.read_text())
    extra = {"scores": held["scores"] | {"test/sharpness": 0.5}, "better": held["better"] | {"sharpness": "lower"}}
    path.write_text(json.dumps(held | extra))
    assert cli.main(["verify"]) == 0
    assert cli.main(["report"]) == 0
    assert "sharpness" in (folder / "runs" / FILE).read_text()
    refused(capsys, ["publish"], "sharpness", "Install the plugins")


@pytest.mark.parametrize(
    "arguments", [["run", "--task", "tiny"], ["report", "--out"], ["publish", "--to"]], ids=lambda a: a[0]
)
def test_a_folder_that_cannot_be_written_to_is_said_before_anything_is_computed(install, folder, capsys, arguments):
    cli.main([*RUN[:-1], "0"])
    (folder / "file").write_text("precious")
    target = "file/below"
    command = [*arguments, "--records", target, "--method", "quick"] if arguments[0] == "run" else [*arguments, target]
    capsys.readouterr()
    refused(capsys, command, "file/below", "can't be written to")
    assert (folder / "file").read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run", "--method", "dropuot"], ["No method named 'dropuot'", "Did you mean 'dropout'?"]),
        (["run", "--task", "mnit"], ["No task named 'mnit'", "Did you mean 'mnist'?"]),
        (["run", "--seeds", "0,x"], ["--seeds", "0,x"]),
        (["run", "--data", "nowhere"], ["data folder 'nowhere'", "--data"]),
        (["run", "--task", "mnist-short", "--data", "empty"], ["train-images-idx3-ubyte", "by hand", "BBH_BENCH_DATA"]),
        (["run", "--device", "cuda"], ["--device cuda", "--device cpu"]),
        (["run", "--jobs", "2"], ["--jobs", "--executor processes"]),
        (["run", "--executor", "processes", "--jobs", "0"], ["--jobs", "'0'"]),
        (["report", "--records", "nowhere"], ["no folder 'nowhere'"]),
        (["publish", "--records", "nowhere"], ["no folder 'nowhere'"]),
        (["show", "nowhere.json"], ["nowhere.json"]),
        (["check", "mapp"], ["No method named 'mapp'", "Did you mean 'map'?"]),
    ],
)
def test_bad_input_is_one_paragraph_code_2_and_nothing_written(install, folder, capsys, monkeypatch, arguments, parts):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("bbh_bench.tasks.mnist._MNIST", "http://127.0.0.1:9")
    (folder / "empty").mkdir()
    before = sorted(folder.rglob("*"))
    refused(capsys, arguments, *parts)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("damage", ["{", json.dumps({"schema": SCHEMA + 1})], ids=["unreadable", "newer schema"])
@pytest.mark.parametrize(
    "command",
    [["report"], ["publish"], ["verify"], [*RUN[:-1], "5"], ["show", "runs/tiny/v1/quick/seed0.json"]],
    ids=lambda command: command[0],
)
def test_a_damaged_record_stops_every_command_before_it_writes(install, folder, capsys, damage, command):
    path = folder / "runs/tiny/v1/quick/seed0.json"
    path.parent.mkdir(parents=True)
    path.write_text(damage)
    before = sorted(folder.rglob("*"))
    refused(capsys, command, "seed0.json")
    assert sorted(folder.rglob("*")) == before
    assert path.read_text() == damage


def test_list_shows_names_distributions_and_problems(install, folder, capsys):
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:3] == ["method", "quick", "a-stranger"] for line in lines)
    assert any(line.split()[:3] == ["task", "digits5", "bbh-bench"] for line in lines)
    install(Things(more=(replace(QUICK, name="map"),)))
    assert cli.main(["list"]) == 1
    said = capsys.readouterr()
    assert "a-stranger" in said.err
    assert any(line.split()[:3] == ["method", "quick", "a-stranger"] for line in said.out.splitlines())


def test_show_and_check_and_help(install, folder, capsys):
    install(Things(more=(Failing(message="no luck"),)))
    cli.main(["run", "--task", "tiny", "--method", "quick", "--method", "failing", "--seeds", "0"])
    capsys.readouterr()
    assert cli.main(["show", "runs/tiny/v1/quick/seed0.json"]) == 0
    assert "test/nll" in capsys.readouterr().out
    assert cli.main(["show", "runs/tiny/v1/failing/seed0.json"]) == 0
    assert "RuntimeError: no luck" in capsys.readouterr().out
    assert cli.main(["check", "map"]) == 0
    assert "keeps the contract" in capsys.readouterr().out
    assert cli.main(["check", "failing"]) == 1
    assert "fit raised RuntimeError: no luck" in capsys.readouterr().err
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("bbh-bench 0")
    assert cli.main([]) == 2
    assert "COMMAND" in capsys.readouterr().out


def test_an_interrupted_run_keeps_its_finished_cells(install, folder, capsys, monkeypatch):
    original = commands.outcome

    def interrupt(record):
        if record.seed == 1:
            raise KeyboardInterrupt
        return original(record)

    monkeypatch.setattr(commands, "outcome", interrupt)
    assert cli.main([*RUN[:-1], "0,1,2"]) == 130
    assert "finished cells are kept" in capsys.readouterr().err
    assert len(list((folder / "runs").rglob("*.json"))) == 2


def test_another_attack_runs_the_cell_again_and_keeps_the_tasks_fingerprint(install, folder, capsys):
    run = ["run", "--task", "tiny", "--method", "quick", "--seeds", "0"]
    assert cli.main(run) == 0
    path = folder / "runs/tiny/v1/quick/seed0.json"
    before = json.loads(path.read_text())
    assert cli.main([*run, "--attack", "noise-linf", "--attack", "fgsm"]) == 0
    after = json.loads(path.read_text())
    assert after["task"]["fingerprint"] == before["task"]["fingerprint"]
    assert [attack["name"] for attack in after["task"]["attacks"]] == ["fgsm", "noise-linf"]
    assert after["curves"].keys() - before["curves"].keys() == {"attack/noise-linf"}
    assert {name: after["scores"][name] for name in before["scores"]} == before["scores"]
    capsys.readouterr()
    assert cli.main(run) == 0
    assert "1 of 1 cells are finished already" in capsys.readouterr().out
    assert json.loads(path.read_text()) == after
    assert cli.main(["verify"]) == 0
    refused(capsys, [*run, "--attack", "paper-fgsm"], "would lose (noise-linf)", "--attack too")
    assert json.loads(path.read_text()) == after


def test_a_regression_cannot_be_attacked(install, folder, capsys):
    refused(capsys, ["run", "--task", "toy", "--attack", "fgsm"], "task 'toy' can't be attacked", "--task")
    assert set(cli.ATTACKED_TASKS) < set(cli.DEFAULT_TASKS)
    refused(capsys, ["run", "--attack", "fgsmm"], "No attack named 'fgsmm'", "Did you mean 'fgsm'?")


def test_run_in_processes(folder, capsys):
    run = ["run", "--task", "digits5", "--method", "map", "--seeds", "0,1", "--executor", "processes", "--jobs", "2"]
    assert cli.main(run) == 0
    assert "wrote runs/LEADERBOARD.md" in capsys.readouterr().out
    assert len(Store(Path("runs")).records()) == 2


def test_a_failure_does_not_take_a_finished_records_place(install, folder, capsys, monkeypatch):
    run = ["run", "--task", "tiny", "--method", "quick", "--seeds", "0"]
    assert cli.main(run) == 0
    path = folder / "runs/tiny/v1/quick/seed0.json"
    before = path.read_text()

    def fails(self):
        raise RuntimeError("this attack is broken")

    monkeypatch.setattr("bbh_bench.attacks.algorithms.NoiseLinf.foolbox", fails)
    assert cli.main([*run, "--attack", "noise-linf"]) == 1
    assert "this attack is broken (the finished record of this cell is kept)" in capsys.readouterr().out
    assert path.read_text() == before


def test_a_full_disk_is_one_paragraph(install, folder, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bbh_bench.records.store.write_atomically", full)
    refused(capsys, ["run", "--task", "tiny", "--method", "quick", "--seeds", "0"], "No space left", "--records")


def test_an_attack_of_another_version_is_not_published_nor_run_over(install, folder, capsys):
    run = ["run", "--task", "tiny", "--method", "quick", "--seeds", "0", "--attack", "noise-linf"]
    assert cli.main(run) == 0
    path = folder / "runs/tiny/v1/quick/seed0.json"
    record = json.loads(path.read_text())
    record["task"]["attacks"][1]["version"] = 0
    path.write_text(json.dumps(record))
    refused(capsys, run, "other settings of noise-linf", "--replace")
    refused(capsys, ["publish"], "other attacks than are installed (noise-linf)")


def test_a_tasks_own_attack_need_not_be_registered_to_be_published(install, folder, capsys):
    install(Things(replace(TINY, attacks=(Fgsm(epsilons=(0.0, 0.2)),))))
    assert cli.main(["run", "--task", "tiny", "--method", "quick", "--seeds", "0"]) == 0
    assert cli.main(["publish"]) == 0


def test_a_kept_posterior_takes_another_attack_without_another_fit(install, folder, capsys, monkeypatch):
    run = ["run", "--task", "tiny", "--method", "quick", "--seeds", "0", "--posteriors", "kept"]
    assert cli.main(run) == 0
    (kept,) = Path("kept").glob("quick-seed0-*.pt")
    before = json.loads(Path("runs/tiny/v1/quick/seed0.json").read_text())
    assert before["provenance"]["fit"] == {}
    monkeypatch.setattr(type(QUICK), "fit", lambda *given: pytest.fail("it was fitted again"))
    assert cli.main([*run, "--attack", "noise-linf"]) == 0
    after = json.loads(Path("runs/tiny/v1/quick/seed0.json").read_text())
    assert after["scores"].keys() > before["scores"].keys()
    assert after["cost"]["fit/seconds"] == before["cost"]["fit/seconds"]
    assert after["provenance"]["fit"]["command"] == before["provenance"]["command"]
    assert "fitted before by" in Path("runs", FILE).read_text()
    kept.write_bytes(b"")
    assert cli.main([*run, "--attack", "noise-linf", "--replace"]) == 1
    assert "Delete it" in capsys.readouterr().out


def test_a_tampered_audit_is_not_published(install, folder, capsys):
    install(Things(replace(TINY, attacks=(replace(PGD_LINF, steps=3), Fgsm(epsilons=(0.0, 0.2))))))
    assert cli.main(["run", "--task", "tiny", "--method", "quick", "--seeds", "0"]) == 0
    path = Path("runs/tiny/v1/quick/seed0.json")
    held = json.loads(path.read_text())
    assert held["task"]["threat_model"]["bounds"] == [0.0, 1.0]
    for changes in ({"verdict": "not applicable"}, {"figure": 0.123}):
        audit = held["audit"] | {"fresh_draws": held["audit"]["fresh_draws"] | changes}
        path.write_text(json.dumps(held | {"audit": audit}))
        refused(capsys, ["publish"], "audit/fresh_draws")
    path.write_text(json.dumps(held | {"audit": {}}))
    refused(capsys, ["publish"], "audit/")


def test_a_folder_of_posteriors_that_cannot_be_written_to_is_refused_before_anything_runs(install, folder, capsys):
    Path("a-file").write_text("")
    refused(capsys, [*RUN, "--posteriors", "a-file"], "'a-file' can't be written to", "Name a folder of yours")
    assert not list(Path("runs").glob("tiny/**/*.json"))
