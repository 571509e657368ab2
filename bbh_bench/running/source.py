"""Digest of the source code that defines a method, so that edited code is not mistaken for the code of a finished record.

What counts: the modules of the classes of the method and of all dataclasses in its fields, and the modules that these import
from their own top-level package, directly or not. What does not count: comments, docstrings, formatting, and where a module
lies, so that moving a file changes no digest. Nor do the contracts of the suite (``CONTRACTS``), which all methods import.
"""

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

CONTRACTS = (
    "bbh_bench.api",
    "bbh_bench.posterior",
    "bbh_bench.problem",
    "bbh_bench.errors",
    "bbh_bench.hookspecs",
)


Parsed = dict[str, tuple[str, tuple[str, ...]]]
"""By module: its digest, and the names of modules of its package that it may import."""


def source_digest(value: object, parsed: Parsed | None = None) -> str | None:
    """SHA-256 of the source that defines ``value``, 16 hexadecimal digits. None if a class has no readable source.

    Pass the same ``parsed``, empty at first, for several values: methods share modules, and each is then read once.
    """
    parsed = {} if parsed is None else parsed
    modules: dict[str, str] = {}
    for kind in _classes(value):
        module = sys.modules.get(kind.__module__)
        file = getattr(module, "__file__", None)
        if file is None or not Path(file).is_file():
            return _class_digest(kind)
        _collect(kind.__module__, Path(file), modules, parsed)
    return hashlib.sha256("".join(sorted(modules.values())).encode()).hexdigest()[:16]


def _classes(value: object) -> Iterator[type]:
    """The class of a dataclass and, recursively, those of its fields."""
    if is_dataclass(value) and not isinstance(value, type):
        yield type(value)
        for field in fields(value):
            yield from _classes(getattr(value, field.name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _classes(item)


def _class_digest(kind: type) -> str | None:
    """Of a class that was defined in a notebook: IPython keeps its cell's text."""
    try:
        text = inspect.getsource(kind)
    except (OSError, TypeError):
        return None
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _collect(name: str, file: Path, digests: dict[str, str], parsed: Parsed) -> None:
    """Add the digests of a module and of the modules of its package that it imports."""
    if name in digests:
        return
    if name not in parsed:
        parsed[name] = _module(name, file)
    digests[name], imports = parsed[name]
    for imported in imports:
        if imported.startswith(CONTRACTS):
            continue
        try:
            spec = find_spec(imported)
        except (ImportError, ValueError):  # it names an object in a module, not a module
            continue
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            _collect(imported, Path(spec.origin), digests, parsed)


def _module(name: str, file: Path) -> tuple[str, tuple[str, ...]]:
    """Digest of one module, and the names of modules of its package that it may import."""
    tree = ast.parse(file.read_bytes())
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    imports = list(_own_imports(tree, package, name.partition(".")[0]))
    canonical = ast.dump(_Canonical(name.partition(".")[0]).visit(tree))
    return hashlib.sha256(canonical.encode()).hexdigest(), tuple(dict.fromkeys(imports))


def _own_imports(tree: ast.Module, package: str, top: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == top)
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            if source.partition(".")[0] == top:
                yield source
                yield from (f"{source}.{alias.name}" for alias in node.names)


class _Canonical(ast.NodeTransformer):
    """Drops docstrings, and the places from which a module's own package is imported."""

    def __init__(self, top: str) -> None:
        self.top = top

    def generic_visit(self, node: ast.AST) -> Any:
        super().generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [child for child in node.body if not _is_text(child)]
        return node

    def visit_Import(self, node: ast.Import) -> ast.Import:
        node.names = [alias for alias in node.names if alias.name.partition(".")[0] != self.top]
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        if node.level or (node.module or "").partition(".")[0] == self.top:
            node.module, node.level = None, 0
        return node


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
