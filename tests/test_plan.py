"""Which cells a run consists of, which are finished, and which records are refused."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from helpers import QUICK, TINY, Failing, NoProgress, context, planned

from bbh_bench.api import Architecture
from bbh_bench.attacks.builtin import NOISE_LINF
from bbh_bench.errors import BenchError, ContractError, RecordError, UnknownName
from bbh_bench.methods.map import Map
from bbh_bench.plugins import Registered, Registry
from bbh_bench.records.store import Store
from bbh_bench.running.plan import parse_seeds, plan, unfinished
from bbh_bench.running.runner import run_cell


def stored(store, *cells):
    """Run the cells and store their results."""
    loaded, bench = TINY.load(Path()), context()
    for cell in cells:
        result = run_cell(bench, cell, lambda: loaded, NoProgress())
        store.put(result.record, result.arrays)


def test_the_plan_is_every_combination(builtin):
    cells = plan(builtin, ["digits5", "mnist"], ["map", "dropout"], [0, 1])
    assert [str(cell) for cell in cells[:3]] == ["digits5 map seed 0", "digits5 map seed 1", "digits5 dropout seed 0"]
    assert len(cells) == 8
    entries = builtin.methods.entries
    assert len(plan(builtin, ["digits5"], [], [0])) == len(entries)
    mine = {"mine": Registered(Map(name="mine"), "third-party", "a line")}
    third_party = replace(builtin, methods=Registry("method", {**entries, **mine}))
    assert len(plan(third_party, ["digits5"], [], [0])) == len(entries)  # only if it is named
    assert len(plan(third_party, ["digits5"], ["mine"], [0])) == 1
    with pytest.raises(UnknownName, match=r"No task named 'digit5'\. Did you mean 'digits5'\?"):
        plan(builtin, ["digit5"], [], [0])


def test_names_and_objects_can_be_mixed_and_repetitions_count_once(builtin):
    cells = plan(builtin, [TINY, "digits5", TINY], ["map", QUICK, Map()], [1, 1])
    assert [str(cell) for cell in cells] == [
        "tiny map seed 1",
        "tiny quick seed 1",
        "digits5 map seed 1",
        "digits5 quick seed 1",
    ]
    assert {cell.package.name for cell in cells} == {"bbh-bench"}
    assert [str(cell) for cell in plan(builtin, "digits5", "map", [0])] == ["digits5 map seed 0"]


def test_two_objects_of_one_name_are_refused(builtin):
    with pytest.raises(ContractError, match="Two methods have the name 'map'"):
        plan(builtin, [TINY], ["map", Map(lr=0.5)], [0])


def test_an_object_that_breaks_its_contract_is_refused(builtin):
    @dataclass(frozen=True)
    class NoFit:
        name: str = "mine"
        version: int = 1

    with pytest.raises(ContractError, match="'mine' has no valid `fit`"):
        plan(builtin, [TINY], [NoFit()], [0])


def test_a_task_that_cannot_describe_itself_is_refused_by_name(builtin):
    def no_network():
        raise RuntimeError("no network today")

    odd = replace(TINY, name="odd", network=Architecture("none", 1, no_network))
    tasks = Registry("task", {"odd": Registered(odd, "third-party", "a line")})
    with pytest.raises(ContractError, match=r"'odd' of the plugin 'third-party'.*no network today"):
        plan(replace(builtin, tasks=tasks), ["odd"], [], [0])


@pytest.mark.parametrize(
    ("text", "numbers"), [("0,2,1,2", [0, 2, 1]), ("0-2", [0, 1, 2]), ("5, 7-8,7", [5, 7, 8]), ("3", [3])]
)
def test_seeds_are_numbers_and_ranges(text, numbers):
    assert parse_seeds(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "1,b", "1.5", "-1", "0,,1", "2-1", "1-", "0-a"])
def test_other_seeds_are_refused(text):
    with pytest.raises(BenchError, match="--seeds takes whole numbers"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("9223372036854775808", r"below 2\^63; not '9223372036854775808', of 19 digits"),
        ("0," + "1" * 5000, r"below 2\^63; not '1{25}', of 5000 digits"),
        ("0-1000000", "more than 1,000,000 seeds"),
        ("0-9223372036854775807", "more than 1,000,000 seeds"),
        ("0-600000,700000-1200000", "more than 1,000,000 seeds"),
    ],
)
def test_seeds_that_are_too_large_or_too_many_are_refused(text, reason):
    with pytest.raises(BenchError, match=reason) as caught:
        parse_seeds(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("seed", [-1, 2**63, pytest.param(10**5000, id="huge"), 1.5, "1"])
def test_a_seed_of_a_library_call_is_checked(builtin, seed):
    with pytest.raises(BenchError, match=r"A seed is .*, not ") as caught:
        plan(builtin, [TINY], [QUICK], [0, seed])
    assert len(str(caught.value)) < 200


def test_a_seed_may_be_an_integer_of_numpy(builtin):
    (cell,) = plan(builtin, [TINY], [QUICK], np.arange(3, 4))
    assert type(cell.seed) is int


def test_a_cell_whose_arrays_are_lost_runs_again(tmp_path):
    store, cell = Store(tmp_path), planned(TINY, QUICK)
    stored(store, cell)
    assert unfinished([cell], store) == []
    (tmp_path / cell.path.with_suffix(".npz")).unlink()
    assert unfinished([cell], store) == [cell]


def test_finished_cells_are_skipped_failed_ones_run_again_and_changed_ones_are_refused(tmp_path):
    store = Store(tmp_path)
    good, bad = planned(TINY, QUICK), planned(TINY, Failing())
    stored(store, good, bad)
    assert unfinished([good, bad], store) == [bad]
    assert unfinished([good, bad], store, replace=True) == [good, bad]
    for changed, what in [
        (replace(good, method=replace(QUICK, lr=0.5)), "other hyperparameters"),
        (replace(good, method=replace(QUICK, version=2)), r"version 1 of its method \(installed: 2\)"),
        (planned(replace(TINY, epochs=4), QUICK), "another definition of its task"),
    ]:
        with pytest.raises(RecordError, match=what):
            unfinished([changed], store)
        assert unfinished([changed], store, replace=True) == [changed]


def test_edited_source_code_is_not_passed_over(tmp_path):
    store = Store(tmp_path)
    cell = planned(TINY, QUICK)
    stored(store, cell)
    edited = replace(cell, source="0123456789abcdef")
    with pytest.raises(RecordError, match=r"source code of method 'quick' has changed.*--replace.*--keep-outdated"):
        unfinished([edited], store)
    assert unfinished([edited], store, keep_outdated=True) == []
    assert unfinished([edited], store, replace=True) == [edited]


def test_source_code_that_is_not_known_counts_as_changed(tmp_path):
    store = Store(tmp_path)
    cell = replace(planned(TINY, QUICK), source=None)
    stored(store, cell)
    with pytest.raises(RecordError, match="is not known for the record"):
        unfinished([cell], store)
    assert unfinished([cell], store, keep_outdated=True) == []


def test_an_attack_is_added_by_running_the_cell_again_and_none_is_lost(tmp_path):
    store = Store(tmp_path)
    plain = planned(TINY, QUICK)
    more = planned(TINY.with_attacks([NOISE_LINF]), QUICK)
    assert more.fingerprint == plain.fingerprint
    stored(store, plain)
    assert unfinished([more], store) == [more]
    stored(store, more)
    assert unfinished([plain, more], store) == []
    other = planned(TINY.with_attacks([replace(NOISE_LINF, name="other")]), QUICK)
    with pytest.raises(RecordError, match=r"would lose \(noise-linf\)"):
        unfinished([other], store)
    changed = planned(TINY.with_attacks([replace(NOISE_LINF, version=2)]), QUICK)
    with pytest.raises(RecordError, match="other settings of noise-linf"):
        unfinished([changed], store)
