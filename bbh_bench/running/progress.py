"""One progress bar a cell: its stage, the share of the fit that is done, the time left and the method's loss."""

import sys
from types import TracebackType

from tqdm import tqdm


class Progress:
    """A bar on a terminal; silent elsewhere, where the command prints one line a cell."""

    def __init__(self, label: str, shown: bool = True) -> None:
        self._label = label
        self._bar = tqdm(
            total=1.0,
            desc=label,
            disable=not shown or not sys.stderr.isatty(),
            leave=False,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed} elapsed, {remaining} left{postfix}",
        )

    def fitting(self, fraction: float, loss: float) -> None:
        """The share of the fit that is done, and the loss."""
        self._bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
        self._bar.update(fraction - self._bar.n)

    def stage(self, name: str) -> None:
        """What the cell does now."""
        self._bar.set_description_str(f"{self._label}: {name}")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
