"""Batches: what augmentation does to pixels, and that any epoch can be replayed or entered in the middle."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Thread, current_thread
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from waiting import HANG

from cpg_core.data import batches
from cpg_core.data.augment import Draws, crop, cut_out, draw, flip, normalise
from cpg_core.data.batches import batch_count, eval_batches, train_batches
from cpg_core.data.fields import Augment
from cpg_core.data.reading.decode import decode
from cpg_core.data.reading.fetch import Share
from cpg_core.data.sources.digits import DigitsSource
from cpg_core.data.sources.folder import FolderSource
from cpg_core.data.spec import TaskSpec
from cpg_core.data.splits.split import Split
from cpg_core.data.task import TaskData, load_task_data

Tells = Callable[..., AbstractContextManager[None]]
Write = Callable[..., Path]
Epoch = list[tuple[Tensor, Tensor]]


def _data(count: int = 23, augment: Augment | None = None, channels: int = 3, size: int = 6) -> TaskData:
    """Images whose label is their number, and whose pixels tell which one it is."""
    images = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)
    split = Split(torch.arange(count), (channels, size, size), images)
    spec = TaskSpec(name="toy", source=DigitsSource(kind="digits"), augment=augment or Augment())
    return TaskData(spec, (), split, split, torch.full((channels,), 0.5), torch.full((channels,), 0.2), lambda: split)


@pytest.fixture
def streamed(write_folder: Write) -> TaskData:
    """Files of 120x90 pixels, for a backbone that takes 3x96x96."""
    folder = write_folder({"train/a": 7, "train/b": 6, "test/a": 1, "test/b": 1}, size=(120, 90))
    augment = Augment(random_resized_crop=True, flip=True, cutout=8)
    spec = TaskSpec(name="files", source=FolderSource(kind="folder", folder=folder), augment=augment)
    data = load_task_data(spec, image_size=96, channels=3, val_fraction=0.2, seed=0)
    assert data.train.images is None
    return data


def _equal(one: Epoch, other: Epoch) -> bool:
    return len(one) == len(other) and all(
        torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(one, other, strict=True)
    )


def _gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_image_once_with_its_label_normalised() -> None:
    data = _data()
    epoch = list(train_batches(data, 5, seed=1, device="cpu"))
    assert [len(labels) for _, labels in epoch] == [5, 5, 5, 5, 3]
    order = torch.cat([labels for _, labels in epoch])
    assert order.tolist() != sorted(order.tolist())
    assert sorted(order.tolist()) == list(range(23))
    images = torch.cat([images for images, _ in epoch])
    assert data.train.images is not None
    assert torch.allclose(images, (data.train.images[order] / 255 - 0.5) / 0.2, atol=1e-5)
    assert images.dtype == torch.float32


def test_batches_are_channels_last() -> None:
    for augment in (Augment(), Augment(crop_padding=1, flip=True, cutout=2)):
        for images, _ in train_batches(_data(augment=augment), 5, 1, "cpu"):
            assert images.is_contiguous(memory_format=torch.channels_last)


ALL = Augment(crop_padding=2, flip=True, cutout=3)


@pytest.mark.parametrize(
    "augment", [Augment(), ALL, Augment(random_resized_crop=True)], ids=["plain", "all", "resized"]
)
def test_replay_and_entry_in_the_middle(augment: Augment) -> None:
    data = _data(augment=augment)
    epoch = list(train_batches(data, 5, 1, "cpu"))
    torch.manual_seed(99)
    assert _equal(list(train_batches(data, 5, 1, "cpu")), epoch), "whatever was drawn elsewhere"
    for start in range(6):
        assert _equal(list(train_batches(data, 5, 1, "cpu", start=start)), epoch[start:])
    assert not _equal(list(train_batches(data, 5, 2, "cpu")), epoch)


def test_each_image_of_each_batch_has_a_random_crop_of_its_own() -> None:
    image = torch.randint(0, 256, (1, 1, 16, 16), dtype=torch.uint8)
    same = Split(torch.zeros(12, dtype=torch.int64), (1, 16, 16), image.repeat(12, 1, 1, 1))
    for augment in (Augment(random_resized_crop=True), Augment(crop_padding=15)):
        data = replace(_data(augment=augment, channels=1), train=same)
        seen = torch.cat([images for images, _ in train_batches(data, 4, 1, "cpu")])
        assert len({image.numpy().tobytes() for image in seen}) == 12


def test_the_global_generator_is_left_alone(streamed: TaskData) -> None:
    for data in (_data(augment=ALL), _data(augment=Augment(random_resized_crop=True)), streamed):
        before = torch.get_rng_state()
        list(train_batches(data, 5, 1, "cpu"))
        list(eval_batches(data.val, data.mean, data.std, 5, "cpu"))
        assert torch.equal(torch.get_rng_state(), before)


def test_streamed_batches_replay_and_enter_in_the_middle(streamed: TaskData) -> None:
    epoch = list(train_batches(streamed, 4, 1, "cpu"))
    assert [tuple(images.shape) for images, _ in epoch] == [(4, 3, 96, 96), (4, 3, 96, 96), (3, 3, 96, 96)]
    assert _equal(list(train_batches(streamed, 4, 1, "cpu", start=1)), epoch[1:])
    assert not torch.equal(next(iter(train_batches(streamed, 4, 2, "cpu")))[0], epoch[0][0])
    assert all(images.is_contiguous(memory_format=torch.channels_last) for images, _ in epoch)


@pytest.mark.parametrize("workers", [1, 3])
def test_so_many_threads_decode_ahead(streamed: TaskData, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """Each waits for the others: fewer than `workers` would wait in vain, and more are not there."""
    threads, together = set[str](), Barrier(workers)

    def decode_together(*given: Any) -> Any:  # noqa: ANN401
        threads.add(current_thread().name)
        together.wait(timeout=HANG)
        return decode(*given)

    monkeypatch.setattr("cpg_core.data.reading.fetch.decode", decode_together)
    train = replace(streamed.train.take(np.arange(6)), workers=workers)
    list(eval_batches(train, streamed.mean, streamed.std, 2, "cpu"))
    assert len(threads) == workers


def test_no_file_is_decoded_for_nobody(streamed: TaskData, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, threads = list[object](), set[Thread]()

    def noted(*given: Any) -> Any:  # noqa: ANN401
        threads.add(current_thread())
        decoded.append(given[0])
        return decode(*given)

    monkeypatch.setattr("cpg_core.data.reading.fetch.decode", noted)
    batches = eval_batches(replace(streamed.train, workers=1), streamed.mean, streamed.std, 1, "cpu")
    next(batches)
    batches.close()
    then = len(decoded)
    assert then < len(streamed.train)
    assert not any(thread.is_alive() for thread in threads)
    assert len(list(eval_batches(replace(streamed.train, workers=1), streamed.mean, streamed.std, 1, "cpu"))) > then


@pytest.mark.parametrize("workers", [1, 2])
def test_streamed_batches_come_in_order(streamed: TaskData, workers: int) -> None:
    train = replace(streamed.train, workers=workers)
    labels = torch.cat([labels for _, labels in eval_batches(train, streamed.mean, streamed.std, 1, "cpu")])
    images = torch.cat([images for images, _ in eval_batches(train, streamed.mean, streamed.std, 1, "cpu")])
    at_once = next(iter(eval_batches(train, streamed.mean, streamed.std, len(train), "cpu")))
    assert torch.equal(labels, at_once[1])
    assert torch.equal(images, at_once[0])


def _shuffled_together(shares: list[Epoch]) -> Epoch:
    """The batches that shares of every batch make up: the first image from the first, the second from the second..."""
    whole = []
    for parts in zip(*shares, strict=True):
        images, labels = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
        places = torch.cat([torch.arange(len(images))[rank :: len(parts)] for rank in range(len(parts))])
        whole.append((images[places.argsort()], labels[places.argsort()]))
    return whole


@pytest.mark.parametrize(("of", "bytes_at_once"), [(1, 1 << 28), (1, 1), (2, 1 << 12)])
def test_batches_made_together_on_the_device_are_those_made_one_by_one(
    of: int, bytes_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU does, here on the processor: pixels that stay, many batches at once, the same bits."""
    data = _data(augment=ALL)
    epoch = [list(train_batches(data, 5, 1, "cpu", 1, Share(rank, of))) for rank in range(of)]
    evaluated = list(eval_batches(data.train, data.mean, data.std, 4, "cpu"))
    monkeypatch.setattr(batches, "BYTES_AT_ONCE", bytes_at_once)
    monkeypatch.setattr(batches, "_fetched", batches.resident_groups)
    assert all(_equal(list(train_batches(data, 5, 1, "cpu", 1, Share(rank, of))), epoch[rank]) for rank in range(of))
    assert not _equal(list(train_batches(data, 5, 1, "cpu", 0, Share(0, of)))[:-1], epoch[0])
    assert _equal(list(eval_batches(data.train, data.mean, data.std, 4, "cpu")), evaluated)


