"""The data of a task: validation held out of train, a lazy test split, statistics, digests, a user's folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cpg_core.data.fields import MeanStd
from cpg_core.data.reading import decode as decoding
from cpg_core.data.reading.reading import Wanted
from cpg_core.data.sources.digits import DigitsSource
from cpg_core.data.sources.folder import FolderSource
from cpg_core.data.spec import TaskSpec
from cpg_core.data.splits.split import Split, hold_out
from cpg_core.data.task import TaskData, load_eval_split, load_task_data

Tells = Callable[..., AbstractContextManager[None]]
Write = Callable[..., Path]
DIGITS = TaskSpec(name="some", source=DigitsSource(kind="digits"), classes=("3", "8", "1"))


def _load(spec: TaskSpec = DIGITS, val_fraction: float = 0.1, seed: int = 7, size: int = 8) -> TaskData:
    return load_task_data(spec, image_size=size, channels=1, val_fraction=val_fraction, seed=seed)


def _set(split: Split) -> set[bytes]:
    assert split.images is not None
    return {image.numpy().tobytes() for image in split.images}


def test_val_is_stratified_and_held_out_of_train_alone() -> None:
    data = _load(val_fraction=0.2)
    everything = _load(val_fraction=0.0)
    assert len(everything.val) == 0
    assert not _set(data.train) & _set(data.val)
    assert _set(data.train) | _set(data.val) == _set(everything.train)
    assert not _set(data.test) & _set(everything.train)
    held, whole = data.val.labels.bincount(), everything.train.labels.bincount()
    assert held.tolist() == [round(0.2 * count) for count in whole.tolist()]


def test_the_same_seed_and_task_hold_out_the_same() -> None:
    val = _load().val
    assert torch.equal(_load().val.labels, val.labels)
    assert _set(_load().val) == _set(val)
    assert _set(_load(seed=8).val) != _set(val)
    assert _set(_load(DIGITS.model_copy(update={"name": "other"})).val) != _set(val)


def test_hold_out_is_the_same_on_every_machine_and_version() -> None:
    kept, held = hold_out(np.array([0, 1] * 10), 0.3, seed=1)
    assert held.tolist() == [2, 9, 16, 17, 18, 19]
    assert sorted([*kept, *held]) == list(range(20))


def test_all_classes_of_the_source_if_none_are_listed() -> None:
    data = _load(DIGITS.model_copy(update={"classes": None}))
    assert data.classes == data.spec.classes == tuple(str(k) for k in range(10))
    assert data.name == "some"


def test_statistics_are_those_of_the_train_part_alone() -> None:
    data = _load(val_fraction=0.3)
    assert data.train.images is not None
    pixels = data.train.images.double() / 255
    assert data.mean.shape == data.std.shape == (1,)
    assert data.mean.item() == pytest.approx(pixels.mean().item(), abs=1e-7)
    assert data.std.item() == pytest.approx(pixels.std(correction=0).item(), abs=1e-7)


def test_fixed_normalisation(tells: Tells) -> None:
    none = _load(DIGITS.model_copy(update={"normalise": "none"}))
    assert (none.mean.item(), none.std.item()) == (0, 1)
    fixed = _load(DIGITS.model_copy(update={"normalise": MeanStd(mean=(0.5,), std=(0.25,))}))
    assert (fixed.mean.item(), fixed.std.item()) == (0.5, 0.25)
    with tells("normalise", "3 values", "1 channels"):
        _load(DIGITS.model_copy(update={"normalise": MeanStd(mean=(0.5,) * 3, std=(0.25,) * 3)}))


def test_constant_images_do_not_divide_by_zero(write_folder: Write) -> None:
    folder = write_folder({f"{part}/{name}": 2 for part in ("train", "test") for name in "ab"})
    for file in folder.rglob("*.png"):
        Image.new("L", (8, 8), 9).save(file)
    spec = TaskSpec(name="flat", source=FolderSource(kind="folder", folder=folder))
    assert _load(spec, val_fraction=0.5).std.item() > 0


@pytest.fixture
def pictures(write_folder: Write) -> TaskSpec:
    """10 train images of `a`, 5 of `b` and 2 test images each."""
    folder = write_folder({"train/a": 10, "train/b": 5, "test/a": 2, "test/b": 2})
    return TaskSpec(name="pictures", source=FolderSource(kind="folder", folder=folder))


def _folder(spec: TaskSpec) -> Path:
    assert isinstance(spec.source, FolderSource)
    return spec.source.folder


def test_no_test_image_is_opened_before_test_is_asked_for(pictures: TaskSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = Image.open
    monkeypatch.setattr(decoding.Image, "open", lambda file: opened.append(str(file)) or real(file))
    data = _load(pictures, val_fraction=0.2)
    _ = (data.train.digest, data.val.digest, data.mean)
    assert len(opened) == 15
    assert not [file for file in opened if "/test/" in file]
    assert len(data.test) == 4
    assert data.test is data.test, "read once"
    assert len(opened) == 19


def test_mistakes_are_told_before_anything_is_decoded(
    pictures: TaskSpec, monkeypatch: pytest.MonkeyPatch, tells: Tells
) -> None:
    monkeypatch.setattr(decoding.Image, "open", lambda _: pytest.fail("an image was opened"))
    for file in (_folder(pictures) / "test/b").iterdir():
        file.unlink()
    with tells("test", "no images of class 'b'"):
        _load(pictures)
    (_folder(pictures) / "test/b").rmdir()
    with tells("test", "no class 'b'"):
        _load(pictures)


@pytest.mark.parametrize(
    ("fraction", "told"),
    [
        (0.08, ["'pictures'", "class 'b'", "5 training", "0 to validate"]),
        (0.95, ["class 'a'", "0 to train"]),
    ],
)
def test_too_few_images_for_the_fraction(pictures: TaskSpec, fraction: float, told: list[str], tells: Tells) -> None:
    with tells(*told):
        _load(pictures, val_fraction=fraction)


@pytest.mark.parametrize("size", [8, 100], ids=["in memory", "streamed"])
@pytest.mark.parametrize("changed", ["train/a/3.png", "test/b/1.png"])
def test_digest_notices_one_changed_image(pictures: TaskSpec, size: int, changed: str) -> None:
    digest = _load(pictures, 0.2, size=size).digest
    assert _load(pictures, 0.2, size=size).digest == digest
    Image.new("L", (12, 12), 1).save(_folder(pictures) / changed)
    assert _load(pictures, 0.2, size=size).digest != digest


def test_digest_notices_swapped_labels(pictures: TaskSpec) -> None:
    swapped = pictures.model_copy(update={"classes": ("b", "a")})
    assert _load(swapped, 0.2).test.digest != _load(pictures, 0.2).test.digest


def test_streamed_statistics_equal_those_in_memory(pictures: TaskSpec) -> None:
    """At 224/256 of their size the streamed images are cropped, not resized."""
    for file in _folder(pictures).rglob("*.png"):
        Image.new("L", (100, 100), int(file.stem) * 20).save(file)
    small, large = _load(pictures, 0.2), _load(pictures, 0.2, size=100)
    assert large.train.images is None
    assert torch.equal(small.mean, large.mean)
    assert torch.equal(small.std, large.std)


@pytest.mark.parametrize("inner", ["", "test/"])
def test_eval_split_of_a_folder(write_folder: Write, inner: str, tells: Tells) -> None:
    folder = write_folder({f"{inner}dog": 2, f"{inner}cat": 1}, root="mine")
    split = load_eval_split(folder, ("dog", "emu", "cat"), Wanted(3, 12))
    assert split.labels.tolist() == [2, 0, 0], "a class may be absent"
    below = write_folder({f"{inner}dog/deeper": 3}, root="mine").rglob("deeper/*")
    assert len(list(below)) == 3
    deeper = load_eval_split(folder, ("dog", "emu", "cat"), Wanted(3, 12), subfolders=True)
    assert (len(split), len(deeper)) == (3, 6)
    with tells("folder 'dog'", "did you mean 'dogs'"):
        load_eval_split(folder, ("dogs", "cat"), Wanted(3, 12))
    with tells("gone", "no such folder"):
        load_eval_split(folder / "gone", ("dog", "cat"), Wanted(3, 12))
