"""The short commands: ``list``, ``show``, ``diff``, ``check``, ``completion`` and the help."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import shtab
from cli_helpers import ONE, Provided, refused
from helpers import QUICK, Failing

from bbh_bench import cli
from bbh_bench.cli.arguments import FILES, FOLDERS

pytest_plugins = ["cli_fixtures"]
PLUGIN = str(Path(__file__).with_name("line_plugin.py"))


def test_list_shows_names_packages_and_problems(install, folder, capsys):
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:3] == ["method", "quick", "third-party"] for line in lines)
    assert any(line.split()[:3] == ["task", "digits5", "bbh-bench"] for line in lines)
    install(Provided(more=(replace(QUICK, name="map"),)))
    assert cli.main(["list"]) == 1
    output = capsys.readouterr()
    assert output.err.startswith("bbh-bench: warning: ")
    assert "third-party" in output.err
    assert any(line.split()[:3] == ["method", "quick", "third-party"] for line in output.out.splitlines())


def test_list_shows_what_a_plugin_file_provides(capsys):
    cli.main(["list", "--plugin", PLUGIN])
    lines = [line.split(maxsplit=3) for line in capsys.readouterr().out.splitlines()]
    assert ["method", "straight", "line_plugin.py", "Gradient descent."] in lines
    assert ["task", "line", "line_plugin.py", "a straight line"] in lines


def test_show_prints_scores_or_the_traceback(install, folder, capsys):
    install(Provided(more=(Failing(message="no luck"),)))
    cli.main(["run", "--task", "tiny", "--method", "quick,failing", "--seeds", "0"])
    capsys.readouterr()
    assert cli.main(["show", "runs/tiny/v1/quick/seed0.json"]) == 0
    assert "test/nll" in capsys.readouterr().out
    assert cli.main(["show", "runs/tiny/v1/failing/seed0.json"]) == 0
    assert "RuntimeError: no luck" in capsys.readouterr().out


def test_diff_of_two_records(install, folder, capsys):
    cli.main(ONE)
    first, second = Path("runs/tiny/v1/quick/seed0.json"), Path("second.json")
    record = json.loads(first.read_text())
    record["scores"]["test/nll"] += 1
    second.write_text(json.dumps(record))
    capsys.readouterr()
    assert cli.main(["diff", str(first), str(first)]) == 0
    assert "no differences" in capsys.readouterr().out
    assert cli.main(["diff", str(first), str(second)]) == 0
    assert "test/nll" in capsys.readouterr().out


def test_check_a_method_by_name(install, capsys):
    install(Provided(more=(Failing(message="no luck"),)))
    assert cli.main(["check", "map"]) == 0
    assert "map keeps the contract" in capsys.readouterr().out
    assert cli.main(["check", "failing"]) == 1
    assert "fit raised RuntimeError: no luck" in capsys.readouterr().err


METHODS = """
from dataclasses import dataclass, replace
from bbh_bench import hookimpl
from bbh_bench.methods.map import Map

@dataclass(frozen=True)
class Mine(Map):
    name: str = "mine"

    def fit(self, problem):
        {fit}

@hookimpl
def bbh_methods():
    return {methods}
"""


def write_methods(fit="return super().fit(problem)", methods="[Mine(), Mine('mine-too')]"):
    Path("mine.py").write_text(METHODS.format(fit=fit, methods=methods))
    return ["check", "--plugin", "mine.py"]


def test_check_all_methods_of_a_plugin_file(folder, capsys):
    assert cli.main(write_methods()) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [f"{name} keeps the contract of a method, in classification." for name in ("mine", "mine-too")]
    assert cli.main([*write_methods(), "mine-too", "--kind", "regression"]) == 0
    assert capsys.readouterr().out == "mine-too keeps the contract of a method, in regression.\n"


def test_check_fails_if_a_method_of_the_file_breaks_its_contract(folder, capsys):
    assert cli.main(write_methods(fit="raise ValueError('no luck')")) == 1
    assert "mine breaks the contract: " in capsys.readouterr().err
    assert cli.main(write_methods(methods="[Mine(), Mine('Not A Name')]")) == 1  # the other one keeps it
    output = capsys.readouterr()
    assert "mine keeps the contract" in output.out
    assert "'Not A Name'" in output.err


def test_a_plugin_file_without_methods_cannot_be_checked(folder, capsys):
    refused(capsys, write_methods(methods="[]"), "mine.py provides no method", "bbh_methods()")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_commands_and_options(capsys, shell):
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("rescore", "keep-outdated", "posteriors"):
        assert word in script
    if shell != "tcsh":  # which leaves the dashes out
        assert "--keep-outdated" in script
    assert FOLDERS[shell] in script


def test_folders_and_files_are_completed_as_shtab_completes_them():
    assert {shell: shtab.DIRECTORY[shell] for shell in FOLDERS} == FOLDERS
    assert {shell: shtab.FILE[shell] for shell in FILES} == FILES


def test_version_and_help(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("bbh-bench 0")
    assert cli.main([]) == 2
    assert "COMMAND" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        cli.main(["run", "--help"])
    assert stop.value.code == 0
    assert "--keep-outdated" in capsys.readouterr().out


def test_each_command_has_a_line_in_the_help():
    text = cli.parser().format_help()
    for module in cli.COMMANDS:
        name = "list" if module is cli.listing else module.__name__.rpartition(".")[2]
        assert re.search(rf"^    {name}\s", text, re.MULTILINE)


def test_the_help_loads_neither_torch_nor_a_plugin_nor_a_table(monkeypatch):
    heavy = ("torch", "numpy", "pandas", "tabulate", "tqdm", "shtab", "matplotlib", "msgspec")
    for name in [name for name in sys.modules if name.partition(".")[0] in ("bbh_bench", *heavy)]:
        monkeypatch.delitem(sys.modules, name)
    __import__("bbh_bench.cli").cli.parser().format_help()
    assert not [name for name in sys.modules if name.partition(".")[0] in heavy]
