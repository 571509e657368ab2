"""One cell: what its record holds, what a failure leaves, and that seeds decide everything."""

import gc
import re
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import QUICK, TINY, Failing

from bbh_bench import hookimpl
from bbh_bench.api import Metric, Posterior
from bbh_bench.attacks.algorithms import NoiseLinf
from bbh_bench.errors import BenchError, ContractError, RecordError, UnknownName
from bbh_bench.methods.dropout import Dropout
from bbh_bench.methods.ensemble import Ensemble
from bbh_bench.methods.map import Map
from bbh_bench.plugins import Entry, Shelf, plugins
from bbh_bench.records.record import SCHEMA, describe, fingerprint
from bbh_bench.records.store import Store
from bbh_bench.running.plan import Cell, plan, seeds, unfinished
from bbh_bench.running.progress import Progress
from bbh_bench.running.provenance import command, provenance
from bbh_bench.running.runner import Bench, run_cell
from bbh_bench.running.stages import Stages, seed_everything


@pytest.fixture
def bench(metrics, cpu):
    return Bench(cpu, tuple(metrics), provenance(cpu, {"bbh-bench"}))


@pytest.fixture(scope="module")
def loaded():
    return TINY.load(Path())


def run(bench, loaded, method=QUICK, seed=0):
    with Progress("test") as progress:
        return run_cell(bench, Cell(TINY, method, "bbh-bench", "a line", seed), loaded, progress)


def test_a_record_holds_what_a_reviewer_asks_for(bench, loaded):
    record, arrays = run(bench, loaded)
    assert record.status == "finished"
    assert record.schema == SCHEMA
    assert record.path == Path("tiny/v1/quick/seed0.json")
    assert record.method["hyperparameters"] == {
        "class": "bbh_bench.methods.map.Map",
        "name": "quick",
        "lr": 0.01,
        "prior_scale": 1.0,
    }
    assert record.task["fingerprint"] == fingerprint(TINY.specification())
    for score in (
        "test/error",
        "test/ece",
        "outlier/digits5-9/auroc",
        "outlier/digits5-9/entropy_auc",
        "attack/fgsm/accuracy_area",
    ):
        assert 0 <= record.scores[score] <= 1
    assert len(record.curves["test/entropy_cdf"]["share"]) == 101
    assert record.curves["attack/fgsm"]["epsilon"] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4])
    for cost in (
        "fit/seconds",
        "fit/fits",
        "predict/seconds_per_1000",
        "attack/seconds",
        "reference/step_seconds",
    ):
        assert record.cost[cost] > 0
    assert record.cost["parameters"] == 3493
    assert record.cost["peak_memory_bytes"] >= 0  # a cell this small may fit in what the one before gave back
    assert record.better["auroc"] == "higher"
    assert record.better["accuracy_area"] == "higher"
    for key in ("packages", "commit", "dirty", "command", "hardware", "started"):
        assert key in record.provenance
    assert record.provenance["packages"]["torch"] == version("torch")
    assert arrays["test/labels"].shape == (270,)
    assert arrays["attack/fgsm/3/log_odds"].shape == (40, 5)


def test_a_small_task_runs_on_its_number_of_threads(bench, loaded):
    seen = []

    @dataclass(frozen=True)
    class Counts:
        name: str = "counts"

        def fit(self, problem):
            seen.append(torch.get_num_threads())
            return QUICK.fit(problem)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for task in (replace(TINY, threads=1), replace(TINY, threads=None)):
            with Progress("test") as progress:
                record, _ = run_cell(bench, Cell(task, Counts(), "bbh-bench", "", 0), loaded, progress)
            assert record.provenance["hardware"]["threads"] == seen[-1]
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2]


