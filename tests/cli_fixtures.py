"""What the tests of the command line have in common."""

from types import SimpleNamespace

import pytest
from helpers import QUICK, TINY

from bbh_bench import cli, hookimpl, plugins

RUN = ["run", "--task", "tiny", "--method", "quick", "--seeds", "0,1"]
ONE = [*RUN[:-1], "0"]


class Provided:
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
    """Make ``Provided`` the only installed plugin, of the package ``third-party``."""

    def installed(provided=None):
        point = SimpleNamespace(
            load=lambda: provided or Provided(), dist=SimpleNamespace(name="third-party"), value="p", module=__name__
        )
        monkeypatch.setattr(plugins, "entry_points", lambda group: [point])

    installed()
    return installed


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BBH_BENCH_DATA", raising=False)
    return tmp_path


def refused(capsys, arguments, *parts):
    """Exit code 2, one paragraph on standard error, no traceback."""
    assert cli.main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("bbh-bench: ")
    assert message.count("\n") == 1
    assert "Traceback" not in message
    for part in parts:
        assert part in message
    return message
