"""What a thousand cells take, computed from the published records, for docs/scaling.md.

``python tests/costs_of_cells.py`` writes it between two comments of the document; a test compares.
"""

import json
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "scaling.md"
BEGIN, END = "<!-- costs: begin -->\n", "<!-- costs: end -->\n"
SEEDS = 125
RAY_HOURS = 8 * SEEDS * 10 / 3600
"""Ten seconds of imports for each cell."""


def measured(task: str) -> tuple[dict[str, float], dict[str, float]]:
    """Mean seconds and largest memory in GB of a cell, for each method, from its records of the newest version."""
    seconds, memory, versions = defaultdict(list), defaultdict(float), {}
    for file in sorted((ROOT / "leaderboard" / task).glob("v*/*/*.json"), key=lambda file: int(file.parts[-3][1:])):
        record = json.loads(file.read_text())
        cost, name = record["cost"], record["method"]["name"]
        if versions.setdefault(name, file.parts[-3]) != file.parts[-3]:
            versions[name] = file.parts[-3]
            seconds.pop(name), memory.pop(name)
        fit = cost["fit/seconds"] if record["provenance"]["fit"] else 0.0
        seconds[name].append(cost["total/seconds"] + fit)
        memory[name] = max(memory[name], cost["peak_memory_bytes"] / 2**30)
    return {name: sum(values) / len(values) for name, values in seconds.items()}, memory


def section() -> str:
    """Two tables, and the sums from which the second follows."""
    (every, _), (mnist, memory) = measured("digits5"), measured("mnist-short")
    digits = {name: seconds for name, seconds in every.items() if name in mnist}  # plugins have rows on digits5 alone
    sums = [sum(each.values()) for each in (digits, mnist)]
    hours = [SEEDS * each / 3600 for each in sums]
    lines = [
        "| method | `digits5`, s | `mnist-short`, s | largest memory on `mnist-short`, GB |",
        "|---|---|---|---|",
        *(f"| `{name}` | {digits[name]:.1f} | {mnist[name]:.0f} | {memory[name]:.1f} |" for name in by_cost(digits)),
        f"| sum | {sums[0]:.1f} | {sums[1]:.0f} | |",
        "",
        f"A thousand cells are eight methods with {SEEDS} seeds each:",
        "",
        "```text",
        f"digits5      {SEEDS} x {sums[0]:.1f} s = {hours[0]:.1f} core-hours",
        f"mnist-short  {SEEDS} x {sums[1]:.0f} s = {hours[1]:.0f} core-hours",
        "```",
        "",
        "On n cores they take that time divided by n, and at most the time of the longest cell more"
        f" ({max(digits.values()) / 60:.1f} and {max(mnist.values()) / 60:.0f} minutes).",
        f"Ray adds about ten seconds of processor time to each cell for its imports: {RAY_HOURS:.1f} core-hours.",
        "",
        "| cores | `digits5`, processes | `digits5`, Ray | `mnist-short`, processes or shared folder | `mnist-short`, Ray |",
        "|---|---|---|---|---|",
    ]
    totals = [hours[0], hours[0] + RAY_HOURS, hours[1], hours[1] + RAY_HOURS]
    for cores in (1, 8, 32, 256):
        lines.append(f"| {cores} | " + " | ".join(duration(total / cores) for total in totals) + " |")
    return "\n".join(lines) + "\n"


def by_cost(seconds: dict[str, float]) -> list[str]:
    """The names of the methods, the cheapest first."""
    return sorted(seconds, key=lambda name: seconds[name])


def duration(hours: float) -> str:
    """In minutes below three hours."""
    return f"{hours:.1f} h" if hours >= 3 else f"{60 * hours:.0f} min"


def main() -> None:
    """Replace what is between the two comments."""
    before, rest = DOCUMENT.read_text().split(BEGIN)
    DOCUMENT.write_text(before + BEGIN + section() + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
