"""Writes the table of ratios from results of pytest-benchmark into a document, between two comments.

Usage: ``python tests/benchmarks/table.py RESULTS.json [MORE.json ...] DOCUMENT.md``
"""

import json
import sys
from pathlib import Path

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def table(paths: list[Path]) -> str:
    """A markdown table of all ratios in files of results, and a line with the machines. Later files replace rows of earlier."""
    rows, machines = {}, []
    for path in paths:
        results = json.loads(path.read_text(encoding="utf-8"))
        cpu = results["machine_info"].get("cpu", {})
        machines.append(f"{cpu.get('brand_raw', 'unknown processor')}, {results['datetime'][:10]}")
        for each in results["benchmarks"]:
            info = each["extra_info"]
            if "ratio" in info:
                reached = "yes" if info["ratio"] <= info["goal"] else "no"
                figures = f"{info['ratio']:.3g} | {info['spread'].strip('[]')} | {info['goal']:.3g} | {reached}"
                rows[info["row"], info["against"]] = f"| {info['row']} | {info['against']} | {figures} |"
    header = [
        "| what | compared with | ratio of CPU time | lowest and highest | goal | reached |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join(
        [*header, *rows.values(), "", "Measured on: " + "; ".join(dict.fromkeys(machines)) + ", one thread."]
    )


def main(arguments: list[str]) -> None:
    """Replace what is between the two comments."""
    *results, document = map(Path, arguments)
    text = document.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    document.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
