"""What differs between two records."""

import msgspec
import pytest
from record_factory import ATTACK, FAILED, PROVENANCE, failed, record, with_scores, with_task

from bbh_bench.leaderboard.diff import Absent, Difference, diff_page, differences

replace = msgspec.structs.replace
FIRST = record("m")


def with_method(record, **changes):
    return replace(record, method=replace(record.method, **changes))


def with_run(record, **changes):
    return replace(record, provenance=replace(record.provenance, **changes))


def with_hardware(record, **changes):
    return with_run(record, hardware=replace(record.provenance.hardware, **changes))


def changed(second, first=FIRST):
    return [(each.group, each.name, each.first, each.second) for each in differences(first, second)]


def test_equal_records_do_not_differ():
    assert differences(FIRST, record("m")) == []
    assert diff_page(FIRST, record("m")) == "no differences"


def test_the_start_time_is_not_a_difference():
    later = with_run(FIRST, started="2027-01-01T00:00:00Z")
    assert diff_page(FIRST, later) == "no differences"
    fits = [with_run(FIRST, fit=replace(PROVENANCE, started=when)) for when in ("2026", "2027")]
    assert diff_page(*fits) == "no differences"


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (replace(FIRST, seed=1), ("settings", "seed", 0, 1)),
        (with_task(FIRST, version=2), ("settings", "task/version", 1, 2)),
        (with_task(FIRST, fingerprint="g"), ("settings", "task/fingerprint", "f", "g")),
        (with_task(FIRST, attacks=[ATTACK | {"samples": 32}]), ("settings", "task/attacks/a/samples", 16, 32)),
        (
            with_task(FIRST, attacks=[ATTACK | {"algorithm": ATTACK["algorithm"] | {"steps": 100}}]),
            ("settings", "task/attacks/a/algorithm/steps", 40, 100),
        ),
        (with_method(FIRST, version=2), ("settings", "method/version", 1, 2)),
        (with_method(FIRST, hyperparameters={"lr": 0.1}), ("settings", "method/hyperparameters/lr", 0.01, 0.1)),
        (
            with_run(FIRST, command="bbh-bench run --seeds 0"),
            ("settings", "command", "bbh-bench run", "bbh-bench run --seeds 0"),
        ),
        (with_method(FIRST, source="beef"), ("code", "method/source", "c0de", "beef")),
        (with_run(FIRST, commit=None), ("code", "commit", "0123456789abcdef", None)),
        (with_run(FIRST, packages={"bbh-bench": "0", "torch": "3"}), ("code", "packages/torch", "2", "3")),
        (with_run(FIRST, packages={"bbh-bench": "0"}), ("code", "packages/torch", "2", Absent.ABSENT)),
        (with_run(FIRST, device="cuda"), ("machine", "device", "cpu", "cuda")),
        (with_hardware(FIRST, vector="AVX512"), ("machine", "hardware/vector", "AVX2", "AVX512")),
        (replace(FIRST, warnings=["w"]), ("scores", "warnings", [], ["w"])),
        (with_scores(FIRST, test__nll=0.2), ("scores", "test/nll", 0.1, 0.2)),
        (replace(FIRST, cost=FIRST.cost | {"fit/seconds": 4.5}), ("costs", "fit/seconds", 3.0, 4.5)),
    ],
)
def test_each_part_has_its_group(second, expected):
    assert changed(second) == [expected]
    assert [(each.second, each.first) for each in differences(second, FIRST)] == [expected[2:]]


def test_a_number_has_its_change():
    (difference,) = differences(FIRST, with_scores(FIRST, test__nll=0.25))
    assert difference.change == pytest.approx(0.15)
    (line,) = [line for line in diff_page(FIRST, with_scores(FIRST, test__nll=0.25)).splitlines() if "test/nll" in line]
    assert line.split() == ["test/nll", "0.1", "0.25", "+0.15"]


