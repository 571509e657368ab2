"""CIFAR5: its files, its split, and its augmentation, whose batches are the same for a seed and after a restart."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bbh_bench.api import Augmented, Categorical, Problem, task_fingerprint
from bbh_bench.data import DataFile, TarArchive, sha256
from bbh_bench.errors import ContractError, DataError
from bbh_bench.tasks import cifar
from bbh_bench.tasks.cifar import Cifar5, CropFlipContrast, centre_crop
from bbh_bench.tasks.resnet import Standardise

ORIGINALS = torch.randint(1, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
PLAIN = CropFlipContrast(contrast=(1.0, 1.0))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def crops(image):
    """The 13 x 13 crops of an image ``[3, 32, 32]`` with a border of zeros, and their mirror images, ``[338, 3, 24, 24]``."""
    padded = F.pad(image.float() / 255, [2] * 4)
    windows = padded.unfold(1, 24, 1).unfold(2, 24, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
    return torch.cat([windows, windows.flip(-1)])


def test_the_centre_crop_is_the_middle_in_0_to_1():
    cropped = centre_crop(ORIGINALS)
    assert cropped.dtype == torch.float32
    assert (cropped * 255).round().equal(ORIGINALS[:, :, 4:28, 4:28].float())
    assert cropped.max() <= 1


def test_without_contrast_an_augmented_image_is_one_of_the_crops():
    augmented = PLAIN(ORIGINALS)
    assert augmented.shape == (6, 3, 24, 24)
    assert augmented.is_contiguous(memory_format=torch.channels_last)
    for image, original in zip(augmented, ORIGINALS, strict=True):
        assert (crops(original) == image).flatten(1).all(1).sum() == 1


def test_every_crop_and_both_directions_are_equally_likely():
    candidates = crops(ORIGINALS[0])
    augmented = PLAIN(ORIGINALS[:1].expand(3000, -1, -1, -1))
    corners = torch.stack([candidates[:, 0, 0, 0], candidates[:, 1, 12, 12], candidates[:, 2, 20, 5]], 1)
    found = torch.stack([augmented[:, 0, 0, 0], augmented[:, 1, 12, 12], augmented[:, 2, 20, 5]], 1)
    which = (found[:, None] == corners).all(-1)
    counts = which.float().div(which.sum(1, keepdim=True)).sum(0).view(2, 13, 13)
    for axis in ((1, 2), (0, 2), (0, 1)):
        share = counts.sum(axis) / 3000
        assert (share - 1 / len(share)).abs().max() < 0.04


def test_contrast_scales_the_differences_to_the_mean_of_each_channel():
    torch.manual_seed(5)
    plain = PLAIN(ORIGINALS)
    torch.manual_seed(5)
    changed = CropFlipContrast()(ORIGINALS)
    means = plain.mean((2, 3), keepdim=True)
    assert torch.allclose(changed.mean((2, 3), keepdim=True), means, atol=1e-5)
    factors = (changed - means).flatten(2).norm(dim=2) / (plain - means).flatten(2).norm(dim=2)
    assert torch.allclose(changed, means + factors[:, :, None, None] * (plain - means), atol=1e-5)
    assert len(factors.flatten().unique()) == 18
    assert factors.min() >= 0.2
    assert factors.max() <= 1.8
    assert factors.max() - factors.min() > 0.8


def test_a_random_brightness_would_be_cancelled_by_the_network():
    x = CropFlipContrast()(ORIGINALS)
    assert torch.allclose(Standardise()(x + 63 / 255), Standardise()(x), atol=1e-5)


def problem(epochs=2):
    y = torch.arange(6) % 5
    augmented = Augmented(ORIGINALS, CropFlipContrast())
    return Problem(
        centre_crop(ORIGINALS), y, torch.nn.Identity, Categorical(5), epochs=epochs, batch_size=4, augmented=augmented
    )


def test_batches_are_augmented_with_the_labels_of_their_images():
    seen = []
    batches = replace(problem(), augmented=Augmented(ORIGINALS, PLAIN)).batches()
    for x, y in batches:
        for image, label in zip(x, y, strict=True):
            (index,) = (k for k in range(6) if (crops(ORIGINALS[k]) == image).flatten(1).all(1).any())
            assert label == index % 5
            seen.append(index)
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6))


def test_batches_are_the_same_for_a_seed_and_differ_between_epochs():
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        runs.append([x for x, _ in problem().batches()])
    assert all(first.equal(second) for first, second in zip(*runs, strict=True))
    first, second = (x.flatten(1) for x in (torch.cat(runs[0][:2]), torch.cat(runs[0][2:])))
    assert not (first[:, None] == second).all(-1).any()


def test_batches_continue_after_a_restart():
    batches = problem().batches()
    next(batches)
    position, state = batches.state_dict(), torch.get_rng_state()
    expected = list(batches)
    again = problem().batches()
    again.load_state_dict(position)
    torch.set_rng_state(state)
    for (x, y), (other_x, other_y) in zip(again, expected, strict=True):
        assert x.equal(other_x)
        assert y.equal(other_y)


def test_a_part_of_a_problem_needs_the_same_part_of_its_stored_images():
    whole = problem()
    with pytest.raises(ContractError, match=r"these are \[4, 4, 6\]"):
        replace(whole, x=whole.x[:4], y=whole.y[:4])


def test_the_augmentation_is_part_of_the_tasks_identity():
    described = cifar.TASK.describe()
    assert described.fit["augmentation"] == {
        "name": "crop-flip-contrast",
        "version": 1,
        "padding": 2,
        "size": 24,
        "contrast": [0.2, 1.8],
    }
    assert task_fingerprint(replace(cifar.TASK, augmentation=PLAIN)) != task_fingerprint(cifar.TASK)


def write_files(folder, labels=20):
    """Small files in the layout of CIFAR-10: image k of all files has pixels k + 1; classes take turns."""
    archive, count = [], 0
    for name in [file.path for file in cifar.FILES.files]:
        values = np.arange(count, count + labels)
        batch = {
            b"data": np.repeat((values + 1)[:, None], 3072, 1).astype(np.uint8),
            b"labels": (values % 10).tolist(),
        }
        count += labels
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(pickle.dumps(batch))
        archive.append(DataFile(name, sha256(pickle.dumps(batch)), "http://127.0.0.1:9/"))
    return TarArchive("http://127.0.0.1:9/", tuple(archive))


def test_five_classes_are_known_and_the_others_of_the_test_set_are_ood(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "FILES", write_files(tmp_path))
    monkeypatch.setattr(cifar, "VALIDATION", 10)
    data = Cifar5().load(tmp_path)

    def numbers(x):
        return (x[:, 0, 0, 0] * 255).round().int() - 1

    for x, y in (data.train, data.validation, data.test):
        assert (numbers(x) % 10).equal(y.int())
        assert y.max() == 4
    assert numbers(data.ood["cifar10-others"]).tolist() == [k for k in range(100, 120) if k % 10 >= 5]
    assert numbers(data.test[0]).tolist() == [k for k in range(100, 120) if k % 10 < 5]
    assert data.validation[1].bincount().tolist() == [2] * 5
    both = numbers(data.train[0]).tolist() + numbers(data.validation[0]).tolist()
    assert sorted(both) == [k for k in range(100) if k % 10 < 5]
    assert centre_crop(data.originals).equal(data.train[0])


class Dangerous:
    """Unpickling it raises an error."""

    def __reduce__(self):
        return exec, ("raise SystemExit('the code of a changed file was run')",)


def test_a_changed_file_is_refused_before_its_code_can_run(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "FILES", write_files(tmp_path))
    (tmp_path / "cifar-10-batches-py/data_batch_3").write_bytes(pickle.dumps(Dangerous()))
    with pytest.raises(DataError, match="data_batch_3"):
        Cifar5().load(tmp_path)


def test_a_source_without_originals_is_a_clear_error(tmp_path, monkeypatch, cpu):
    monkeypatch.setattr(cifar, "FILES", write_files(tmp_path))
    monkeypatch.setattr(cifar, "VALIDATION", 10)
    loaded = cifar.SHORT.load(tmp_path)
    assert len(loaded.problem(cpu).augmented.originals) == 40
    with pytest.raises(ContractError, match="loads no `originals`"):
        replace(loaded, data=replace(loaded.data, originals=None)).problem(cpu)


def test_the_real_split(data):
    if not (data / "cifar-10-batches-py").is_dir():
        pytest.skip("the data folder has no CIFAR-10")
    loaded = Cifar5().load(data)
    parts = {"train": loaded.train, "validation": loaded.validation, "test": loaded.test}
    assert {name: y.bincount().tolist() for name, (_, y) in parts.items()} == {
        "train": [4500] * 5,
        "validation": [500] * 5,
        "test": [1000] * 5,
    }
    assert all(x.shape == (len(y), 3, 24, 24) for x, y in parts.values())
    assert loaded.ood["cifar10-others"].shape == (5000, 3, 24, 24)
    assert loaded.originals.shape == (22_500, 3, 32, 32)
    assert loaded.test[1][:5].tolist() == [3, 0, 1, 3, 1]
