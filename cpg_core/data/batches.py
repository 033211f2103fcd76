"""Batches for training and evaluation. Every random draw follows from one seed an epoch and the number of the batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Generator, Tensor

from cpg_core.data.augment import cutout, normalise, random_crop, random_flip
from cpg_core.data.fetch import WHOLE, Order, Share, fetch
from cpg_core.data.fields import Augment
from cpg_core.data.reading import Progress
from cpg_core.data.split import Split
from cpg_core.data.task import TaskData
from cpg_core.errors import CpgError
from cpg_core.seeds import derive


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

    images: float32 [B, C, H, W], normalised, channels last in memory; labels: int64 [B]
    seed:   of this epoch; the same seed gives the same batches, and batch n is the same wherever the epoch starts
    share:  of each batch; the shares of all processes are together the batch that one process would have
    """
    split, augment = data.train, data.augment
    shuffled = torch.split(torch.randperm(len(split), generator=_generator(seed, "order")), batch_size)
    numbers = range(start, batch_count(len(split), batch_size, share.of))
    crops = augment.random_resized_crop
    orders = [Order(shuffled[n], derive(seed, "crop", n) if crops else None, share) for n in numbers]
    for n, order, images in zip(numbers, orders, fetch(split, orders), strict=True):
        batch = _augment_share(order, normalise(images, data.mean, data.std), augment, _generator(seed, "batch", n))
        yield _move(batch, device), _move(split.labels[share.take(order.rows)], device)


def eval_batches(
    split: Split, mean: Tensor, std: Tensor, batch_size: int, device: torch.device | str, share: Share = WHOLE
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (images, labels) as `train_batches` does, every image once, in order, nothing random.

    An empty share of a batch is left out.
    """
    batches = torch.split(torch.arange(len(split)), batch_size) if len(split) else ()
    orders = [Order(rows, share=share) for rows in batches if len(rows) > share.index]
    for order, images in zip(orders, fetch(split, orders), strict=True):
        yield _move(normalise(images, mean, std), device), _move(split.labels[share.take(order.rows)], device)


def counted(
    batches: Iterable[tuple[Tensor, Tensor]], total: int, progress: Progress
) -> Iterator[tuple[Tensor, Tensor]]:
    """Pass batches on, telling how many images they held so far of `total`."""
    done = 0
    for images, labels in batches:
        done += len(labels)
        progress(done, total)
        yield images, labels


def _augment_share(order: Order, images: Tensor, augment: Augment, generator: Generator) -> Tensor:
    """Augment a share as it would be in its batch: the draws are those for the whole, whoever takes which part."""
    if order.share == WHOLE:
        return _augment(images, augment, generator)
    whole = images.new_zeros(len(order.rows), *images.shape[1:])
    whole[order.places()] = images
    return order.share.take(_augment(whole, augment, generator)).contiguous(memory_format=torch.channels_last)


def _augment(images: Tensor, augment: Augment, generator: Generator) -> Tensor:
    if augment.crop_padding:
        images = random_crop(images, augment.crop_padding, generator)
    if augment.flip:
        images = random_flip(images, generator)
    if augment.cutout:
        images = cutout(images, augment.cutout, generator)
    return images.contiguous(memory_format=torch.channels_last)


def _generator(*words: int | str) -> Generator:
    return torch.Generator().manual_seed(derive(*words))


def _move(tensor: Tensor, device: torch.device | str) -> Tensor:
    device = torch.device(device)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
