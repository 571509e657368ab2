"""Timing, seeding and torch's settings of a cell's stages; the provenance of a run."""

import gc

import numpy as np
import torch

from bbh_bench.running.provenance import command, package, provenance
from bbh_bench.running.runner import collection_frozen
from bbh_bench.running.stages import Stages, seed_everything, stream


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


def test_evaluation_under_attack_keeps_the_random_numbers_of_the_published_records(cpu):
    assert stream("evaluate/fgsm") == "judge/fgsm"
    assert stream("attack/evaluate/x") == "attack/evaluate/x"
    with Stages(3, cpu)("evaluate/fgsm"):
        numbers = torch.rand(3)
    seed_everything(3, "judge/fgsm")
    assert torch.rand(3).equal(numbers)


def test_garbage_collection_is_as_before_after_a_run():

    before = gc.get_freeze_count()
    with collection_frozen():
        assert gc.get_freeze_count() > before
    assert gc.get_freeze_count() == 0


def test_the_command_is_recorded_without_the_users_folders():
    line = ["/home/me/bin/bbh-bench", "run", "--data", "/home/me/data", "--seeds", "0,1", "--records=/home/me/runs"]
    assert command(line) == "bbh-bench run --seeds 0,1"
    assert command(["bbh-bench", "run", "--records"]) == "bbh-bench run"
    assert (
        command(["bbh-bench", "run", "--plugin", "/home/me/blur.py", "--method", "blur"])
        == "bbh-bench run --method blur"
    )


def test_a_working_tree_with_changes_is_told_from_another(cpu, tmp_path, monkeypatch):
    """Two dirty trees at one commit have different digests; a clean one has none."""
    import subprocess

    from bbh_bench.running.commits import git_state

    def git(*arguments):
        subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@x", *arguments],
            check=True,
            capture_output=True,
        )

    git("init", "-q")
    (tmp_path / "__init__.py").write_text("a = 1\n")
    git("add", ".")
    git("commit", "-qm", "one")
    commit, dirty, diff = git_state(tmp_path)
    assert (len(commit), dirty, diff) == (40, False, None)
    (tmp_path / "__init__.py").write_text("a = 2\n")
    _, dirty, second = git_state(tmp_path)
    assert dirty
    (tmp_path / "__init__.py").write_text("a = 3\n")
    _, _, third = git_state(tmp_path)
    assert second != third
    assert git_state(tmp_path, "another.py") == (None, None, None)


def test_a_package_has_its_version_and_commit():
    own, torchs = package("bbh-bench", "bbh_bench.methods.map"), package("torch", "torch")
    assert own.name == "bbh-bench"
    assert own.version is not None
    assert torchs.version == provenance(torch.device("cpu"), []).packages["torch"]
    assert torchs.commit is None
