"""What the tests of the command line have in common, but for fixtures."""

from helpers import QUICK, TINY

from bbh_bench import cli, hookimpl

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
