"""Rows of a split -> batches of uint8 images; files are decoded ahead in threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from cpg_core.data.reading.decode import decode
from cpg_core.data.reading.listing import Pixels
from cpg_core.data.reading.prefetch import ahead
from cpg_core.data.reading.resize import fit, random_resized_crop, reduced
from cpg_core.data.splits.split import Split


@dataclass(frozen=True)
class Share:
    """What one of several processes takes of every batch: its images `index`, `index + of` and so on; else all."""

    index: int = 0
    of: int = 1

    def take(self, images: Tensor) -> Tensor:
        """The share of a batch, as a view along its first dimension."""
        return images[self.index :: self.of]

    def take_last(self, draws: Tensor) -> Tensor:
        """The share of what was drawn for a batch, as a view along its last dimension."""
        return draws[..., self.index :: self.of]


WHOLE = Share()


class Order(NamedTuple):
    """A share of one batch to fetch; with a crop seed each image is random-resized-cropped.

    rows: of the split, of the whole batch: int64 [B]
    """

    rows: Tensor
    crop_seed: int | None = None
    share: Share = WHOLE

    def places(self) -> Tensor:
        """Where in the batch the share lies."""
        return self.share.take(torch.arange(len(self.rows)))


def fetch(split: Split, orders: Sequence[Order]) -> Iterator[Tensor]:
    """Yield uint8 [B, C, H, W] for the share of each order.

    Raises `CpgError` for a streamed image that cannot be read.
    """
    taken = partial(_batch, split)
    if split.images is not None:
        yield from map(taken, orders)
    else:
        yield from ahead(taken, orders, split.workers)


def _batch(split: Split, order: Order) -> Tensor:
    """The share of one batch."""
    rows, crop_seed = order.share.take(order.rows), order.crop_seed
    if split.images is not None and crop_seed is None:
        return split.images[rows]
    numbers, size = rows.tolist(), split.shape[-1]
    if crop_seed is None:
        batch = torch.stack([_fitted(split, row) for row in numbers])
    else:
        places = order.places().tolist()
        batch = torch.stack(
            [
                random_resized_crop(_whole(split, row), size, crop_seed, k)
                for k, row in zip(places, numbers, strict=True)
            ]
        )
    if split.cached is not None:
        split.cached.leave_memory(numbers)
    return batch


def _fitted(split: Split, row: int) -> Tensor:
    """One image of a file at the size of the backbone's input: uint8 [C, size, size]."""
    kept = None if split.cached is None else split.cached.fitted(row)
    return fit(_read(split, row), split.shape[-1], split.resize) if kept is None else _tensor(kept)


def _whole(split: Split, row: int) -> Tensor:
    """One image as random crops are taken of it: uint8 [C, h, w]."""
    if split.images is not None:
        return split.images[row]
    kept = None if split.cached is None else split.cached.whole(row)
    return reduced(_read(split, row), split.shape[-1]) if kept is None else _tensor(kept)


def _read(split: Split, row: int) -> Tensor:
    """One image of a file in full: uint8 [C, h, w]."""
    file = split.files[row]
    return _tensor(decode(file, split.shape[0], str(file)))


def _tensor(pixels: Pixels) -> Tensor:
    """uint8 [h, w, C] as [C, h, w]; what is mapped from a file, which cannot be written to, as a copy."""
    return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()).permute(2, 0, 1)
