"""One cell: what its record holds, what a failure leaves, and that the seed decides every score."""

import gc
import re
import threading
import warnings
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import FunctionType, ModuleType

import numpy as np
import pytest
import torch
from helpers import QUICK, TINY, Failing, NoProgress, context, planned

from bbh_bench.api import Metric, Posterior, task_fingerprint
from bbh_bench.errors import BenchWarning
from bbh_bench.methods.dropout import Dropout
from bbh_bench.methods.map import Map
from bbh_bench.records.record import SCHEMA
from bbh_bench.records.store import Store
from bbh_bench.running.runner import recorded_warnings, run_cell


@pytest.fixture
def bench():
    return context()


@pytest.fixture(scope="module")
def loaded():
    return TINY.load(Path())


def run(bench, loaded, method=QUICK, seed=0, task=TINY):
    return run_cell(bench, planned(task, method, seed), lambda: loaded, NoProgress())


def record_of(*arguments, **named):
    return run(*arguments, **named).record


def test_a_record_holds_what_a_reviewer_asks_for(bench, loaded):
    result = run(bench, loaded)
    record, arrays = result.record, result.arrays
    assert record.status == "finished"
    assert record.schema == SCHEMA
    assert record.path == Path("tiny/v1/quick/seed0.json")
    assert record.method.hyperparameters == {"lr": 0.01, "prior_scale": 1.0}
    assert record.method.version == 1
    assert record.method.package.name == "bbh-bench"
    assert re.fullmatch(r"[0-9a-f]{16}", record.method.source)
    assert record.task.fingerprint == task_fingerprint(TINY)
    assert record.task.kind == "classification"
    for score in (
        "test/error",
        "test/ece",
        "ood/digits5-9/auroc",
        "ood/digits5-9/entropy_auc",
        "attack/fgsm/robust_accuracy_auc",
    ):
        assert 0 <= record.scores[score] <= 1
    assert len(record.curves["test/entropy_cdf"]["share"]) == 101
    assert record.curves["attack/fgsm"]["epsilon"] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4])
    for cost in (
        "fit/seconds",
        "fit/relative",
        "predict/seconds_per_1000",
        "attack/seconds",
        "reference/step_seconds",
    ):
        assert record.cost[cost] > 0
    assert record.cost["parameters"] == 3493
    assert record.cost["peak_memory_bytes"] >= 0  # a cell this small may fit in what the one before released
    assert record.directions["auroc"] == "higher"
    assert record.directions["robust_accuracy_auc"] == "higher"
    assert record.warnings == []
    assert record.provenance.packages["torch"] == version("torch")
    assert record.provenance.hardware.vector == torch.backends.cpu.get_cpu_capability()
    assert arrays["test/labels"].shape == (270,)
    assert arrays["attack/fgsm/3/log_odds"].shape == (40, 5)


def test_a_small_task_runs_on_its_number_of_threads(bench, loaded):
    threads = []

    @dataclass(frozen=True)
    class Counts:
        """A method that notes the number of threads."""

        name: str = "counts"
        version: int = 1

        def fit(self, problem):
            threads.append(torch.get_num_threads())
            return QUICK.fit(problem)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for task in (replace(TINY, threads=1), replace(TINY, threads=None)):
            record = record_of(bench, loaded, Counts(), task=task)
            assert record.provenance.hardware.threads == threads[-1]
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threads == [1, 2]


def test_scores_are_those_of_the_arrays_as_stored(bench, loaded, metrics, tmp_path):
    result = run(bench, loaded, Dropout(name="d"))
    store = Store(tmp_path)
    store.put(result.record, result.arrays)
    (read,) = store.records()
    scored = TINY.score(store.arrays(read), metrics)
    assert scored.scores == result.record.scores == read.scores
    assert scored.curves == result.record.curves == read.curves
    assert scored.audit == result.record.audit == read.audit


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(bench, loaded):
    first, second, other = (record_of(bench, loaded, Dropout(name="d"), seed) for seed in (0, 0, 1))
    assert first.scores == second.scores
    assert first.curves == second.curves
    assert first.scores != other.scores


