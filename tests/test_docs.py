"""Every code block of README and docs is run, as a reader would run it."""

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import bbh_bench
from bbh_bench.cli import main, parser
from bbh_bench.plugins import load_plugins
from bbh_bench.publishing.rescore import rescore
from bbh_bench.records.store import Store
from bbh_bench.running.checkpoint import Checkpoints
from bbh_bench.running.clock import FitClock
from bbh_bench.running.stages import seed_everything
from bbh_bench.testing import check_method, small_problem

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(document.read_text()) if kind == language]


def files(document: Path) -> dict[str, str]:
    """Blocks that begin with their file's name."""
    named = {}
    for language in ("python", "toml"):
        for text in blocks(document, language):
            if match := re.match(r"# (\S+\.(py|toml))\n", text):
                named[match[1]] = text
    return named


README = files(ROOT / "README.md")
EXAMPLES = files(ROOT / "docs" / "plugins.md")
COMMANDS = [
    line
    for document in DOCUMENTS
    if document.name != "tutorial.md"  # test_tutorial runs it whole, in an environment of its own
    for text in blocks(document, "console")
    for line in text.splitlines()
    if line
]


def bbh(*arguments: str, folder: Path, path: Path | None = None) -> subprocess.CompletedProcess:
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    command = [sys.executable, "-m", "bbh_bench", *arguments]
    return subprocess.run(command, check=False, cwd=folder, env=environment, capture_output=True, text=True)


def test_each_block_has_a_language_that_a_test_runs():
    kinds = {kind for document in DOCUMENTS for kind, _ in BLOCK.findall(document.read_text())}
    assert kinds <= {"python", "toml", "console", "text", "bash", "yaml"}
    # text: a diagram or output; bash and yaml: test_scaling runs them, test_docs_commands parses their commands
    assert sorted(README) == ["bbh_bench_mine.py", "pyproject.toml"]
    assert sorted(EXAMPLES) == ["averaged.py", "confident_errors.py", "momentum.py", "odd_digits.py", "run_log.py"]


def test_the_plugin_of_the_readme_installs_passes_check_and_has_a_row(tmp_path):
    """Copied literally into a folder that also contains records and another module, and built as pip builds it."""
    folder, site = tmp_path / "mine", tmp_path / "site"
    (folder / "runs").mkdir(parents=True)
    (folder / "another.py").write_text("raise RuntimeError('this is not part of the package')\n")
    for name, text in README.items():
        (folder / name).write_text(text)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
    ]
    subprocess.run([*pip, str(folder)], check=True, capture_output=True)
    installed = {path.name for path in site.iterdir()}
    assert "bbh_bench_mine.py" in installed
    assert not installed & {"runs", "another.py"}

    listed = bbh("list", folder=folder, path=site)
    assert re.search(r"method +blur +bbh-bench-mine +One network and isotropic noise", listed.stdout), listed.stderr
    checked = bbh("check", "blur", folder=folder, path=site)
    assert checked.returncode == 0, checked.stderr
    run = bbh("run", "--method", "blur,map", "--task", "toy", "--seeds", "0", folder=folder, path=site)
    assert run.returncode == 0, run.stderr
    board = (folder / "runs" / "LEADERBOARD.md").read_text()
    assert re.search(r"^\| \S+ blur +\|", board, re.MULTILINE)
    (record,) = [record for record in Store(folder / "runs").records() if record.method.name == "blur"]
    assert (record.method.package.name, record.method.package.version) == ("bbh-bench-mine", "0.1.0")


