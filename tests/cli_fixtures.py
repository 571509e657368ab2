"""Fixtures of the tests of the command line."""

from types import SimpleNamespace

import pytest
from cli_helpers import Provided

from bbh_bench import plugins


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
    """An empty working folder. For runs in it, the suite has no uncommitted changes, with which nothing is published."""
    monkeypatch.setattr("bbh_bench.running.provenance.suite_state", lambda: ("0123456789abcdef" * 3, False, None))
    monkeypatch.setattr("bbh_bench.publishing.plausible.exists", lambda commit: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BBH_BENCH_DATA", raising=False)
    return tmp_path
