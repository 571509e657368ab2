"""The digest of a method's source: what changes it, and what does not."""

import importlib
import sys
from dataclasses import dataclass

import pytest
from helpers import QUICK

from bbh_bench.methods.ensemble import Ensemble
from bbh_bench.methods.map import Map
from bbh_bench.running.source import source_digest

METHOD = '''
"""A method."""
from dataclasses import dataclass
from {package}.loop import train  # the loop

@dataclass(frozen=True)
class Mine:
    """Docstring."""

    name: str = "mine"
    version: int = 1

    def fit(self, problem):
        return train(problem, 1)
'''
LOOP = '''
def train(problem, rate):
    """Train."""
    return rate
'''


@pytest.fixture
def digest_of(tmp_path, monkeypatch):
    """Writes a package of two modules under a new name, and returns the digest of its method."""
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def write(method=METHOD, loop=LOOP, unrelated=""):
        name = f"package{len(names)}"
        names.append(name)
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").touch()
        (folder / "method.py").write_text(method.replace("{package}", name))
        (folder / "loop.py").write_text(loop)
        (folder / "unrelated.py").write_text(unrelated)
        importlib.invalidate_caches()
        return source_digest(importlib.import_module(f"{name}.method").Mine())

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] in names]:
        del sys.modules[name]


def test_code_of_the_method_and_of_what_it_imports_from_its_package_counts(digest_of):
    plain = digest_of()
    assert digest_of() == plain  # the name of the package does not count
    assert digest_of(method=METHOD.replace("problem, 1", "problem, 2")) != plain
    assert digest_of(loop=LOOP.replace("return rate", "return 2 * rate")) != plain
    assert (
        digest_of(method=METHOD.replace("import train", "import other as train"), loop=LOOP + "other = train\n")
        != plain
    )


def test_comments_docstrings_format_and_other_modules_do_not_count(digest_of):
    plain = digest_of()
    assert (
        digest_of(method=METHOD.replace("  # the loop", "").replace('"""Docstring."""', '"""Another one."""')) == plain
    )
    assert digest_of(method=METHOD.replace("problem, 1", "problem,   1")) == plain
    assert digest_of(unrelated="x = 1\n") == plain
    relative = METHOD.replace("from {package}.loop", "from .loop")
    assert digest_of(method=relative) == plain


def test_built_in_methods_have_digests_of_their_own():
    digests = {source_digest(method) for method in (Map(), Ensemble(), QUICK)}
    assert len(digests) == 2  # QUICK is Map with other hyperparameters
    assert source_digest(Ensemble(base=Map())) == source_digest(Ensemble())


def test_a_class_from_a_string_has_no_readable_source():
    names = {"dataclass": dataclass, "__name__": "nowhere"}
    exec("@dataclass(frozen=True)\nclass Typed:\n    name: str = 'typed'\n", names)
    assert source_digest(names["Typed"]()) is None