def test_scores_are_those_of_the_arrays_as_stored(bench, loaded, metrics, tmp_path):
    record, arrays = run(bench, loaded, Dropout(name="d"))
    store = Store(tmp_path)
    store.put(record, arrays)
    (read,) = store.records()
    scores, curves = TINY.score(store.arrays(read), metrics)
    assert scores == record.scores == read.scores
    assert curves == record.curves == read.curves


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(bench, loaded):
    first, second, other = (run(bench, loaded, Dropout(name="d"), seed)[0] for seed in (0, 0, 1))
    assert first.scores == second.scores
    assert first.curves == second.curves
    assert first.scores != other.scores


def test_one_more_attack_changes_nothing_else(bench, loaded):
    _, arrays = run(bench, loaded, Dropout(name="d"))
    task = replace(TINY, attacks=(replace(TINY.attacks[0], name="first", epsilons=(0.3,)), *TINY.attacks))
    cell = Cell(task, Dropout(name="d"), "bbh-bench", "a line", 0)
    with Progress("test") as progress:
        _, more = run_cell(bench, cell, replace(loaded, task=task), progress)
    elsewhere = [
        key for key in arrays if not key.startswith("robust/")
    ]  # what the worst case is taken of, the task's own
    assert all(np.array_equal(arrays[key], more[key]) for key in elsewhere)
    assert "attack/first/0/log_odds" in more


def test_a_failing_method_leaves_a_record_of_its_failure(bench, loaded):
    record, arrays = run(bench, loaded, Failing())
    assert record.status == "failed"
    assert record.error["type"] == "RuntimeError"
    assert record.error["message"] == "out of luck"
    assert "in fit" in record.error["traceback"]
    assert record.scores == arrays == {}


@dataclass
class Odd(Posterior):
    """Answers whatever it is told to."""

    answer: object
    parameters: int = 1
    differentiable: bool = True

    def sample(self, n):
        return self.answer


@dataclass(frozen=True)
class Oddity:
    """A method with an odd posterior."""

    posterior: Posterior
    name: str = "oddity"

    def fit(self, problem):
        return self.posterior


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (lambda x: torch.full((2, len(x), 5), float("nan")), "aren't finite"),
        (lambda x: torch.zeros(len(x), 5), "must be [n, "),
        (lambda x: torch.zeros(2, 1, 5), "must be [n, "),
    ],
)
def test_a_posterior_that_breaks_the_contract_fails_its_cell_with_advice(bench, loaded, answer, complaint):
    record, _ = run(bench, loaded, Oddity(Odd(answer)))
    assert record.status == "failed"
    assert complaint in record.error["message"]


@dataclass(frozen=True)
class Vandal:
    """Wipes out the images that it is given."""

    name: str = "vandal"

    def fit(self, problem):
        problem.x.zero_()
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        return Odd(lambda x: x.clamp_(max=0.3).flatten(1)[:, :5].unsqueeze(0), differentiable=False)


def test_a_method_that_spoils_its_data_and_torchs_settings_harms_nobody_else(bench, loaded):
    alone, _ = run(bench, loaded)
    assert run(bench, loaded, Vandal())[0].status == "finished"
    assert run(bench, loaded)[0].scores == alone.scores


def broken_metric(*given):
    raise TypeError("broken metric")


@pytest.mark.parametrize("compute", [broken_metric, lambda *given: None, lambda *given: float("nan")])
@pytest.mark.parametrize("scope", ["labelled", "inputs", "outliers"])
def test_a_broken_metric_is_left_out_with_a_warning(bench, loaded, compute, scope):
    plain, _ = run(bench, loaded)
    more = replace(bench, metrics=(*bench.metrics, Metric("broken", scope, "lower", "a line", compute)))
    with pytest.warns(UserWarning, match="metric 'broken' is left out"):
        record, _ = run(more, loaded)
    assert record.status == "finished"
    assert record.scores == plain.scores


def test_a_metric_of_another_number_type_is_a_float_in_the_record(bench, loaded):
    more = replace(
        bench, metrics=(*bench.metrics, Metric("one", "labelled", "lower", "", lambda *given: np.float32(1)))
    )
    assert type(run(more, loaded)[0].scores["test/one"]) is float


