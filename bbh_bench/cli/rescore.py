"""``bbh-bench rescore``: metrics that were added later, for records that are finished already."""

import argparse
from pathlib import Path

from bbh_bench.cli.arguments import Commands, add_plugin, add_records, load


def add_parser(commands: Commands) -> None:
    """The arguments of ``rescore``."""
    parser = commands.add_parser(
        "rescore", help="compute metrics that were added later, for finished records, from the stored predictions"
    )
    add_records(parser)
    add_plugin(parser)
    parser.set_defaults(function=command)


def command(options: argparse.Namespace) -> int:
    """Rescore, and print the records that changed."""
    from bbh_bench.publishing.rescore import rescore
    from bbh_bench.records.store import Store

    store = Store(Path(options.records))
    changed = rescore(store, load(options.plugin))
    for path in changed:
        print(store.root / path)
    print(f"{len(changed)} of {len(store.records())} records changed. `bbh-bench report` renders their leaderboard.")
    return 0
