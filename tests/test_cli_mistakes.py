"""What a user can do wrong: one paragraph that says what to do, exit code 2, and nothing written."""

import json
from dataclasses import replace
from pathlib import Path

import pooch
import pytest
from cli_helpers import ONE, RUN, Provided, refused
from helpers import TINY

from bbh_bench import cli
from bbh_bench.cli.arguments import names
from bbh_bench.cli.report import write_leaderboard
from bbh_bench.errors import BenchError
from bbh_bench.records.record import SCHEMA
from bbh_bench.records.store import Store

pytest_plugins = ["cli_fixtures"]


class NoNetwork:
    """A downloader that cannot reach any server."""

    def __init__(self, progressbar, chunk_size):
        pass

    def __call__(self, url, output_file, caller):
        raise ConnectionError("no network")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run", "--method", "dropuot"], ["No method named 'dropuot'", "Did you mean 'dropout'?"]),
        (["run", "--method", "map,dropuot"], ["No method named 'dropuot'", "Did you mean 'dropout'?"]),
        (["run", "--method", ""], ["--method is empty"]),
        (["run", "--task", "mnit"], ["No task named 'mnit'", "Did you mean 'mnist'?"]),
        (["run", "--seeds", "0,x"], ["--seeds", "0,x"]),
        (["run", "--seeds", "2-0"], ["--seeds", "2-0"]),
        (["run", "--seeds", "9" * 5000], ["--seeds takes numbers below 2^63", "of 5000 digits"]),
        (["run", "--seeds", "0-9999999"], ["--seeds has more than 1,000,000 seeds"]),
        (["run", "--method", "m" * 500], ["No method named 'mmm"]),
        (
            ["run", "--records", "r" * 500, "--task", "tiny", "--method", "quick"],
            ["seed0.json' cannot be read or written (File name too long)"],
        ),
        (["report", "--records", "r" * 500], ["rrr' cannot be read or written (File name too long)"]),
        (["run", "--data", "nowhere"], ["data folder 'nowhere'", "--data"]),
        (["run", "--task", "mnist-short", "--data", "empty"], ["train-images-idx3-ubyte", "by hand", "BBH_BENCH_DATA"]),
        (["run", "--device", "cuda"], ["--device cuda", "--device cpu"]),
        (["run", "--jobs", "2"], ["--jobs", "--executor processes"]),
        (["run", "--executor", "processes", "--jobs", "0"], ["--jobs", "'0'"]),
        (["run", "--plugin", "nowhere.py"], ["--plugin", "no Python file 'nowhere.py'"]),
        (["report", "--records", "nowhere"], ["no folder 'nowhere'"]),
        (["publish", "--records", "nowhere"], ["no folder 'nowhere'"]),
        (["verify", "--records", "nowhere"], ["no folder 'nowhere'"]),
        (["rescore", "--records", "nowhere"], ["no folder 'nowhere'"]),
        (["show", "nowhere.json"], ["nowhere.json"]),
        (["show", "s" * 500], ["sss' cannot be read or written (File name too long)"]),
        (["diff", "nowhere.json", "elsewhere.json"], ["nowhere.json"]),
        (["check", "mapp"], ["No method, task, attack or metric named 'mapp'", "Did you mean 'map'?"]),
        (["check"], ["check needs the name of a method", "--plugin FILE"]),
    ],
)
def test_bad_input_is_one_paragraph_code_2_and_nothing_written(install, folder, capsys, monkeypatch, arguments, parts):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("pooch.HTTPDownloader", NoNetwork)
    monkeypatch.setattr(pooch.get_logger(), "disabled", True)  # it says which file it downloads
    (folder / "empty").mkdir()
    before = sorted(folder.rglob("*"))
    refused(capsys, arguments, *parts)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("damage", ["{", json.dumps({"schema": SCHEMA + 1})], ids=["unreadable", "newer schema"])
@pytest.mark.parametrize(
    "command",
    [
        ["report"],
        ["publish"],
        ["verify"],
        ["rescore"],
        [*RUN[:-1], "5"],
        ["show", "runs/tiny/v1/quick/seed0.json"],
        ["diff", "runs/tiny/v1/quick/seed0.json", "runs/tiny/v1/quick/seed0.json"],
    ],
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


@pytest.mark.parametrize("command", ["verify", "report", "rescore"])
def test_a_folder_without_records_is_likely_the_wrong_one(install, folder, capsys, command):
    cli.main(ONE)
    capsys.readouterr()
    refused(capsys, [command, "--records", "runs/tiny"], "no records in 'runs/tiny'")


def test_a_task_whose_data_cannot_be_loaded_is_named(install, folder, capsys):
    class Broken:
        def digests(self):
            return {}

        def load(self, folder):
            raise FileNotFoundError("gone.bin")

    install(Provided(task=replace(TINY, source=Broken())))
    refused(capsys, RUN, "Task 'tiny' cannot load its data", "gone.bin")


@pytest.mark.parametrize(
    "arguments", [["run", "--task", "tiny"], ["report", "--out"], ["publish", "--to"]], ids=lambda a: a[0]
)
def test_a_folder_that_cannot_be_written_to_is_said_before_anything_is_computed(install, folder, capsys, arguments):
    cli.main(ONE)
    (folder / "file").write_text("precious")
    target = "file/below"
    command = [*arguments, "--records", target, "--method", "quick"] if arguments[0] == "run" else [*arguments, target]
    capsys.readouterr()
    message = refused(capsys, command, "file/below", "cannot be written to")
    if arguments[0] == "report":
        assert "Name another folder with --out." in message
    assert (folder / "file").read_text() == "precious"


def test_a_disk_that_is_full_when_the_leaderboard_is_written(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bbh_bench.leaderboard.render", full)
    with pytest.raises(BenchError, match=r"'.*' \(No space left on device\)\. Name another folder with --out\."):
        write_leaderboard(Store(tmp_path), [], tmp_path, "--out")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(5, "Input/output error", "disk/file"), "'disk/file' cannot be read or written (Input/output error)"),
        (OSError(5, "Input/output error"), "a file cannot be read or written (Input/output error)"),
        (ConnectionError("the other side left"), "a file cannot be read or written (the other side left)"),
    ],
)
def test_an_error_of_the_system_that_no_command_expects_is_one_paragraph(capsys, monkeypatch, error, message):
    def fails():
        raise error

    monkeypatch.setattr(cli, "print_version", fails)
    refused(capsys, ["--version"], message, "the same command goes on")


def test_a_folder_of_posteriors_that_cannot_be_written_to_is_refused_before_anything_runs(install, folder, capsys):
    Path("a-file").write_text("")
    refused(capsys, [*RUN, "--posteriors", "a-file"], "'a-file' cannot be written to", "Name another one")
    assert not list(Path("runs").glob("tiny/**/*.json"))


def test_names():
    assert names("--task", ["a,b", " c , d,"]) == ["a", "b", "c", "d"]
    assert names("--task", []) == []
    with pytest.raises(BenchError, match="--task is empty"):
        names("--task", ["a", " ,"])
