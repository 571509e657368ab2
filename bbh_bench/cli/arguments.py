"""Arguments that several commands have, and their values."""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bbh_bench.errors import BenchError

if TYPE_CHECKING:
    from bbh_bench.plugins import Plugins

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

FOLDERS = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}
"""How each shell completes a folder: ``shtab.DIRECTORY``, without its import, which would slow ``--help`` down."""
FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
"""How each shell completes a file: ``shtab.FILE``."""


def complete(action: argparse.Action, shells: Mapping[str, str]) -> None:
    """Let shells complete an argument (see ``completion``)."""
    action.complete = shells  # type: ignore[attr-defined]  # the attribute that shtab looks for


def add_folder(parser: argparse.ArgumentParser, option: str, default: str | None, help: str) -> None:
    """An option that names a folder."""
    complete(parser.add_argument(option, default=default, metavar="DIR", help=help), FOLDERS)


def add_records(parser: argparse.ArgumentParser) -> None:
    """``--records``: the folder of records that a command reads."""
    add_folder(parser, "--records", "runs", "a folder of records (default: runs)")


def add_record(parser: argparse.ArgumentParser, name: str, help: str) -> None:
    """A positional argument: the file of one record."""
    complete(parser.add_argument(name, metavar=name.upper(), help=help), FILES)


def add_names(parser: argparse.ArgumentParser, option: str, help: str) -> None:
    """An option that takes names; see ``names``."""
    parser.add_argument(option, action="append", default=[], metavar="NAMES", help=f"{help}; repeat it or use commas")


def add_plugin(parser: argparse.ArgumentParser) -> None:
    """``--plugin``: see ``load``."""
    action = parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="FILE",
        help="a Python file with hooks, beside the installed plugins; may be repeated",
    )
    complete(action, FILES)


def names(option: str, values: Iterable[str]) -> list[str]:
    """``["map,blur", "dropout"]`` -> ``["map", "blur", "dropout"]``. Raises ``BenchError`` if a value has no name in it."""
    parts = [[name.strip() for name in value.split(",") if name.strip()] for value in values]
    if [] in parts:
        raise BenchError(f"{option} is empty. Give it names, separated by commas, or leave it out.")
    return [name for part in parts for name in part]


def load(files: Sequence[str]) -> "Plugins":
    """The built-in plugins, the installed ones and those of ``--plugin``. Warns about plugins that are left out.

    Raises ``BenchError`` if a file of ``--plugin`` does not exist or does not work.
    """
    from bbh_bench.plugins import load_plugins

    plugins = load_plugins(files=[Path(file) for file in files])
    for problem in plugins.problems:
        print(f"bbh-bench: warning: {problem}", file=sys.stderr)
    return plugins
