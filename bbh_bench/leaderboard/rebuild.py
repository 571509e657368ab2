"""Renders the board of a folder, and only what changed since the last time: boards may have ten thousand records.

A hidden file in the site's folder says of which files the board was made, and keeps what pages about several tasks need of each
task. A task whose files, and whose part of the log of verifications, are the same is not read again. Everything is rendered
again if the code of this package changed, or the tasks or methods of the board, which every page shows.
"""

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

import msgspec

from bbh_bench.leaderboard import figures
from bbh_bench.leaderboard.drawing import drawn_methods
from bbh_bench.leaderboard.fidelity_figure import fidelity_sets
from bbh_bench.leaderboard.parts import FILE, SITE, Part, common_files, parts_of, task_files
from bbh_bench.leaderboard.site import record_link
from bbh_bench.leaderboard.tables import TaskRecords, by_task
from bbh_bench.records.files import Together
from bbh_bench.records.limits import read_limited
from bbh_bench.records.record import Record
from bbh_bench.records.store import Store, collector_paused, readable_records
from bbh_bench.records.verifications import LOG, Log, read_log

STATE = f"{SITE}/.state.json"
LARGEST_STATE = 2**28
MANY = 500
"""Records in figures from which these are drawn in a second process, which takes a second to start."""
Stamp = tuple[int, int]
"""Size, and time of the last change in nanoseconds, of a file; of the entries of a record in the log, size and checksum."""


@dataclass(frozen=True)
class State:
    """Of a rendered board."""

    code: str
    """Digest of this package."""
    stamps: dict[str, dict[str, Stamp]] = field(default_factory=dict)
    """Of each file, by the folder of a version of a task and by its path. Folders with unreadable records are left out."""
    parts: dict[str, list[Part]] = field(default_factory=dict)
    """By folder."""
    pictures: dict[str, str] = field(default_factory=dict)
    """Digest of what the figures of a task show, by the stem of the task's files."""

    def shown(self) -> tuple[set[str], set[str]]:
        """What every page shows: the tasks and the methods of the board."""
        models = [part.model for parts in self.parts.values() for part in parts]
        return {model.stem for model in models}, {row.method for model in models for row in model.rows}


def render_folder(store: Store, out: Path) -> tuple[Path, list[str]]:
    """Render the board of all records of ``store`` into ``out``; return its path, and sentences about unreadable records.

    Raises ``RecordError`` if no record can be read, and ``OSError`` if a file cannot be written.
    """
    log = read_log(store.root)
    old = _read_state(out / STATE)
    stamps = _stamps(store.root, log)
    same = {
        folder for folder, files in stamps.items() if files == old.stamps.get(folder) and _are_there(old, folder, out)
    }
    records, unreadable = _read(store, stamps.keys() - same, stamps)
    if not records and not same:
        store.some_readable()  # says what is wrong
    groups = by_task(records, store.arrays, log)
    kept = {folder: old.parts[folder] for folder in same}
    if kept and _shown(groups, kept) != old.shown():
        records, unreadable = _read(store, stamps.keys(), stamps)
        groups, kept, old = by_task(records, store.arrays, log), {}, State(old.code)
    with collector_paused():
        new = _write(groups, kept, store, out, old, stamps)
    read = Counter(_folder(record.path) for record in records)
    whole = {f for f in stamps if f in kept or read[f] == sum(path.endswith(".json") for path in stamps[f])}
    state = replace(new, stamps={folder: stamps[folder] for folder in whole})
    with Together() as together:
        together.add(out / STATE, msgspec.json.encode(state))
    return out / FILE, unreadable


def _are_there(state: State, folder: str, out: Path) -> bool:
    """Whether the pages of the tasks of a folder were rendered, and nobody deleted them."""
    parts = state.parts.get(folder, [])
    pages = [out / f"{part.model.stem}.md" for part in parts]
    pages += [out / SITE / "tasks" / f"{part.model.stem}.html" for part in parts]
    return bool(parts) and all(page.exists() for page in pages)


def _read(
    store: Store, folders: Collection[str], stamps: Mapping[str, Mapping[str, Stamp]]
) -> tuple[list[Record], list[str]]:
    """The records of these folders, and sentences about unreadable ones."""
    paths = [path for folder in folders for path in stamps[folder] if path.endswith(".json")]
    return readable_records(sorted(store.root / path for path in paths), store.root)


