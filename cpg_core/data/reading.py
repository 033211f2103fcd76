"""Read rows of a listing: decoded into memory, or looked through where they stream. Every image is opened, and all
that are broken are told together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cpg_core.data.ahead import ahead
from cpg_core.data.decode import Unreadable, examine
from cpg_core.data.listing import Item, Listing, Pixels, Rows
from cpg_core.data.resize import fit
from cpg_core.data.split import Split
from cpg_core.errors import CpgError

SHOWN_BROKEN = 50
Levels = NDArray[np.int64]
"""How many pixels have each value, [C, 256]."""
Progress = Callable[[int, int], object]
"""Told how many images are read, of how many; may raise to stop between two of them."""


def silent(done: int, total: int) -> None:
    """Tells nobody."""


class Broken(CpgError):
    """Images that cannot be read, all of a part or of several."""

    def __init__(self, errors: Sequence[CpgError], of: int) -> None:
        lines = [str(error) for error in errors[:SHOWN_BROKEN]]
        if len(errors) > SHOWN_BROKEN:
            lines.append(f"and {len(errors) - SHOWN_BROKEN} more")
        head = [] if len(errors) == 1 else [f"{len(errors)} of {of} images cannot be read:"]
        super().__init__("\n  ".join(head + lines))
        self.errors, self.of = tuple(errors), of


@dataclass(frozen=True)
class Wanted:
    """What images are made into: `channels` x `size` x `size`, by so many `workers` (see `Split`)."""

    channels: int
    size: int
    workers: int = 0
    progress: Progress = silent


class Read(NamedTuple):
    """A split, and the grey levels of its sampled images if they stream (else they are in its pixels)."""

    split: Split
    levels: Levels | None = None


class _Image(NamedTuple):
    """One image, read: its pixels [size, size, C], or what is kept of it where it streams; or its error."""

    pixels: Pixels | None = None
    sha256: str = ""
    levels: Levels | None = None
    remarks: tuple[str, ...] = ()
    error: CpgError | None = None


def read_rows(
    listing: Listing, rows: Rows, labels: Rows, wanted: Wanted, *, streams: bool, sampled: frozenset[int] = frozenset()
) -> Read:
    """Read these rows.

    Args:
        listing: where from.
        rows: ascending rows of it, int64 [N].
        labels: their classes, int64 [N].
        wanted: what they are made into.
        streams: their files are looked through, and nothing but digests is kept.
        sampled: places in `rows` whose grey levels are counted, where they stream.

    Raises:
        Broken: naming all images that cannot be read.
    """
    shape = (wanted.channels, wanted.size, wanted.size)
    remarks = Counter[str]()
    if not streams:
        images: Pixels = np.empty((len(rows), wanted.size, wanted.size, wanted.channels), dtype=np.uint8)
        for place, image in enumerate(_each(listing, rows, wanted, lambda _, item: _into_memory(item, wanted))):
            assert image.pixels is not None
            images[place] = image.pixels
            remarks.update(image.remarks)
        # The channels lie together in memory, as batches want them.
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        return Read(Split(torch.from_numpy(labels), shape, pixels, remarks=remarks))
    sha256s: list[str] = []
    levels: Levels = np.zeros((wanted.channels, 256), dtype=np.int64)
    for image in _each(listing, rows, wanted, lambda place, item: _through(item, wanted, count=place in sampled)):
        sha256s.append(image.sha256)
        remarks.update(image.remarks)
        if image.levels is not None:
            levels += image.levels
    files = tuple(listing.files[row] for row in rows)
    split = Split(
        torch.from_numpy(labels), shape, files=files, workers=wanted.workers, sha256s=tuple(sha256s), remarks=remarks
    )
    return Read(split, levels)


def count_levels(images: Pixels) -> Levels:
    """How often each value occurs in uint8 [..., C]."""
    return np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])])


def _each(listing: Listing, rows: Rows, wanted: Wanted, work: Callable[[int, Item], _Image]) -> Iterator[_Image]:
    """The images in order, read ahead. Once one is broken the rest are only opened, to name all that are."""

    def one(numbered: tuple[int, Item]) -> _Image:
        place, item = numbered
        if isinstance(item.content, CpgError):
            return _Image(error=item.content)
        try:
            return work(place, item)
        except Unreadable as error:
            return _Image(error=error)

    errors: list[CpgError] = []
    wanted.progress(0, len(rows))
    with closing(ahead(one, enumerate(listing.read(rows)), wanted.workers)) as images:
        for done, image in enumerate(images, 1):
            wanted.progress(done, len(rows))
            if image.error is not None:
                errors.append(image.error)
            elif not errors:
                yield image
    if errors:
        raise Broken(errors, len(rows))


def _into_memory(item: Item, wanted: Wanted) -> _Image:
    assert not isinstance(item.content, CpgError)
    pixels, remarks = examine(item.content, wanted.channels, item.where)
    return _Image(_fitted(pixels, wanted.size), remarks=remarks)


def _through(item: Item, wanted: Wanted, *, count: bool) -> _Image:
    """Read a file to its end, which a draft of its pixels shows as well as all of them."""
    assert isinstance(item.content, Path)
    try:
        content = item.content.read_bytes()
    except OSError as error:
        raise Unreadable(f"{item.where}: cannot be read ({error.strerror}); replace or remove it") from error
    pixels, remarks = examine(content, wanted.channels, item.where, draft=not count)
    levels = count_levels(_fitted(pixels, wanted.size)) if count else None
    return _Image(None, hashlib.sha256(content).hexdigest(), levels, remarks)


def _fitted(pixels: Pixels, size: int) -> Pixels:
    """uint8 [H, W, C] as [size, size, C]."""
    fitted: Pixels = fit(torch.from_numpy(pixels).permute(2, 0, 1), size).permute(1, 2, 0).numpy()
    return fitted