@pytest.mark.parametrize("of", [2, 3])
def test_the_shares_of_a_batch_are_the_batch(streamed: TaskData, of: int) -> None:
    for data in (_data(augment=Augment(crop_padding=2, flip=True, cutout=3)), streamed):
        epoch = list(train_batches(data, 5, 1, "cpu"))
        shares = [list(train_batches(data, 5, 1, "cpu", share=Share(rank, of))) for rank in range(of)]
        assert _equal(_shuffled_together(shares), epoch)
        assert not _equal(_shuffled_together([shares[0]] * of)[:2], epoch[:2])
        evaluated = list(eval_batches(data.train, data.mean, data.std, 4, "cpu"))
        shares = [list(eval_batches(data.train, data.mean, data.std, 4, "cpu", Share(rank, of))) for rank in range(of)]
        assert _equal(_shuffled_together(shares), evaluated)


def test_a_share_without_an_image_is_left_out_of_evaluation() -> None:
    data = _data(11)
    labels = [y for rank in range(3) for _, y in eval_batches(data.val, data.mean, data.std, 5, "cpu", Share(rank, 3))]
    assert sorted(torch.cat(labels).tolist()) == list(range(11))
    assert min(len(y) for y in labels) == 1


def test_streamed_evaluation_resizes_and_crops_the_middle(streamed: TaskData) -> None:
    batches = list(eval_batches(streamed.val, streamed.mean, streamed.std, 2, "cpu"))
    assert torch.equal(torch.cat([labels for _, labels in batches]), streamed.val.labels)
    with Image.open(streamed.val.files[0]) as image:
        small = image.resize((110, 146), Image.Resampling.BILINEAR)  # 96 * 256 / 224 = 110; 110 * 120 / 90 = 146
        expected = small.crop((7, 25, 7 + 96, 25 + 96))
    seen = (batches[0][0][0] * streamed.std.view(3, 1, 1) + streamed.mean.view(3, 1, 1)) * 255
    wanted = torch.tensor(list(expected.tobytes())).view(96, 96, 3).permute(2, 0, 1)
    assert (seen - wanted).abs().max() < 3


