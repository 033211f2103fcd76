"""Rows of a split -> batches of uint8 images; files are decoded ahead in worker processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cpg_core.data.decode import decode
from cpg_core.data.resize import fit, random_resized_crop
from cpg_core.data.split import Split
from cpg_core.errors import CpgError

MOST_WORKERS = 8


@dataclass(frozen=True)
class Share:
    """What one of several processes takes of every batch: its images `index`, `index + of` and so on; else all."""

    index: int = 0
    of: int = 1

    def take(self, images: Tensor) -> Tensor:
        """The share of a batch, as a view along its first dimension."""
        return images[self.index :: self.of]


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
    batches = _Batches(split, orders)
    in_memory = split.images is not None
    for batch in (batches[place] for place in range(len(orders))) if in_memory else _in_workers(batches):
        if isinstance(batch, str):
            raise CpgError(batch)
        yield batch


def _in_workers(batches: _Batches) -> DataLoader[Tensor | str]:
    workers = min(MOST_WORKERS, os.cpu_count() or 1, len(batches))
    # A generator of its own: a loader would otherwise draw from the global one, which training may draw from as well.
    return DataLoader(batches, batch_size=None, num_workers=workers, generator=torch.Generator())


@dataclass(frozen=True, eq=False)
class _Batches(Dataset[Tensor | str]):
    """The ordered batches by number; the message of an error instead of a batch, for it to leave a worker unchanged."""

    split: Split
    orders: Sequence[Order]

    def __len__(self) -> int:
        return len(self.orders)

    def __getitem__(self, place: int) -> Tensor | str:
        order = self.orders[place]
        rows, crop_seed = order.share.take(order.rows), order.crop_seed
        if self.split.images is not None and crop_seed is None:
            return self.split.images[rows]
        try:
            images = [self._image(row) for row in rows.tolist()]
        except CpgError as error:
            return str(error)
        size = self.split.shape[-1]
        if crop_seed is None:
            return torch.stack([fit(image, size) for image in images])
        places = order.places().tolist()
        return torch.stack(
            [random_resized_crop(image, size, crop_seed, k) for k, image in zip(places, images, strict=True)]
        )

    def _image(self, row: int) -> Tensor:
        """One image in full: uint8 [C, h, w]."""
        if self.split.images is not None:
            return self.split.images[row]
        file = self.split.files[row]
        return torch.from_numpy(decode(file, self.split.shape[0], str(file))).permute(2, 0, 1)
