"""A plugin that fails at import, in a hook, at fit, at predict or in a run's events leaves the rest of the run as it is.

The plugins are installed as pip leaves them, and the command is that of a user, in a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bbh_bench.records.store import Store

METHOD = '''
from dataclasses import dataclass

import torch
from bbh_bench import WeightPosterior, hookimpl


@dataclass(frozen=True)
class Bad:
    """Fails."""

    name: str
    version: int = 1

    def fit(self, problem):
        torch.rand(3)
        {fit}
        network = problem.network()

        class Posterior:
            parameters = 1

            def sample(self, n):
                {sample}
                return self.outputs

            def outputs(self, x):
                {outputs}

        return Posterior()


@hookimpl
def bbh_methods():
    return [Bad("{name}")]
'''
FAIL = "raise RuntimeError('this plugin does not work')"
AT_FIT = METHOD.format(name="bad-fit", fit=FAIL, sample="pass", outputs="pass")
AT_SAMPLE = METHOD.format(name="bad-sample", fit="pass", sample=FAIL, outputs="pass")
AT_PREDICT = METHOD.format(name="bad-predict", fit="pass", sample="pass", outputs=FAIL)
WRONG_SHAPE = METHOD.format(name="bad-shape", fit="pass", sample="pass", outputs="return network(x)")
AT_IMPORT = "import a_package_that_is_not_installed"
EXITS = "import sys\nsys.exit('no licence')"
NO_EXCEPTION = "class Odd(BaseException):\n    pass\n\nraise Odd('two\\nlines')"
EXITS_IN_A_HOOK = "from bbh_bench import hookimpl\n\n@hookimpl\ndef bbh_methods():\n    raise SystemExit(3)\n"
IN_A_HOOK = f"from bbh_bench import hookimpl\n\n@hookimpl\ndef bbh_methods():\n    {FAIL}\n"
IN_EVENTS = "from bbh_bench import hookimpl\n" + "".join(
    f"\n@hookimpl\ndef {name}():\n    {FAIL}\n"
    for name in ("bbh_run_started", "bbh_cell_started", "bbh_cell_progress", "bbh_cell_finished", "bbh_run_finished")
)
PLUGINS = {
    "bad_fit": AT_FIT,
    "bad_sample": AT_SAMPLE,
    "bad_predict": AT_PREDICT,
    "bad_shape": WRONG_SHAPE,
    "bad_import": AT_IMPORT,
    "bad_exit": EXITS,
    "bad_base": NO_EXCEPTION,
    "bad_hook": IN_A_HOOK,
    "bad_hook_exit": EXITS_IN_A_HOOK,
    "bad_events": IN_EVENTS,
}
METHODS = ["bad-fit", "bad-sample", "bad-predict", "bad-shape"]


def install(site: Path) -> None:
    """Modules, their metadata and their entry points, as pip leaves them."""
    for module, code in PLUGINS.items():
        metadata = site / f"{module}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (site / f"{module}.py").write_text(code)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[bbh_bench]\n{module} = {module}\n")


def run(folder: Path, methods: list[str], executor: str, site: Path | None = None):
    command = [sys.executable, "-m", "bbh_bench", "run", "--task", "toy", "--seeds", "0", "--executor", executor]
    environment = os.environ | ({"PYTHONPATH": str(site)} if site else {})
    command += ["--records", str(folder), "--method", ",".join(methods)]
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True)


def map_record(folder: Path):
    (record,) = [record for record in Store(folder).records() if record.method.name == "map"]
    return record, Store(folder).arrays(record)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The record and the arrays of map without these plugins."""
    folder = tmp_path_factory.mktemp("alone")
    done = run(folder, ["map"], "inline")
    assert done.returncode == 0, done.stderr
    return map_record(folder)


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_plugins_that_fail_leave_the_record_of_map_as_it_is(executor, alone, tmp_path):
    install(tmp_path / "site")
    # Failing cells before and after that of map.
    beside = run(tmp_path / "beside", [*METHODS[:2], "map", *METHODS[2:]], executor, tmp_path / "site")
    assert beside.returncode == 1, beside.stderr  # cells failed
    shown = beside.stdout + beside.stderr

    (record, arrays), (expected, expected_arrays) = map_record(tmp_path / "beside"), alone
    assert record.finished
    assert record.scores == expected.scores
    assert record.curves == expected.curves
    assert record.warnings == expected.warnings
    assert arrays.keys() == expected_arrays.keys()
    assert all(np.array_equal(arrays[name], expected_arrays[name]) for name in arrays)

    failed = {r.method.name: r for r in Store(tmp_path / "beside").records() if not r.finished}
    assert sorted(failed) == sorted(METHODS)
    for name in ("bad-fit", "bad-sample", "bad-predict"):
        assert failed[name].error.message == "this plugin does not work"
        assert f"toy/{name}" in shown or f"toy {name}" in shown
    assert "it must be [n, 500, 1]" in failed["bad-shape"].error.message
    assert "No module named 'a_package_that_is_not_installed'" in shown
    for plugin in ("bad-import", "bad-exit", "bad-base", "bad-hook", "bad-hook-exit", "bad-events"):
        assert f"'{plugin}'" in shown, shown
    assert "'bad-exit' is left out: it cannot be imported with SystemExit: no licence (bad_exit.py:2)." in shown
    assert "'bad-base' is left out: it cannot be imported with Odd: two lines (bad_base.py:4)." in shown
    assert "Traceback" not in shown