def test_a_task_that_cannot_say_what_it_is_is_refused_by_name(builtin):
    def no_network():
        raise RuntimeError("no network today")

    tasks = Shelf("task", {"odd": Entry(replace(TINY, name="odd", network=no_network), "a-stranger")})
    with pytest.raises(ContractError, match=r"'odd' of distribution 'a-stranger'.*no network today"):
        plan(replace(builtin, tasks=tasks), ["odd"], [], [0])


@dataclass(frozen=True)
class Quitter:
    """Ends the process."""

    name: str = "quitter"

    def fit(self, problem):
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("method", "complaint"),
    [
        (Quitter(), "SystemExit"),
        (Oddity(Odd(lambda x: torch.zeros(2, len(x), 5), parameters=torch.tensor(3))), "parameters"),
        (Oddity(Odd(lambda x: torch.zeros(2, len(x), 7))), "270|must be"),
    ],
)
def test_nothing_that_a_method_does_ends_the_run(bench, loaded, method, complaint):
    record, _ = run(bench, loaded, method)
    assert record.status == "failed"
    assert re.search(complaint, record.error["type"] + record.error["message"])


def test_hyperparameters_that_a_record_cannot_hold_are_refused_before_anything_runs():
    found = plugins(external=False)
    found.add("other", lambda: SimpleNamespace(bbh_methods=hookimpl(lambda: [Map(name="endless", lr=float("inf"))])))
    catalogue = found.catalogue()
    if "endless" not in set(catalogue.methods):
        raise AssertionError(catalogue.problems)
    with pytest.raises(ContractError, match="'endless' has a hyperparameter that a record can't hold"):
        plan(catalogue, ["digits5"], ["endless"], [0])


def test_a_problem_holds_no_way_to_the_test_data(loaded, cpu):
    """Nothing that the garbage collector reaches from the problem is a tensor of the test set."""
    problem = loaded.problem(cpu)
    hidden = {id(tensor) for tensor in (*loaded.data.test, *loaded.data.outliers.values())}
    seen, todo = set(), [problem.network, problem.progress, problem.likelihood, problem.x, problem.y]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, type | ModuleType):
            continue
        seen.add(id(thing))
        assert id(thing) not in hidden
        if isinstance(thing, FunctionType):  # its module's names lead everywhere
            todo += [cell.cell_contents for cell in thing.__closure__ or ()]
        else:
            todo += gc.get_referents(thing)


def test_a_posterior_without_gradients_is_scored_and_not_attacked(bench, loaded):
    flat = Odd(lambda x: torch.stack([x.flatten(1)[:, :5].detach()] * 2), differentiable=False)
    record, _ = run(bench, loaded, Oddity(flat))
    assert record.status == "finished"
    assert "test/nll" in record.scores
    assert not [name for name in [*record.scores, *record.curves] if name.startswith("attack/")]


def test_a_stage_is_seeded_by_its_name_alone(cpu):
    first, second = Stages(3, cpu), Stages(3, cpu)
    with first("a"):
        torch.rand(7)
    with first("b", images=5):
        one = torch.rand(2), np.random.rand(2)
    with second("b", images=2):
        two = torch.rand(2), np.random.rand(2)
    with second("b", images=2):
        pass
    assert one[0].equal(two[0])
    assert np.array_equal(one[1], two[1])
    assert second.images == {"b": 4}
    assert first.seconds.keys() == {"a", "b"}
    seed_everything(4, "b")
    assert not torch.rand(2).equal(one[0])


def test_seeds_are_parsed_or_refused():
    assert seeds("0,2,1,2") == [0, 2, 1]
    for wrong in ("", "a", "1,b", "1.5", "-1", "0,,1"):
        with pytest.raises(BenchError, match="--seeds takes whole numbers"):
            seeds(wrong)