def test_the_library_example_of_the_readme(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    (example,) = [text for text in blocks(ROOT / "README.md", "python") if not text.startswith("# ")]
    exec(compile(example, "README.md", "exec"), {})
    output = capsys.readouterr().out
    assert "(1, 500)" in output
    assert "ensemble" in output


@pytest.fixture
def example_file(tmp_path):
    def write(name: str) -> Path:
        (tmp_path / name).write_text(EXAMPLES[name])
        return tmp_path / name

    return write


def test_the_methods_of_the_docs_go_on_after_an_interruption(example_file, tmp_path, cpu):
    """Both train in the same way, so that they have the same posterior; and an interrupted fit has it too."""
    plugins = load_plugins(external=False, files=[example_file("averaged.py")])
    methods = [plugins.methods["averaged"], plugins.methods["own-loop"]]
    problem = small_problem(epochs=30)
    outputs = []
    for method in methods:
        check_method(method)
        for stop in (20, None):  # batches until it is interrupted
            clock = FitClock(cpu)
            saved = Checkpoints(tmp_path / method.name, {}, 0.0, clock, share=math.inf)
            seed_everything(0, "fit")
            progress = Stop(stop)
            observed = replace(
                problem, checkpoint=saved.open, network=saved.tracked(problem.network), progress=progress
            )
            try:
                outputs.append(method.fit(observed).sample(1)(problem.x).detach())
            except InterruptedError:
                continue
            assert progress.fractions[0] > 0.2  # it did not start again
    seed_everything(0, "fit")
    undisturbed = methods[0].fit(problem).sample(1)(problem.x).detach()
    assert len(outputs) == 2
    assert all(each.equal(undisturbed) for each in outputs)


class Stop:
    """Receives the progress of a fit, and interrupts it after some batches of ninety."""

    def __init__(self, batches):
        self.batches = batches
        self.fractions = []

    def __call__(self, fraction, loss):
        self.fractions.append(fraction)
        if self.batches is not None and fraction * 90 > self.batches:
            raise InterruptedError


def test_the_task_of_the_docs(example_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = example_file("odd_digits.py")
    arguments = ["run", "--plugin", file.name, "--task", "odd-digits", "--method", "map", "--seeds", "0"]
    assert main(arguments) == 0
    (record,) = Store(tmp_path / "runs").records()
    assert record.scores["test/error"] < 0.05
    assert record.scores["ood/even/auroc"] > 0.8
    assert record.scores["robust/linf/degradation"] > 0


def test_the_attack_of_the_docs(example_file, tmp_path):
    """On the small task of the docs: the attack is stronger than noise, and obeys its epsilons."""
    options = bbh_bench.RunOptions(plugin_files=(example_file("momentum.py"), example_file("odd_digits.py")))
    attacks = ["mi-fgsm", "noise-linf"]
    (result,) = bbh_bench.run(methods=["map"], tasks=["odd-digits"], attacks=attacks, options=options)
    momentum, noise = (result.record.curves[f"attack/{name}"]["accuracy"] for name in attacks)
    assert momentum[-1] < noise[-1] - 0.3


def test_the_metric_of_the_docs_is_computed_for_finished_records(example_file, tmp_path):
    file = example_file("confident_errors.py")
    for source in (ROOT / "leaderboard" / "digits5" / "v3" / "bbh").glob("seed0*"):
        target = tmp_path / "runs" / source.relative_to(ROOT / "leaderboard")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    store = Store(tmp_path / "runs")
    rescore(store, load_plugins(external=False, files=[file]))
    (record,) = store.records()
    arrays = store.arrays(record)
    log_odds = arrays["test/log_odds"].astype(float)
    probabilities = 2.718281828459045**log_odds
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    wrong = probabilities.argmax(axis=1) != arrays["test/labels"]
    assert record.scores["test/confident_errors"] == pytest.approx((wrong & (probabilities.max(axis=1) > 0.9)).mean())


def test_the_log_of_the_docs_follows_a_run(example_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = example_file("run_log.py")
    assert main(["run", "--plugin", file.name, "--task", "toy", "--method", "map", "--seeds", "0"]) == 0
    (record,) = Store(tmp_path / "runs").records()
    assert (tmp_path / "run.log").read_text() == f"{record.provenance.started} toy map seed 0 finished\n"


@pytest.fixture(scope="module")
def folder_of_a_reader(tmp_path_factory):
    """With the published records of three seeds under ``runs/``, and one of them under ``leaderboard/``."""
    folder = tmp_path_factory.mktemp("reader")
    for name, pattern in (("runs", "seed[0-2].*"), ("leaderboard", "seed0*")):
        for source in (ROOT / "leaderboard" / "digits5" / "v3" / "map").glob(pattern):
            target = folder / name / source.relative_to(ROOT / "leaderboard")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return folder


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("bbh-bench")])
def test_commands_are_valid_and_those_that_take_seconds_are_run(command, folder_of_a_reader, builtin, monkeypatch):
    arguments = shlex.split(command, comments=True)[1:]
    options = parser().parse_args(arguments)
    for kind in ("task", "method", "attack"):
        names = [name for part in getattr(options, kind, None) or [] for name in part.split(",")]
        registry = next(each for each in builtin.registries if each.kind == kind)
        assert not [name for name in names if name not in set(registry)]
    if arguments[0] not in {"run", "tune"}:
        monkeypatch.chdir(folder_of_a_reader)
        assert main(arguments) == 0


def test_the_two_commands_are_environments_of_tox():
    text = (ROOT / "tox.ini").read_text()
    tox = [line for line in COMMANDS if "tox" in line]
    assert tox == ["pip install tox && tox -e bench", "tox -e tests"]
    for environment in ("bench", "tests"):
        assert f"[testenv:{environment}]" in text
