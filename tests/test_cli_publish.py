"""``bbh-bench publish``, ``verify``, ``rescore`` and ``report`` as a user has them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cli_helpers import ONE, RUN, Provided, refused
from helpers import TINY, Failing

from bbh_bench import cli
from bbh_bench.attacks.builtin import FGSM, PGD_LINF
from bbh_bench.cli.verify import print_complaints
from bbh_bench.leaderboard import FILE
from bbh_bench.records.store import Store

pytest_plugins = ["cli_fixtures"]
RECORD = Path("runs/tiny/v1/quick/seed0.json")


def test_publish_copies_verifies_and_renders_and_a_second_time_changes_nothing(install, folder, capsys):
    cli.main(RUN)
    assert cli.main(["publish"]) == 0
    assert "published 2 records, 0 were there already" in capsys.readouterr().out
    assert Store(folder / "leaderboard").records() == Store(folder / "runs").records()
    assert cli.main(["verify", "--records", "leaderboard"]) == 0
    assert "2 of 2 finished records" in capsys.readouterr().out
    assert cli.main(["publish"]) == 0
    assert "published 0 records, 2 were there already" in capsys.readouterr().out
    assert cli.main(["report", "--records", "leaderboard", "--out", "elsewhere"]) == 0
    assert (folder / "elsewhere" / FILE).read_text() == (folder / "leaderboard" / FILE).read_text()


def test_publish_refuses_all_or_nothing(install, folder, capsys):
    cli.main(ONE)
    install(Provided(more=(Failing(),)))
    cli.main(["run", "--task", "tiny", "--method", "failing", "--seeds", "0"])
    refused(capsys, ["publish"], "failed cell", "failing/seed0.json")
    assert not (folder / "leaderboard").exists()
    assert cli.main(["publish", "--method", "quick,other", "--task", "other,tiny"]) == 0
    refused(capsys, ["publish", "--method", "nobody"], "no such record")


def test_publish_refuses_another_fingerprint_changed_scores_and_a_changed_record(install, folder, capsys):
    cli.main(ONE)
    cli.main(["publish"])
    install(Provided(task=replace(TINY, epochs=4)))
    refused(capsys, ["publish"], "fingerprint", "another definition")
    install()
    record = json.loads(RECORD.read_text())
    RECORD.write_text(json.dumps(record | {"scores": record["scores"] | {"test/nll": 0.001}}))
    refused(capsys, ["publish"], "test/nll")
    assert cli.main(["verify"]) == 1
    assert "test/nll" in capsys.readouterr().out
    curve = record["curves"]["attack/fgsm"]
    curve = curve | {"accuracy": [1.0] * len(curve["accuracy"])}
    RECORD.write_text(json.dumps(record | {"curves": record["curves"] | {"attack/fgsm": curve}}))
    refused(capsys, ["publish"], "attack/fgsm/accuracy")
    RECORD.write_text(json.dumps(record | {"scores": record["scores"] | {"attack/pgd/robust_accuracy_auc": 1.0}}))
    refused(capsys, ["publish"], "attack/pgd/robust_accuracy_auc")
    RECORD.write_text(json.dumps(record | {"cost": record["cost"] | {"peak_memory_bytes": 5.0}}))
    refused(capsys, ["publish"], "differs from the published one", "--replace")
    assert cli.main(["publish", "--replace"]) == 0
    assert Store(folder / "leaderboard").records()[0].cost["peak_memory_bytes"] == 5.0


def test_publish_reads_the_whole_leaderboard_before_it_copies(install, folder, capsys):
    cli.main(ONE)
    damaged = folder / "leaderboard/other/v1/m/seed0.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    refused(capsys, ["publish"], "other/v1/m/seed0.json")
    assert [p for p in (folder / "leaderboard").rglob("*") if p.is_file()] == [damaged]


@pytest.mark.parametrize(
    "change",
    [{"task": {"headline": "test/error"}}, {"task": {"title": "hacked"}}, {"directions": {"error": "higher"}}],
    ids=str,
)
def test_publish_refuses_what_would_reverse_the_ranking(install, folder, capsys, change):
    cli.main(ONE)
    record = json.loads(RECORD.read_text())
    ((part, values),) = change.items()
    RECORD.write_text(json.dumps(record | {part: record[part] | values}))
    refused(capsys, ["publish"], *values)


def test_publish_puts_lost_predictions_back(install, folder, capsys):
    cli.main(ONE)
    cli.main(["publish"])
    (folder / "leaderboard/tiny/v1/quick/seed0.npz").unlink()
    assert cli.main(["publish"]) == 0
    assert "published 1 records" in capsys.readouterr().out
    assert cli.main(["verify", "--records", "leaderboard"]) == 0


def test_an_attack_of_another_version_is_not_published_nor_replaced_by_a_run(install, folder, capsys):
    run = [*ONE, "--attack", "noise-linf"]
    assert cli.main(run) == 0
    record = json.loads(RECORD.read_text())
    record["task"]["attacks"][1]["version"] = 0
    RECORD.write_text(json.dumps(record))
    refused(capsys, run, "other settings of noise-linf", "--replace")
    refused(capsys, ["publish"], "other attacks than are installed (noise-linf)")


def test_a_tasks_own_attack_need_not_be_registered_to_be_published(install, folder, capsys):
    install(Provided(replace(TINY, attacks=(replace(FGSM, epsilons=(0.0, 0.2)),))))
    assert cli.main(ONE) == 0
    assert cli.main(["publish"]) == 0


def test_a_tampered_audit_is_not_published(install, folder, capsys):
    short = replace(PGD_LINF, algorithm=replace(PGD_LINF.algorithm, steps=3))
    install(Provided(replace(TINY, attacks=(short, replace(FGSM, epsilons=(0.0, 0.2))))))
    assert cli.main(ONE) == 0
    record = json.loads(RECORD.read_text())
    assert record["task"]["threat_model"]["bounds"] == [0.0, 1.0]
    for changes in ({"verdict": "not applicable"}, {"value": 0.123}):
        audit = record["audit"] | {"fresh_samples": record["audit"]["fresh_samples"] | changes}
        RECORD.write_text(json.dumps(record | {"audit": audit}))
        refused(capsys, ["publish"], "audit/fresh_samples")
    RECORD.write_text(json.dumps(record | {"audit": {}}))
    refused(capsys, ["publish"], "audit/")


def test_verify_goes_on_after_a_record_that_it_cannot_check(install, folder, capsys):
    cli.main(RUN)
    (folder / "runs/tiny/v1/quick/seed0.npz").unlink()
    capsys.readouterr()
    assert cli.main(["verify"]) == 1
    printed = capsys.readouterr().out
    assert "seed0.npz" in printed
    assert "1 of 2 finished records" in printed
    install(Provided(task=replace(TINY, name="other")))
    assert cli.main(["verify"]) == 1
    assert "is not installed" in capsys.readouterr().out
    refused(capsys, ["publish"], "is not installed", "--task")


def test_complaints_are_printed_and_counted(capsys):
    assert print_complaints({Path("a"): "", Path("b"): "no arrays"}) == 1
    assert capsys.readouterr().out.startswith("b: no arrays\n1 of 2 finished records")
    assert print_complaints({Path("a"): ""}) == 0
    assert capsys.readouterr().out.startswith("1 of 1 finished records")


def test_scores_of_a_metric_that_is_not_installed_are_passed_over(install, folder, capsys):
    cli.main(ONE)
    record = json.loads(RECORD.read_text())
    extra = {
        "scores": record["scores"] | {"test/sharpness": 0.5},
        "directions": record["directions"] | {"sharpness": "lower"},
    }
    RECORD.write_text(json.dumps(record | extra))
    assert cli.main(["verify"]) == 0
    assert cli.main(["report"]) == 0
    (page,) = (folder / "runs").glob("tiny-v1-*.md")
    assert "sharpness" in page.read_text()
    refused(capsys, ["publish"], "sharpness", "Install the plugins")


METRIC = """
from bbh_bench import Metric, hookimpl

@hookimpl
def bbh_metrics():
    return [Metric("sure", "inputs", "higher", "mean largest probability", lambda p: p.probs.max(1).mean())]
"""


def test_rescore_adds_the_metric_of_a_plugin_file(install, folder, capsys):
    cli.main(ONE)
    Path("sure.py").write_text(METRIC)
    before = json.loads(RECORD.read_text())
    capsys.readouterr()
    assert cli.main(["rescore", "--plugin", "sure.py"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        str(RECORD),
        "1 of 1 records changed. `bbh-bench report` renders their leaderboard.",
    ]
    after = json.loads(RECORD.read_text())
    assert 0.2 < after["scores"]["test/sure"] <= 1
    assert {name: after["scores"][name] for name in before["scores"]} == before["scores"]
    assert cli.main(["rescore", "--plugin", "sure.py"]) == 0
    assert capsys.readouterr().out.startswith("0 of 1 records changed")
    assert cli.main(["verify", "--plugin", "sure.py"]) == 0
    refused(capsys, ["publish"], "sure", "Install the plugins")
    assert cli.main(["publish", "--plugin", "sure.py"]) == 0
