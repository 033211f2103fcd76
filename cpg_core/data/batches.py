"""Batches for training and evaluation. Every random draw follows from one seed an epoch and the number of the batch.

A batch is fetched, moved to the device as bytes, and normalised and augmented there. On a GPU the pixels of a task that
fits in memory are moved once and stay; many batches are then made at once, since one small batch would leave it idle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Generator, Tensor

from cpg_core.data.augment import augmented, draw, join, normalise
from cpg_core.data.reading.fetch import WHOLE, Order, Share, fetch
from cpg_core.data.reading.reading import Progress
from cpg_core.data.sampling import epoch_rows
from cpg_core.data.splits.split import Split
from cpg_core.data.task import TaskData
from cpg_core.errors import CpgError
from cpg_core.seeds import derive

BYTES_AT_ONCE = 1 << 28
"""Of float32 images that are made on a GPU together."""


def batch_count(images: int, batch_size: int, processes: int = 1) -> int:
    """Count the training batches of an epoch.

    A last batch of one image is left out, since batch norm cannot train on it, and so is one that does not hold an
    image for each process.
    """
    least = max(2, processes)
    if batch_size < least or images < least:
        why = f" (an image for each of {processes} processes)" if processes > 2 else ""
        raise CpgError(
            f"cannot train on {images} image(s) in batches of {batch_size}; both must be {least} or more{why}"
        )
    full, rest = divmod(images, batch_size)
    return full + (rest >= least)


def train_batches(
    data: TaskData, batch_size: int, seed: int, device: torch.device | str, start: int = 0, share: Share = WHOLE
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch of (images, labels), shuffled and augmented, from batch `start` on.

    An epoch has as many images as the split; which, and in which order, is up to the task's `sampling`.

    images: float32 [B, C, H, W], normalised, channels last in memory; labels: int64 [B]
    seed:   of this epoch; the same seed gives the same batches, and batch n is the same wherever the epoch starts
    share:  of each batch; the shares of all processes are together the batch that one process would have
    """
    split, augment = data.train, data.augment
    rows = epoch_rows(split.labels, data.spec.sampling, _generator(seed, "order"))
    shuffled = torch.split(rows, batch_size)
    numbers = range(start, batch_count(len(split), batch_size, share.of))
    crops = augment.random_resized_crop
    orders = [Order(shuffled[n], derive(seed, "crop", n) if crops else None, share) for n in numbers]
    first = start
    for group, pixels, labels in _fetched(split, orders, torch.device(device)):
        draws = [
            draw(augment, len(order.rows), *split.shape[1:], _generator(seed, "batch", n)).each(share.take_last)
            for n, order in enumerate(group, first)
        ]
        first += len(group)
        on_device = join(draws).each(partial(_move, device=pixels.device))
        images = augmented(normalise(pixels, data.mean, data.std), augment, on_device)
        yield from _batches(group, images, labels)


def eval_batches(
    split: Split, mean: Tensor, std: Tensor, batch_size: int, device: torch.device | str, share: Share = WHOLE
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (images, labels) as `train_batches` does, every image once, in order, nothing random.

    An empty share of a batch is left out.
    """
    batches = torch.split(torch.arange(len(split)), batch_size) if len(split) else ()
    orders = [Order(rows, share=share) for rows in batches if len(rows) > share.index]
    for group, pixels, labels in _fetched(split, orders, torch.device(device)):
        yield from _batches(group, normalise(pixels, mean, std), labels)


def counted(
    batches: Iterable[tuple[Tensor, Tensor]], total: int, progress: Progress
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pass batches on, telling how many images they held so far of `total`."""
    done = 0
    for images, labels in batches:
        done += len(labels)
        progress(done, total)
        yield images, labels


def _fetched(
    split: Split, orders: Sequence[Order], device: torch.device
) -> Iterator[tuple[Sequence[Order], Tensor, Tensor]]:
    """The orders in groups, each with its uint8 pixels and its labels on the device."""
    resident = split.images is not None and not any(order.crop_seed for order in orders)
    if device.type == "cuda" and resident:
        yield from resident_groups(split, orders, device)
        return
    for order, pixels in zip(orders, fetch(split, orders), strict=True):
        yield [order], _move(pixels, device), _move(split.labels[order.share.take(order.rows)], device)


def resident_groups(
    split: Split, orders: Sequence[Order], device: torch.device
) -> Iterator[tuple[Sequence[Order], Tensor, Tensor]]:
    """As the groups of `_fetched`, of many batches each, from pixels that stay on the device."""
    pixels, labels = split.on(device)
    channels, height, width = split.shape
    images_at_once = max(1, BYTES_AT_ONCE // (4 * channels * height * width))
    batches_at_once = max(1, images_at_once // max((len(order.rows) for order in orders), default=1))
    for first in range(0, len(orders), batches_at_once):
        group = orders[first : first + batches_at_once]
        rows = _move(torch.cat([order.share.take(order.rows) for order in group]), device)
        yield group, pixels[rows], labels[rows]


def _batches(group: Sequence[Order], images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """What a group has been made into, batch by batch."""
    sizes = [len(order.share.take(order.rows)) for order in group]
    yield from zip(torch.split(images, sizes), torch.split(labels, sizes), strict=True)


def _generator(*words: int | str) -> Generator:
    return torch.Generator().manual_seed(derive(*words))


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device, without waiting for it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
