"""Writes the help texts of all commands into ``commands.md`` while the site is built."""

import argparse
from collections.abc import Iterator
from typing import Any

PLACE = "<!-- commands -->"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The event of MkDocs: the markdown of each page before it is rendered."""
    if PLACE not in markdown:
        return markdown
    from bbh_bench.cli import parser

    return markdown.replace(PLACE, "\n\n".join(_sections(parser())))


def _sections(whole: argparse.ArgumentParser) -> Iterator[str]:
    """A heading, what it does, and the help text of each command, in the order in which `--help` lists them."""
    for action in whole._actions:
        if isinstance(action, argparse._SubParsersAction):
            purposes = {choice.dest: choice.help for choice in action._choices_actions}
            for name, command in action.choices.items():
                yield f"## {name}\n\n{_sentence(purposes[name])}\n\n```text\n{_plain(command)}\n```"


def _sentence(purpose: str) -> str:
    return f"{purpose[:1].upper()}{purpose[1:]}."


def _plain(command: argparse.ArgumentParser) -> str:
    command.formatter_class = _Fixed
    return command.format_help().rstrip()


class _Fixed(argparse.RawDescriptionHelpFormatter):
    """The same width on every terminal, which is that of a column of the site."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=80, max_help_position=24)