def test_a_last_bit_is_a_difference():
    (difference,) = differences(FIRST, with_scores(FIRST, test__nll=0.1 + 2**-56))
    assert difference.change == 2**-56
    assert "+1.39e-17" in diff_page(FIRST, with_scores(FIRST, test__nll=0.1 + 2**-56))


def test_a_score_that_one_record_lacks_is_absent():
    assert differences(FIRST, with_scores(FIRST, test__new=1.0)) == [
        Difference("scores", "test/new", Absent.ABSENT, 1.0, None)
    ]
    line = next(line for line in diff_page(FIRST, with_scores(FIRST, test__new=1.0)).splitlines() if "test/new" in line)
    assert line.split() == ["test/new", "absent", "1"]


def test_a_check_of_the_audit_is_compared_part_by_part():
    second = replace(FIRST, audit=FIRST.audit | {"pgd_vs_fgsm": FAILED})
    assert changed(second) == [
        ("scores", "audit/pgd_vs_fgsm/verdict", "pass", "fail"),
        ("scores", "audit/pgd_vs_fgsm/value", -1.25, 7.5),
    ]


def test_curves_are_named_with_their_largest_difference():
    curve = FIRST.curves["attack/a"]
    other = FIRST.curves | {"attack/a": curve | {"accuracy": [0.8, 0.5]}}
    (difference,) = differences(FIRST, replace(FIRST, curves=other))
    assert (difference.group, difference.name, difference.change) == ("curves", "attack/a", 0.25)
    assert diff_page(FIRST, replace(FIRST, curves=other)) == "curves differ: attack/a, largest difference 0.25"


def test_curves_of_other_shapes_have_no_largest_difference():
    shorter = {name: values[:1] for name, values in FIRST.curves["attack/a"].items()}
    second = replace(FIRST, curves={"attack/a": shorter})
    lines = diff_page(FIRST, second).splitlines()
    assert lines == [
        "curves differ: attack/a, other columns or other points",
        "curves differ: robust/linf, only in the first record",
    ]
    assert diff_page(second, FIRST).splitlines()[1] == "curves differ: robust/linf, only in the second record"


def test_a_posterior_from_the_cache_is_compared_by_the_run_that_fitted_it():
    cached = with_run(FIRST, fit=replace(PROVENANCE, commit="feedface", command="bbh-bench run --seeds 7"))
    assert changed(cached) == [
        ("settings", "posterior", "fitted by this run", "from the cache"),
        ("settings", "fit/command", "bbh-bench run", "bbh-bench run --seeds 7"),
        ("code", "fit/commit", "0123456789abcdef", "feedface"),
    ]


def test_a_failed_and_a_finished_record_can_be_compared():
    page = diff_page(FIRST, failed("m"))
    assert "error/message" in page
    assert "the loss was nan" in page
    assert "status" in page


def test_long_texts_are_shown_from_where_they_differ():
    beginning = "bbh-bench run --task digits5 --task toy --method map --method ensemble --executor processes"
    first, second = (with_run(FIRST, command=f"{beginning} --seeds {seed}") for seed in (0, 1))
    line = next(line for line in diff_page(first, second).splitlines() if line.startswith("command"))
    assert "..." in line
    assert "--seeds 0" in line
    assert "--seeds 1" in line


def test_the_digest_of_the_stored_predictions_is_compared():
    other = replace(FIRST, predictions=replace(FIRST.predictions, sha256="1"))
    assert changed(other) == [("scores", "predictions/sha256", "0", "1")]


def test_the_groups_are_in_order_and_long_values_are_cut():
    second = with_scores(with_run(with_method(FIRST, description="long " * 50), device="cuda"), test__nll=0.2)
    lines = diff_page(FIRST, replace(second, cost={})).splitlines()
    assert [line.split()[0] for line in lines if " first " in line] == ["settings", "machine", "scores", "costs"]
    assert max(map(len, lines)) <= 200
