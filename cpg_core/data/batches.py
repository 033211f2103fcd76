"""Batches for training and evaluation. Every random draw follows from one seed an epoch and the number of the batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from cpg_core.data.augment import cutout, normalise, random_crop, random_flip
from cpg_core.data.fetch import Order, fetch
from cpg_core.data.fields import Augment
from cpg_core.data.split import Split
from cpg_core.data.task import TaskData
from cpg_core.errors import CpgError
from cpg_core.seeds import derive


def batch_count(images: int, batch_size: int) -> int:
    """Count the training batches of an epoch; a last batch of one image is left out, batch norm cannot train on it."""
    if batch_size < 2 or images < 2:
        raise CpgError(f"cannot train on {images} image(s) in batches of {batch_size}; both must be 2 or more")
    full, rest = divmod(images, batch_size)
    return full + (rest > 1)


def train_batches(
    data: TaskData, batch_size: int, seed: int, device: torch.device | str, start: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch of (images, labels), shuffled and augmented, from batch `start` on.

    images: float32 [B, C, H, W], normalised, channels last in memory; labels: int64 [B]
    seed:   of this epoch; the same seed gives the same batches, and batch n is the same wherever the epoch starts
    """
    split, augment = data.train, data.augment
    shuffled = torch.split(torch.randperm(len(split), generator=_generator(seed, "order")), batch_size)
    numbers = range(start, batch_count(len(split), batch_size))
    crops = augment.random_resized_crop
    orders = [Order(shuffled[n], derive(seed, "crop", n) if crops else None) for n in numbers]
    for n, order, images in zip(numbers, orders, fetch(split, orders), strict=True):
        batch = _augment(normalise(images, data.mean, data.std), augment, _generator(seed, "batch", n))
        yield _move(batch, device), _move(split.labels[order.rows], device)


def eval_batches(
    split: Split, mean: Tensor, std: Tensor, batch_size: int, device: torch.device | str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (images, labels) as `train_batches` does, every image once, in order, nothing random."""
    orders = [Order(rows) for rows in torch.split(torch.arange(len(split)), batch_size)] if len(split) else []
    for order, images in zip(orders, fetch(split, orders), strict=True):
        yield _move(normalise(images, mean, std), device), _move(split.labels[order.rows], device)


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