def test_a_streamed_image_that_breaks_is_named(streamed: TaskData, tells: Tells) -> None:
    streamed.train.files[3].write_text("rubbish")
    with tells(f"{streamed.train.files[3]}: cannot read"):
        list(train_batches(streamed, 4, 1, "cpu"))


def _drawn(augment: Augment, count: int, side: int) -> Draws:
    return draw(augment, count, side, side, _gen())


def test_random_crop_equals_a_plain_loop() -> None:
    images = torch.randn(16, 3, 6, 6)
    corner = _drawn(Augment(crop_padding=2), 16, 6).corner
    assert corner is not None
    cropped, (top, left) = crop(images, 2, corner), corner
    padded = torch.zeros(16, 3, 10, 10)
    padded[:, :, 2:8, 2:8] = images
    for k in range(16):
        assert torch.equal(cropped[k], padded[k, :, top[k] : top[k] + 6, left[k] : left[k] + 6])
    assert set(top.tolist()) == set(left.tolist()) == set(range(5)), "every place is reached"


def test_padding_is_the_mean() -> None:
    data = _data(64, Augment(crop_padding=6))
    epoch = torch.cat([images for images, _ in train_batches(data, 64, 0, "cpu")])
    assert (epoch == 0).all(1).any((1, 2)).sum() > 55, "nearly every image has a rim of zeros"