def test_one_more_attack_changes_nothing_else(bench, loaded):
    arrays = run(bench, loaded, Dropout(name="d")).arrays
    task = replace(TINY, attacks=(replace(TINY.attacks[0], name="first", epsilons=(0.3,)), *TINY.attacks))
    more = run(bench, task.load(Path()), Dropout(name="d"), task=task).arrays
    elsewhere = [
        key for key in arrays if not key.startswith("robust/")
    ]  # the worst case depends on the task's own attacks
    assert all(np.array_equal(arrays[key], more[key]) for key in elsewhere)
    assert "attack/first/0/log_odds" in more


def test_a_failing_method_leaves_a_record_of_its_failure(bench, loaded):
    result = run(bench, loaded, Failing())
    assert result.record.status == "failed"
    assert result.record.error.type == "RuntimeError"
    assert result.record.error.message == "out of luck"
    assert "in fit" in result.record.error.traceback
    assert re.fullmatch(r"helpers\.py:\d+", result.record.error.location)
    assert result.record.scores == result.arrays == {}


@dataclass
class FixedOutputs(Posterior):
    """Its networks are any given function."""

    outputs: object
    parameters: int = 1
    differentiable: bool = True

    def sample(self, n):
        return self.outputs


def returning(posterior):
    """A method whose fit returns ``posterior``."""

    @dataclass(frozen=True)
    class Returns:
        """A method that returns a given posterior."""

        name: str = "returns"
        version: int = 1

        def fit(self, problem):
            return posterior

    return Returns()


@pytest.mark.parametrize(
    ("outputs", "complaint"),
    [
        (lambda x: torch.full((2, len(x), 5), float("nan")), "not finite"),
        (lambda x: torch.zeros(len(x), 5), "must be [n, "),
        (lambda x: torch.zeros(2, 1, 5), "must be [n, "),
        (lambda x: torch.zeros(2, len(x), 7), "must be [n, "),
    ],
)
def test_a_posterior_that_breaks_the_contract_fails_its_cell_with_advice(bench, loaded, outputs, complaint):
    record = record_of(bench, loaded, returning(FixedOutputs(outputs)))
    assert record.status == "failed"
    assert complaint in record.error.message


def test_fit_must_return_a_posterior(bench, loaded):
    record = record_of(bench, loaded, returning(7))
    assert record.status == "failed"
    assert "fit() returned int, which has no method sample(n)" in record.error.message


@dataclass(frozen=True)
class Vandal:
    """Erases the images that it gets, and changes torch's settings."""

    name: str = "vandal"
    version: int = 1

    def fit(self, problem):
        problem.x.zero_()
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_grad_enabled(False)
        return FixedOutputs(lambda x: x.clamp_(max=0.3).flatten(1)[:, :5].unsqueeze(0), differentiable=False)


def test_a_method_that_changes_its_data_and_torchs_settings_affects_no_other(bench, loaded):
    alone = record_of(bench, loaded)
    assert record_of(bench, loaded, Vandal()).status == "finished"
    assert torch.get_default_device().type == "cpu"
    assert record_of(bench, loaded).scores == alone.scores


def test_a_default_device_of_the_caller_is_restored(bench, loaded):
    """Not reset: a library user may have set one."""
    try:
        torch.set_default_device("cpu")
        assert record_of(bench, loaded, Vandal()).status == "finished"
        assert torch.get_default_device() == torch.device("cpu")
    finally:
        torch.set_default_device(None)


def broken_metric(*given):
    raise TypeError("broken metric")


@pytest.mark.parametrize("compute", [broken_metric, lambda *given: None, lambda *given: float("nan")])
@pytest.mark.parametrize("scope", ["labelled", "inputs", "ood"])
def test_a_broken_metric_is_left_out_with_a_warning(bench, loaded, compute, scope):
    plain = record_of(bench, loaded)
    more = replace(bench, metrics=(*bench.metrics, Metric("broken", scope, "lower", "a line", compute)))
    record = record_of(more, loaded)
    assert record.status == "finished"
    assert record.scores == plain.scores
    assert [sentence for sentence in record.warnings if "'broken' is left out" in sentence]


