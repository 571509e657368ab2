"""The commands that do more than print: run, publish, verify."""

import math
import sys
from pathlib import Path

import torch

from bbh_bench.data import data_folder
from bbh_bench.errors import BenchError, RecordError
from bbh_bench.executors import inline
from bbh_bench.leaderboard import render, summary
from bbh_bench.plan import plan, unfinished
from bbh_bench.plan import seeds as parse_seeds
from bbh_bench.plugins import Catalogue, plugins
from bbh_bench.provenance import provenance
from bbh_bench.record import Record, fingerprint
from bbh_bench.runner import Bench
from bbh_bench.store import Store, write_atomically

SAME = 1e-9  # relative


def run(
    tasks: list[str], methods: list[str], seeds: str, records: Path, data: str | None, device: str, replace: bool
) -> int:
    """Run the cells that are not in the store yet, and render the board there. Returns 1 where a cell failed."""
    numbers = parse_seeds(seeds)
    chosen = choose_device(device)
    folder = data_folder(data)
    catalogue = _catalogue()
    store = Store(records)
    cells = plan(catalogue, list(dict.fromkeys(tasks)), list(dict.fromkeys(methods)), numbers)
    left = unfinished(cells, store, replace)
    board = store.records() if records.is_dir() else []  # a record that can't be read must show before hours are spent
    del board
    loaded = {task.name: task.load(folder) for task in {cell.task.name: cell.task for cell in left}.values()}
    if len(left) < len(cells):
        print(f"{len(cells) - len(left)} of {len(cells)} cells are finished already.")
    bench = Bench(chosen, tuple(catalogue.metrics.things()), provenance(chosen, {cell.distribution for cell in left}))
    failed = 0
    for number, (cell, record, arrays) in enumerate(inline(bench, left, loaded), start=1):
        store.put(record, arrays)
        failed += record.status == "failed"
        print(f"[{number}/{len(left)}] {cell}: {outcome(record)}", flush=True)
    print(f"\n{summary(store.records())}\n\nwrote {render(store.records(), records)}")
    return 1 if failed else 0


def outcome(record: Record) -> str:
    """One line: the headline score and the seconds, or why it failed."""
    if record.status == "failed":
        return f"FAILED: {record.error['type']}: {record.error['message']}"
    headline = record.task["headline"]
    return f"{headline} {record.scores[headline]:.4g} in {record.cost['total/seconds']:.1f} s"


def choose_device(name: str) -> torch.device:
    """``auto`` is the GPU where there is one. Raises ``BenchError`` for ``cuda`` where there is none."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise BenchError("--device cuda: torch sees no CUDA device here. Use --device cpu, or auto.")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def publish(records: Path, to: Path, tasks: list[str], methods: list[str], replace: bool) -> int:
    """Check every chosen record, copy all or none, and render the board."""
    catalogue = _catalogue()
    source, target = Store(records), Store(to)
    chosen = [
        record
        for record in source.records()
        if (not tasks or record.task["name"] in tasks) and (not methods or record.method["name"] in methods)
    ]
    if not chosen:
        raise RecordError(f"There is no such record in '{records}'; `bbh-bench run` makes records.")
    fresh = [record for record in chosen if _publishable(record, source, target, catalogue, replace)]
    for record in fresh:
        path = target.root / record.path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path.with_name(record.predictions["file"]), source.packed(record))
        write_atomically(path, record.to_json().encode())
    print(
        f"published {len(fresh)} records, {len(chosen) - len(fresh)} were there already; wrote {render(target.records(), to)}"
    )
    return 0


def _publishable(record: Record, source: Store, target: Store, catalogue: Catalogue, replace: bool) -> bool:
    """Whether to copy it (False: it is there already). Raises ``RecordError`` where it must not be published."""
    where = f"The record '{source.root / record.path}'"
    if record.status != "finished":
        raise RecordError(f"{where} is of a failed cell. Run it again, or choose others with --task and --method.")
    task = catalogue.tasks[record.task["name"]]
    if record.task["fingerprint"] != fingerprint(task.specification()):
        raise RecordError(
            f"{where} has the task fingerprint {record.task['fingerprint']}, and the installed task has "
            f"{fingerprint(task.specification())}: it was made with another definition of the task. Run it again."
        )
    wrong = mismatches(record, source, catalogue)
    if wrong:
        raise RecordError(f"{where} has scores that its predictions don't give ({', '.join(wrong)}). Run it again.")
    there = target.get(record.path)
    if there is not None and there != record and not replace:
        raise RecordError(f"{where} differs from the published one. Give --replace to replace that.")
    return there != record


def verify(records: Path) -> int:
    """Recompute every score of every finished record. Returns 1 where one isn't the same to the last digit."""
    catalogue = _catalogue()
    store = Store(records)
    bad = 0
    finished = [record for record in store.records() if record.status == "finished"]
    for record in finished:
        wrong = mismatches(record, store, catalogue)
        if wrong:
            bad += 1
            print(f"{record.path}: not what the predictions give: {', '.join(wrong)}")
    print(f"{len(finished) - bad} of {len(finished)} finished records have the scores that their predictions give.")
    return 1 if bad else 0


def mismatches(record: Record, store: Store, catalogue: Catalogue) -> list[str]:
    """Names of the scores that differ from those recomputed with the installed metrics. Raises ``RecordError``.

    The same machine gives the same bits; another's vector units may round the last of them otherwise.
    """
    again, _ = catalogue.tasks[record.task["name"]].score(store.arrays(record), catalogue.metrics.things())
    installed = again.keys() & record.scores.keys()  # a plugin's metric may be missing here
    return sorted(name for name in installed if not math.isclose(again[name], record.scores[name], rel_tol=SAME))


def _catalogue() -> Catalogue:
    catalogue = plugins().catalogue()
    for problem in catalogue.problems:
        print(f"bbh-bench: warning: {problem}", file=sys.stderr)
    return catalogue
