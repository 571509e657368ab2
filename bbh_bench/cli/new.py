"""``bbh-bench new``: a package with a method, task, attack or metric that works as it is, to be changed into one's own."""

import argparse
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template

from bbh_bench.cli.arguments import Commands, add_folder
from bbh_bench.errors import BenchError

KINDS = ("method", "task", "attack", "metric")
NAME = re.compile(r"[a-z][a-z0-9_-]{0,40}")
TRY_IT = {
    "method": "bbh-bench check {name}\nbbh-bench run --method {name},map",
    "task": "bbh-bench check {name}\nbbh-bench run --task {name} --method map,dropout",
    "attack": "bbh-bench check {name}\nbbh-bench run --task digits5 --method map --attack {name}",
    "metric": "bbh-bench check {name}\nbbh-bench run --task digits5 --method map,dropout",
}
"""Commands that show what the package does."""


def add_parser(commands: Commands) -> None:
    """The arguments of ``new``."""
    parser = commands.add_parser(
        "new", help="write a package with a method, task, attack or metric that works as it is"
    )
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help="method, task, attack or metric")
    parser.add_argument("name", metavar="NAME", help="of what it provides: lower-case letters, digits, - and _")
    add_folder(parser, "--to", ".", "the folder in which that of the package is made (default: this one)")
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Write the package, and print what to do next. Raises ``BenchError`` for a name or folder that cannot be used."""
    kind, name = options.kind, options.name
    if not NAME.fullmatch(name):
        raise BenchError(
            f"'{name}' is no name of a {kind}: it begins with a lower-case letter, and has up to 41 letters, digits, - and _."
        )
    values = placeholders(kind, name)
    folder = Path(options.to) / values["distribution"]
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise BenchError(f"'{folder}' is there already. Choose another name, or another folder with --to.") from error
    except OSError as error:
        raise BenchError(f"'{folder}' cannot be created ({error.strerror}). Name another folder with --to.") from error
    for path, template in templates(kind, values["module"]).items():
        file = folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(filled(template, values), encoding="utf-8")
    print(f"wrote {folder}. Now:\n\ncd {folder}\npip install -e '.[test]'\npytest\n{values['try_it']}")
    return 0


def placeholders(kind: str, name: str) -> dict[str, str]:
    """What the templates name."""
    identifier = name.replace("-", "_")
    return {
        "kind": kind,
        "name": name,
        "identifier": identifier,
        "class_name": "".join(part.capitalize() for part in identifier.split("_")),
        "module": f"bbh_bench_{identifier}",
        "distribution": f"bbh-bench-{name.replace('_', '-')}",
        "try_it": TRY_IT[kind].format(name=name),
    }


def templates(kind: str, module: str) -> dict[str, str]:
    """The template of each file, by its path in the package."""
    return {
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "README.md.txt",
        f"{module}.py": f"{kind}.py.txt",
        f"tests/test_{kind}.py": f"test_{kind}.py.txt",
    }


def filled(template: str, values: Mapping[str, str]) -> str:
    """A file of the package ``bbh_bench.scaffold`` with the values in place of ``$names``."""
    text = (files("bbh_bench") / "scaffold" / template).read_text(encoding="utf-8")
    return Template(text).substitute(values)