def _write(
    groups: list[TaskRecords],
    kept: Mapping[str, list[Part]],
    store: Store,
    out: Path,
    old: State,
    stamps: Mapping[str, Mapping[str, Stamp]],
) -> State:
    """Write all files but those that did not change, and return the new state, with all stamps."""
    others = [part for parts in kept.values() for part in parts]
    parts, site = parts_of(groups, others)
    pairs = list(zip(groups, parts, strict=True))
    drawn = {group.stem: _drawn(group) for group in groups if group.finished}
    digests = {stem: _digest_of_curves(group) for stem, group in drawn.items()}
    redrawn = [group for stem, group in drawn.items() if digests[stem] != old.pictures.get(stem)]
    with _pictures(redrawn, site.method_names()) as pictures, Together() as together:
        for group, part in pairs:
            for path, content in task_files(group, part, site, store.arrays):
                together.add(_with_folder(out / path), content)
            for record in group.records:
                page = out / SITE / record_link(part.model, record.method.name, record.seed)
                if _changed(record, old, stamps) or not page.exists():
                    _with_folder(page).write_bytes(
                        site.record(record, part.model, group.log)[1]
                    )  # thousands: not all or none
        for path, content in (*common_files([*parts, *others], site), *pictures().items()):
            together.add(_with_folder(out / path), content)
    by_folder = {folder: list(own) for folder, own in kept.items()}
    for group, part in pairs:
        by_folder.setdefault(_folder(group.records[0].path), []).append(part)
    kept_pictures = {part.model.stem: old.pictures.get(part.model.stem, "") for part in others}
    return State(old.code, {}, by_folder, kept_pictures | digests)


def _drawn(group: TaskRecords) -> TaskRecords:
    """The records that figures show: of the best methods; of all of them where a figure has a row for each."""
    if fidelity_sets(group):
        return TaskRecords(group.finished)
    return TaskRecords([record for name in drawn_methods(group) for record in group.by_method[name]])


def _digest_of_curves(group: TaskRecords) -> str:
    shown = [(each.method.name, each.seed, each.scores, each.curves, each.audit, each.cost) for each in group.records]
    return hashlib.sha256(msgspec.json.encode(shown)).hexdigest()


@contextmanager
def _pictures(groups: list[TaskRecords], methods: list[str]) -> Iterator[Callable[[], dict[str, bytes]]]:
    """Starts to draw in a second process if there is much to draw; what it gives waits for the pictures."""
    if sum(len(group.records) for group in groups) < MANY:
        yield lambda: figures.draw(groups, methods)
        return
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool.submit(figures.draw, groups, methods).result


def _shown(groups: Sequence[TaskRecords], kept: Mapping[str, list[Part]]) -> tuple[set[str], set[str]]:
    """What every page would show of these tasks and those that are kept."""
    tasks, methods = State("", {}, dict(kept)).shown()
    names = {record.method.name for group in groups for record in group.records}
    return tasks | {group.stem for group in groups}, methods | names


def _stamps(root: Path, log: Log) -> dict[str, dict[str, Stamp]]:
    """Of the files of records and arrays, by folder, and of what the log says about these."""
    stamps: dict[str, dict[str, Stamp]] = {}
    for path in sorted(root.rglob("seed*")):
        relative = path.relative_to(root)
        if path.suffix in (".json", ".npz") and not any(part.startswith(".") for part in relative.parts):
            status = path.lstat()
            stamps.setdefault(_folder(relative), {})[str(relative)] = (status.st_size, status.st_mtime_ns)
    for record, entries in log.items():
        files = stamps.get(_folder(Path(record)), {})
        if record in files:
            content = msgspec.json.encode(entries)
            files[_in_log(record)] = len(content), zlib.crc32(content)
    return stamps


def _in_log(record: str) -> str:
    """Under which the stamp of a record's entries in the log stands."""
    return f"{record} in {LOG}"


def _folder(path: Path) -> str:
    """Of the version of a task, from the path of one of its records."""
    return "/".join(path.parts[:2])


def _changed(record: Record, old: State, stamps: Mapping[str, Mapping[str, Stamp]]) -> bool:
    """Whether the file of a record is not the one of which its page was made, or the log says something else of it."""
    before, now = (each.get(_folder(record.path), {}) for each in (old.stamps, stamps))
    path = str(record.path)
    return any(before.get(name) != now.get(name) for name in (path, _in_log(path)))


def _with_folder(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _read_state(path: Path) -> State:
    """An empty one if there is none, if it is damaged, or if other code wrote it."""
    code = _digest_of_code()
    try:
        state = msgspec.json.decode(read_limited(path, LARGEST_STATE), type=State)
    except (OSError, ValueError, msgspec.MsgspecError):
        return State(code)
    return state if state.code == code else State(code)


def _digest_of_code() -> str:
    """Of all files of this package: templates, scripts and modules."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.read_bytes())
    return digest.hexdigest()
