"""A text stream that collects lines: what a method prints reaches the observer of the run and not the middle of a bar."""

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress


class LineStream(io.TextIOBase):
    """Passes every complete line on to ``emit``, without its end. Use it with ``contextlib.redirect_stdout``.

    A line that is overwritten with carriage returns is passed on as a terminal would show it at the end. ``prompts``: ``flush``
    passes on an incomplete line too, so that a debugger's prompt is seen.
    """

    encoding = "utf-8"

    def __init__(self, emit: Callable[[str], None], prompts: bool = False) -> None:
        self._emit = emit
        self._prompts = prompts
        self._rest = ""
        self._outside = sys.stdout

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Pass on the lines that ``text`` completes."""
        *lines, rest = (self._rest + text).split("\n")
        self._rest = rest[max(0, rest.rfind("\r", 0, -1)) :]  # the rest is overwritten
        for line in lines:
            self._pass_on(line)
        return len(text)

    def flush(self) -> None:
        """Pass on a prompt."""
        if self._prompts and "\r" not in self._rest:
            self.end_line()

    def close(self) -> None:
        """Pass on an incomplete line. Later writes still work: a thread or a logger of the method may keep the stream."""
        self.end_line()
        super().close()

    def end_line(self) -> None:
        """Pass on an incomplete line, if there is one."""
        line, self._rest = self._rest, ""
        if line.strip():
            self._pass_on(line)

    def _pass_on(self, line: str) -> None:
        # What receives the line may print it. If nobody reads that any more, it is not the method's failure.
        with redirect_stdout(self._outside), suppress(OSError):
            self._emit(line.rstrip("\r").rpartition("\r")[2])