def test_flip_mirrors_about_half_of_the_images() -> None:
    images = torch.randn(400, 1, 2, 3)
    drawn = _drawn(Augment(flip=True), 400, 3).flipped
    assert drawn is not None
    flipped = flip(images, drawn)
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert torch.equal(flipped[~mirrored], images[~mirrored])
    assert 150 < mirrored.sum() < 250


def test_cutout_hides_one_square_clipped_at_the_border() -> None:
    hole = _drawn(Augment(cutout=4), 500, 9).hole
    assert hole is not None
    hidden = cut_out(torch.ones(500, 2, 9, 9), 4, hole) == 0
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    rows, columns = hidden[:, 0].any(2), hidden[:, 0].any(1)
    assert torch.equal(hidden[:, 0], rows.unsqueeze(2) & columns.unsqueeze(1)), "a rectangle"
    assert set(rows.sum(1).tolist()) == set(columns.sum(1).tolist()) == {2, 3, 4}
    assert hidden.any(0).all(), "every pixel may be hidden"


def test_normalise_does_not_touch_its_input() -> None:
    images = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8)
    before = images.clone()
    normalise(images, torch.zeros(3), torch.ones(3))
    assert torch.equal(images, before)


def test_evaluation_is_in_order_and_plain() -> None:
    data = _data(augment=ALL)
    batches = list(eval_batches(data.train, data.mean, data.std, 11, "cpu"))
    assert [len(labels) for _, labels in batches] == [11, 11, 1], "no image is left out"
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(23))
    assert data.train.images is not None
    assert torch.equal(torch.cat([images for images, _ in batches]), normalise(data.train.images, data.mean, data.std))
    assert list(eval_batches(data.train.take(torch.arange(0).numpy()), data.mean, data.std, 4, "cpu")) == []


@pytest.mark.parametrize(("images", "size", "count"), [(10, 5, 2), (11, 5, 2), (12, 5, 3), (3, 8, 1), (2, 2, 1)])
def test_batch_count_leaves_out_a_single_image(images: int, size: int, count: int) -> None:
    assert batch_count(images, size) == count
    epoch = list(train_batches(_data(images), size, 0, "cpu"))
    assert len(epoch) == count
    assert min(len(labels) for _, labels in epoch) > 1


def test_batch_count_leaves_out_what_has_no_image_for_each_process(tells: Tells) -> None:
    assert [batch_count(images, 8, 4) for images in (16, 19, 20)] == [2, 2, 3]
    assert len(list(train_batches(_data(19), 8, 0, "cpu", share=Share(3, 4)))) == 2
    with tells("batches of 3", "4 or more (an image for each of 4 processes)"):
        batch_count(19, 3, 4)


@pytest.mark.parametrize(("images", "size"), [(1, 4), (0, 4), (9, 1), (9, 0)])
def test_batch_count_refuses(images: int, size: int, tells: Tells) -> None:
    with tells(f"{images} image(s)", f"batches of {size}"):
        batch_count(images, size)
