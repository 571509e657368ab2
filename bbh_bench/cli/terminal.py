"""Ways to write text: a line, lines that are updated in place with others above them, a line from time to time."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

STATUS_SECONDS = 30.0
ERASE_BELOW = "\x1b[J"


class Output:
    """A stream that may be closed, full or gone: nobody reads it then, which must not end a run that takes hours.

    Characters that its encoding lacks are written as escape sequences. ``stream``: None if the process has none.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write at once, so that a log can be followed. Ignored if the stream does not take it."""
        if self._stream is None:
            return
        with suppress(OSError, ValueError):  # ValueError: the file is closed
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:
                self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
            self._stream.flush()

    def line(self, text: str) -> None:
        """Write a line."""
        self.write(f"{text}\n")

    def updates_in_place(self) -> bool:
        """Whether it is a terminal on which the cursor can be moved."""
        if self._stream is None or os.environ.get("TERM") == "dumb":
            return False
        with suppress(OSError, ValueError):
            return self._stream.isatty()
        return False

    def size(self) -> os.terminal_size:
        """Columns and rows of a terminal; of $COLUMNS and $LINES, or 80 and 24, where the system does not know."""
        with suppress(OSError, ValueError):
            size = os.get_terminal_size(self._stream.fileno()) if self._stream is not None else None
            if size is not None and size.columns and size.lines:
                return size
        return shutil.get_terminal_size()


class LiveLines:
    """The last lines of a terminal, updated in place. Other text goes above them."""

    def __init__(self, terminal: Output) -> None:
        self._terminal = terminal
        self._lines: list[str] = []

    def show(self, lines: Sequence[str]) -> None:
        """Replace the lines."""
        if lines != self._lines:
            self._terminal.write(self._erasing() + "\n".join(lines))
            self._lines = list(lines)

    def write_above(self, text: str, out: Output) -> None:
        """Write a line to ``out``, which may be the same terminal or something else."""
        self._terminal.write(self._erasing())
        out.line(text)
        self._terminal.write("\n".join(self._lines))

    def close(self) -> None:
        """Remove the lines."""
        self.show([])

    def _erasing(self) -> str:
        """What moves the cursor to where the lines begin, and erases everything from there on."""
        if not self._lines:
            return ""
        columns = max(1, self._terminal.size().columns)
        rows = sum(max(1, -(-len(line) // columns)) for line in self._lines)  # a narrower window has wrapped them
        up = f"\x1b[{rows - 1}A" if rows > 1 else ""
        return f"\r{up}{ERASE_BELOW}"


class PeriodicLine:
    """Writes a status where lines cannot be updated: at most every ``seconds``, and only if it changed."""

    def __init__(
        self,
        write: Callable[[str], None],
        seconds: float = STATUS_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._seconds = seconds
        self._clock = clock
        self._last_time = clock()
        self._last_text = ""

    def show(self, status: object) -> None:
        """Write ``str(status)``, if it is time."""
        now = self._clock()
        if now - self._last_time < self._seconds:
            return
        text = str(status)
        if text != self._last_text:
            self._last_time, self._last_text = now, text
            self._write(text)