def test_the_plan_is_every_combination(builtin):
    cells = plan(builtin, ["digits5", "mnist"], ["map", "dropout"], [0, 1])
    assert [str(cell) for cell in cells[:3]] == ["digits5 map seed 0", "digits5 map seed 1", "digits5 dropout seed 0"]
    assert len(cells) == 8
    entries = builtin.methods.entries
    assert len(plan(builtin, ["digits5"], [], [0])) == len(entries)
    strange = Shelf("method", {**entries, "mine": Entry(Map(name="mine"), "a-stranger")})
    assert len(plan(replace(builtin, methods=strange), ["digits5"], [], [0])) == len(entries)  # only if named
    assert len(plan(replace(builtin, methods=strange), ["digits5"], ["mine"], [0])) == 1
    with pytest.raises(UnknownName, match=r"No task named 'digit5'\. Did you mean 'digits5'\?"):
        plan(builtin, ["digit5"], [], [0])


def test_a_cell_whose_predictions_are_lost_runs_again(bench, loaded, tmp_path):
    store, cell = Store(tmp_path), Cell(TINY, QUICK, "bbh-bench", "", 0)
    store.put(*run(bench, loaded))
    assert unfinished([cell], store, replace=False) == []
    (tmp_path / cell.path.with_suffix(".npz")).unlink()
    assert unfinished([cell], store, replace=False) == [cell]


def test_finished_cells_are_skipped_failed_ones_run_again_and_changed_ones_are_refused(bench, loaded, tmp_path):
    store = Store(tmp_path)
    good, bad = Cell(TINY, QUICK, "bbh-bench", "", 0), Cell(TINY, Failing(), "bbh-bench", "", 0)
    for cell in (good, bad):
        store.put(*run(bench, loaded, cell.method))
    assert unfinished([good, bad], store, replace=False) == [bad]
    assert unfinished([good, bad], store, replace=True) == [good, bad]
    for changed, what in [
        (replace(good, method=replace(QUICK, lr=0.5)), "other hyperparameters"),
        (replace(good, task=replace(TINY, epochs=4)), "another definition of its task"),
    ]:
        with pytest.raises(RecordError, match=what):
            unfinished([changed], store, replace=False)
        assert unfinished([changed], store, replace=True) == [changed]


def test_a_record_from_before_attacks_were_named_is_finished(bench, loaded, tmp_path):
    store, cell = Store(tmp_path), Cell(TINY, QUICK, "bbh-bench", "", 0)
    record, arrays = run(bench, loaded)
    del record.task["attacks"]
    store.put(record, arrays)
    assert unfinished([cell], store, replace=False) == []
    more = replace(cell, task=TINY.with_attacks([NoiseLinf()]))
    assert unfinished([more], store, replace=False) == [more]


def test_describe_names_classes_all_the_way_down():
    described = describe(Ensemble(base=Dropout(rate=0.25)))
    assert described["base"]["class"] == "bbh_bench.methods.dropout.Dropout"
    assert described["base"]["rate"] == 0.25
    assert describe(lambda: None) == describe(lambda: None).replace("0x", "")  # no addresses


def test_the_fingerprint_follows_the_definition():
    assert fingerprint(TINY.specification()) == fingerprint(replace(TINY).specification())
    changes = [{"epochs": 4}, {"draws": 5}, {"attacks": ()}, {"version": 2}, {"attacked": 41}]
    prints = {fingerprint(replace(TINY, **change).specification()) for change in [{}, *changes]}
    assert len(prints) == len(changes) + 1


def test_the_command_is_kept_without_the_users_folders():
    line = ["/home/me/bin/bbh-bench", "run", "--data", "/home/me/data", "--seeds", "0,1", "--records=/home/me/runs"]
    assert command(line) == "bbh-bench run --seeds 0,1"
    assert command(["bbh-bench", "run", "--records"]) == "bbh-bench run"
