"""Load one part of a task from any source: choose rows, decode, fit to the backbone's input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cpg_core.config.suggestions import did_you_mean
from cpg_core.data.decode import MODE_OF_CHANNELS
from cpg_core.data.digits import list_digits
from cpg_core.data.fields import DigitsSource, FolderSource, ParquetSource, Part, Source, TorchvisionSource
from cpg_core.data.folder import list_folder
from cpg_core.data.listing import Listing, Pixels, Rows
from cpg_core.data.parquet import find_folder, list_parquet
from cpg_core.data.resize import SMALL_SIDE, fit
from cpg_core.data.split import Split
from cpg_core.data.torchvision_sets import list_torchvision
from cpg_core.errors import CpgError

MEMORY_LIMIT = 2 * 2**30  # bytes of pixels in one part


def list_part(source: Source, part: Part) -> Listing:
    """List the train or test part of a source, without decoding. Raises `CpgError` if something is missing."""
    match source:
        case DigitsSource():
            return list_digits(source, part)
        case ParquetSource():
            return list_parquet(source, part)
        case TorchvisionSource():
            return list_torchvision(source, part)
        case FolderSource():
            return list_folder(source, part)


def folder_of(source: Source) -> Path | None:
    """Where the files of a source lie, once they are fetched; None if they come with a library."""
    match source:
        case DigitsSource():
            return None
        case ParquetSource():
            return find_folder(source)
        case TorchvisionSource():
            return source.root
        case FolderSource():
            return source.folder


def choose(listing: Listing, classes: Sequence[str]) -> tuple[Rows, Rows]:
    """Find the rows of these classes: (ascending rows, their labels by the order of `classes`), int64 [N] each.

    Raises `CpgError` for a class that is not in the listing or has no images there.
    """
    label_of = np.full(len(listing.names), -1, dtype=np.int64)
    for label, name in enumerate(classes):
        if name not in listing.names:
            hint = did_you_mean(name, listing.names)
            raise CpgError(f"{listing.where}: there is no class '{name}'{hint} Classes: {_some(listing.names)}")
        label_of[listing.names.index(name)] = label
    known = (listing.labels >= 0) & (listing.labels < len(label_of))
    labels = np.where(known, label_of[np.where(known, listing.labels, 0)], -1)
    rows = np.flatnonzero(labels >= 0)
    counts = np.bincount(labels[rows], minlength=len(classes))
    if empty := [name for name, count in zip(classes, counts, strict=True) if count == 0]:
        raise CpgError(f"{listing.where}: no images of class {_some(empty)}; add some or leave the class out")
    return rows, labels[rows]


def load(listing: Listing, classes: Sequence[str], *, image_size: int, channels: int, workers: int = 0) -> Split:
    """Read the images of these classes for a backbone that takes `channels` x `image_size` x `image_size`.

    Files stream, decoded by `workers` (see `Split`), if `image_size` is large or the pixels would not fit in memory;
    everything else is decoded now.
    Raises `CpgError` as `choose` does, and for images that cannot be read or do not fit in memory.
    """
    if channels not in MODE_OF_CHANNELS:
        raise CpgError(f"{listing.where}: the backbone takes {channels} channels; images have 1 (grey) or 3 (RGB)")
    rows, labels = choose(listing, classes)
    shape = (channels, image_size, image_size)
    fits = len(rows) * channels * image_size**2 <= MEMORY_LIMIT
    if listing.files and not (fits and image_size <= SMALL_SIDE):
        files = tuple(listing.files[row] for row in rows)
        return Split(torch.from_numpy(labels), shape, files=files, workers=workers)
    if not fits:
        raise CpgError(
            f"{listing.where}: {len(rows)} images of {image_size}x{image_size} pixels need more than "
            f"{MEMORY_LIMIT // 2**30} GiB; unpack them into a source of kind folder, which streams"
        )
    return Split(torch.from_numpy(labels), shape, images=_decode(listing, rows, channels, image_size))


def _decode(listing: Listing, rows: Rows, channels: int, size: int) -> torch.Tensor:
    """Decode rows to uint8 [N, C, size, size]; the channels lie together in memory, as batches want them."""
    images: Pixels = np.empty((len(rows), size, size, channels), dtype=np.uint8)
    for image, pixels in zip(images, listing.read(rows, channels), strict=True):
        fitted = fit(torch.from_numpy(pixels).permute(2, 0, 1), size)
        image[:] = fitted.permute(1, 2, 0).numpy()
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def _some(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(f"'{name}'" for name in names[:most]) + (f" and {len(names) - most} more" * (len(names) > most))
