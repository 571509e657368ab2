"""``bbh-bench completion``: a script with which a shell completes commands and options."""

import argparse

from bbh_bench.cli.arguments import Commands


def add_parser(commands: Commands) -> None:
    """The arguments of ``completion``."""
    parser = commands.add_parser(
        "completion", help='a script for tab completion; in bash: eval "$(bbh-bench completion bash)"'
    )
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from bbh_bench.cli import parser

    print(shtab.complete(parser(), options.shell))
    return 0