def test_a_metric_of_another_number_type_is_a_float_in_the_record(bench, loaded):
    metric = Metric("one", "labelled", "lower", "a line", lambda *given: np.float32(1))
    record = record_of(replace(bench, metrics=(*bench.metrics, metric)), loaded)
    assert type(record.scores["test/one"]) is float


@dataclass(frozen=True)
class Quitter:
    """Ends the process."""

    name: str = "quitter"
    version: int = 1

    def fit(self, problem):
        raise SystemExit(3)


def test_a_method_cannot_end_the_run(bench, loaded):
    record = record_of(bench, loaded, Quitter())
    assert record.status == "failed"
    assert record.error.type == "SystemExit"


def fitting(function):
    """A method whose fit is ``function``."""

    @dataclass(frozen=True)
    class Fits:
        """A method with a given fit."""

        name: str = "fits"
        version: int = 1

        def fit(self, problem):
            return function(problem)

    return Fits()


class NoText(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class OddText(Exception):
    def __str__(self):
        return "half a character: \ud800"


class BareBase(BaseException):
    pass


def raising(bench, loaded, error):
    def fit(problem):
        raise error

    return record_of(bench, loaded, fitting(fit))


@pytest.mark.parametrize("error", [BareBase, GeneratorExit, NoText, OddText])
def test_whatever_a_method_raises_is_the_failure_of_its_cell(bench, loaded, error, tmp_path):
    record = raising(bench, loaded, error)
    assert record.status == "failed"
    assert record.error.type == error.__name__
    assert "in fit" in record.error.traceback
    assert Store(tmp_path).put(record, {}) == Store(tmp_path).get(record.path) == record


def test_an_exception_without_a_text_says_so(bench, loaded):
    assert raising(bench, loaded, NoText).error.message == "<its text cannot be shown: RuntimeError>"
    assert raising(bench, loaded, OddText).error.message == r"half a character: \ud800"


class Endless(Exception):
    def __str__(self):
        return "x" * 10**7


def test_a_failure_of_any_length_can_be_stored_and_read_again(bench, loaded, tmp_path):
    record = raising(bench, loaded, type("E" * 10**5, (Endless,), {}))
    assert len(record.error.message) == 10**5
    assert record.error.message.endswith("x...")
    assert Store(tmp_path).put(record, {}) == Store(tmp_path).get(record.path)


def test_a_warning_of_any_length_is_recorded_in_a_form_that_can_be_read_again():
    with recorded_warnings() as messages:
        warnings.warn("x" * 10**5, BenchWarning, stacklevel=1)
        warnings.warn("half a character: \ud800", BenchWarning, stacklevel=1)
    long, half = messages
    assert len(long) == 4000
    assert half == r"half a character: \ud800"


def test_an_interruption_ends_the_run(bench, loaded):
    with pytest.raises(KeyboardInterrupt):
        raising(bench, loaded, KeyboardInterrupt)


def test_while_a_method_fits_there_are_no_test_data_in_the_process(bench):
    labels = TINY.load(Path()).data.test[1]

    def copies():
        tensors = [each for each in gc.get_objects() if type(each) is torch.Tensor]
        return sum(torch.equal(each, labels) for each in tensors)

    seen = []

    def fit(problem):
        seen.append(copies())
        return QUICK.fit(problem)

    known = copies()  # by this test, and by fixtures
    cell = planned(TINY, fitting(fit))
    assert run_cell(bench, cell, lambda: TINY.load(Path()), NoProgress()).record.finished
    loaded = TINY.load(Path())
    assert run_cell(bench, cell, lambda: loaded, NoProgress()).record.finished
    assert seen == [known, known + 1]  # a caller that keeps the data leaves them to be seen


def leaving_a_thread(event, daemon=False):
    def fit(problem):
        threading.Thread(target=event.wait, daemon=daemon, name="helper").start()
        return QUICK.fit(problem)

    return fitting(fit)


@pytest.mark.parametrize("daemon", [False, True])
def test_a_thread_that_goes_on_after_the_fit_is_noticed(bench, loaded, daemon, monkeypatch):
    monkeypatch.setattr("bbh_bench.running.fitting.GRACE", 0.01)
    event = threading.Event()
    try:
        record = record_of(bench, loaded, leaving_a_thread(event, daemon))
    finally:
        event.set()
    if daemon:
        assert record.finished
        assert any("daemon threads that go on: 'helper'" in sentence for sentence in record.warnings)
    else:
        assert record.error.type == "ContractError"
        assert "fit() left threads that go on: 'helper'. End and join them" in record.error.message


def test_a_thread_that_ends_by_itself_is_no_mistake(bench, loaded):
    event = threading.Event()
    event.set()
    record = record_of(bench, loaded, leaving_a_thread(event))
    assert record.finished
    assert record.warnings == []


@pytest.mark.parametrize("parameters", [torch.tensor(3), None, 10**400, True, -1])
def test_a_posterior_without_a_valid_size_keeps_its_scores(bench, loaded, parameters):
    posterior = FixedOutputs(lambda x: x.flatten(1)[:, :5].unsqueeze(0), parameters=parameters)
    record = record_of(bench, loaded, returning(posterior))
    assert record.status == "finished"
    assert "test/nll" in record.scores
    assert "parameters" not in record.cost
    assert any("parameters" in sentence for sentence in record.warnings)


def test_a_prediction_without_gradients_keeps_its_scores_and_is_not_attacked(bench, loaded):
    """The method forgot that its function is attacked: it predicts under no_grad and does not say so."""
    plain = QUICK.fit(loaded.problem(torch.device("cpu")))
    networks = plain.sample(1)
    silent = FixedOutputs(torch.no_grad()(networks), parameters=plain.parameters)
    record = record_of(bench, loaded, returning(silent))
    assert record.status == "finished"
    assert "test/nll" in record.scores
    assert not [name for name in record.scores if name.startswith(("attack/", "robust/"))]
    assert any("gradient" in sentence for sentence in record.warnings)


def test_probabilities_in_place_of_logits_are_noticed(bench, loaded):
    networks = QUICK.fit(loaded.problem(torch.device("cpu"))).sample(1)
    record = record_of(bench, loaded, returning(FixedOutputs(lambda x: networks(x).softmax(-1))))
    assert record.status == "finished"
    assert [sentence for sentence in record.warnings if "look like probabilities" in sentence]
    assert len(record.warnings) == len(set(record.warnings))


def test_a_problem_holds_no_way_to_the_test_data(loaded, cpu):
    """Nothing that the garbage collector reaches from the problem is a tensor of the test set."""
    problem = loaded.problem(cpu)
    hidden = {id(tensor) for tensor in (*loaded.data.test, *loaded.data.ood.values())}
    seen, todo = set(), [problem.network, problem.progress, problem.likelihood, problem.x, problem.y]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, type | ModuleType):
            continue
        seen.add(id(thing))
        assert id(thing) not in hidden
        if isinstance(thing, FunctionType):  # the names of its module lead everywhere
            todo += [cell.cell_contents for cell in thing.__closure__ or ()]
        else:
            todo += gc.get_referents(thing)


def test_a_posterior_that_says_it_has_no_gradients_is_scored_and_not_attacked(bench, loaded):
    flat = FixedOutputs(lambda x: torch.stack([x.flatten(1)[:, :5].detach()] * 2), differentiable=False)
    record = record_of(bench, loaded, returning(flat))
    assert record.status == "finished"
    assert "test/nll" in record.scores
    assert not [name for name in [*record.scores, *record.curves] if name.startswith("attack/")]
    assert record.warnings == []


def test_a_method_prepares_before_the_random_generators_are_seeded(bench, loaded):
    """What it imports there is no part of the fit, and random numbers that it uses change nothing."""
    calls = []

    @dataclass(frozen=True)
    class Prepared(Map):
        def prepare(self):
            calls.append(torch.rand(5))

    plain, prepared = run(bench, loaded, Map(lr=1e-3)), run(bench, loaded, Prepared(lr=1e-3))
    assert len(calls) == 1
    assert prepared.record.scores == plain.record.scores
