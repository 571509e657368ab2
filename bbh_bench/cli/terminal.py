"""Ways to write text: a line, a line above a bar, a line that is updated in place, a line from time to time."""

import os
import shutil
import time
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

STATUS_SECONDS = 30.0


def write(text: str, out: TextIO) -> None:
    """Write a line at once, so that a log can be followed."""
    print(text, file=out, flush=True)


def write_above(text: str, out: TextIO) -> None:
    """Write a line above tqdm's bars, on the same terminal or elsewhere."""
    tqdm.write(text, file=out)
    out.flush()


class StatusLine:
    """The last line of a terminal, updated in place."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._line = tqdm(total=0, file=terminal, leave=False, bar_format="{desc}")  # tqdm: write_above knows of it

    def show(self, text: str) -> None:
        """Replace the line. What does not fit is cut off."""
        columns = width(self._terminal) - 1  # a full line would wrap on some terminals
        self._line.set_description_str(text if len(text) <= columns else f"{text[: columns - 3]}...")

    def close(self) -> None:
        """Remove the line."""
        self._line.close()


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

    def show(self, text: str) -> None:
        """Write it, if it is time."""
        now = self._clock()
        if now - self._last_time >= self._seconds and text != self._last_text:
            self._last_time, self._last_text = now, text
            self._write(text)


def width(terminal: TextIO) -> int:
    """Columns of a terminal; of $COLUMNS, or 80, where the system does not know."""
    try:
        return os.get_terminal_size(terminal.fileno()).columns or 80
    except (OSError, ValueError):
        return shutil.get_terminal_size().columns
