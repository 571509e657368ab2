"""Each command and path that README and docs name in a script or within a sentence: it is one, and it is there."""

import re
import shlex
from pathlib import Path

import pytest

from bbh_bench.cli import parser

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXT = "\n".join(document.read_text() for document in DOCUMENTS)
SCRIPTS = re.findall(r"^```(?:bash|yaml)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
IN_SENTENCES = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL))


def commands_of_a_script(script: str) -> list[list[str]]:
    """The arguments of each ``bbh-bench``: alone on a line, on several, in quotes, or folded in YAML."""
    text = script.replace("\\\n", " ")
    text = re.sub(r": >-\n((?: +.*\n)+?)(?= *\w+:)", lambda folded: f":\n{' '.join(folded[1].split())}\n", text)
    found = []
    for line in text.splitlines():
        if "bbh-bench " not in line or line.lstrip().startswith("#"):
            continue
        words = shlex.split(line)
        quoted = [word for word in words if word.startswith("bbh-bench ")]
        words = shlex.split(quoted[0]) if quoted else words
        if "bbh-bench" in words:
            found.append(words[words.index("bbh-bench") + 1 :])
    return found


def is_valid(arguments: list[str]) -> bool:
    try:
        parser().parse_args(arguments)
    except SystemExit as ended:
        return ended.code == 0  # --help
    return True


@pytest.mark.parametrize(
    "arguments", [each for script in SCRIPTS for each in commands_of_a_script(script)], ids=" ".join
)
def test_each_command_of_a_script_is_valid(arguments):
    assert is_valid(arguments)


def test_the_commands_of_all_scripts_are_found():
    found = sum(len(commands_of_a_script(script)) for script in SCRIPTS)
    assert found == len(re.findall(r"\bbbh-bench (?:run|tune|status)\b", "\n".join(SCRIPTS))) > 5


@pytest.mark.parametrize("command", sorted({each for each in IN_SENTENCES if each.startswith("bbh-bench ")}))
def test_each_command_within_a_sentence_is_valid(command):
    """Options that a sentence only names get the value that they need."""
    command = re.sub(r"--rerun$", "--rerun RECORD", command)
    words = shlex.split(command.replace(" COMMAND", " run").replace("...", "RECORD"))
    assert is_valid(words[1:])


def test_each_named_environment_of_tox_exists():
    environments = re.findall(r"^\[testenv:(\w+)\]", (ROOT / "tox.ini").read_text(), re.MULTILINE)
    named = set(re.findall(r"\btox -e ([\w,]+)", TEXT))
    assert {"tests", "docs", "perf"} <= named
    assert named <= set(environments)


def test_each_named_path_exists():
    paths = {
        each for each in IN_SENTENCES if re.fullmatch(r"(bbh_bench|docs|leaderboard|plugins|tests)/[\w./-]+", each)
    }
    places = (ROOT, ROOT / "bbh_bench")  # docs/architecture.md names files of the package without its name
    assert len(paths) > 5
    assert not [path for path in sorted(paths) if not any((place / path).exists() for place in places)]


def test_each_script_in_python_that_a_command_names_exists():
    scripts = re.findall(r"^python ([\w/]+\.py)", TEXT, re.MULTILINE)
    assert scripts
    assert not [script for script in scripts if not (ROOT / script).exists()]
