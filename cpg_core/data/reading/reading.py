"""Read rows of a listing: decoded into memory, or looked through where they stream. Every image is opened, and all
that are broken are told together. What was read is kept in blocks, so that the same call goes on where it was."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL.Image import Image as Picture

from cpg_core.data.fields import Part
from cpg_core.data.reading.block_cache import NOTHING_KEPT, Block, Image, Keep, Levels, blocks_of
from cpg_core.data.reading.cached import Cached
from cpg_core.data.reading.decode import Unreadable, examine
from cpg_core.data.reading.listing import Item, Listing, Pixels, Rows
from cpg_core.data.reading.prefetch import ahead
from cpg_core.data.reading.resize import Resize, fit, reduced
from cpg_core.data.splits.split import Split
from cpg_core.errors import CpgError, advice

SHOWN_BROKEN = 50
NOT_CACHED = "images do not fit into the cache (compute.cache_bytes, or the disk) and are decoded in each epoch"
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
    """What images are made into: `channels` x `size` x `size`, as `resize` says, by so many `workers` (see `Split`).

    Attributes:
        progress: told as they are read.
        keep: where what was read is kept and looked for.
        cache_bytes: so much of the decoded images of a part that streams is kept too.
        cropped: whether random crops are taken of images that stream, for which the whole images are kept.
    """

    channels: int
    size: int
    workers: int = 0
    progress: Progress = silent
    keep: Keep = NOTHING_KEPT
    resize: Resize = "crop"
    cache_bytes: int = 0
    cropped: bool = False

    @property
    def caches(self) -> Literal["fitted", "whole"] | None:
        """What is kept decoded of images that stream."""
        if self.keep is NOTHING_KEPT or not self.cache_bytes:
            return None
        return "whole" if self.cropped else "fitted"


class Read(NamedTuple):
    """A split, and the grey levels of its sampled images if they stream (else they are in its pixels)."""

    split: Split
    levels: Levels | None = None


def read_rows(
    listing: Listing,
    part: Part,
    rows: Rows,
    labels: Rows,
    wanted: Wanted,
    *,
    streams: bool,
    sampled: frozenset[int] = frozenset(),
) -> Read:
    """Read these rows.

    Args:
        listing: where from.
        part: what is kept of them is named after it.
        rows: ascending rows of the listing, int64 [N].
        labels: their classes, int64 [N].
        wanted: what they are made into.
        streams: their files are looked through, and nothing but digests is kept.
        sampled: places in `rows` whose grey levels are counted, where they stream.

    Raises:
        Broken: naming all images that cannot be read.
    """
    shape = (wanted.channels, wanted.size, wanted.size)
    images = None if streams else np.empty((len(rows), wanted.size, wanted.size, wanted.channels), dtype=np.uint8)

    def read(numbered: tuple[int, Item]) -> Image:
        place, item = numbered
        if isinstance(item.content, CpgError):
            return Image(error=item.content)
        try:
            return _through(item, wanted, count=place in sampled) if streams else _into_memory(item, wanted)
        except Unreadable as error:
            return Image(error=error)

    caches = wanted.caches if streams else None
    blocks = blocks_of(listing, part, rows, images, (wanted.channels, wanted.size, wanted.resize), sampled, caches)
    _fill(blocks, listing, rows, wanted, read)
    remarks = sum((block.remarks for block in blocks), Counter[str]())
    if images is not None:
        # The channels lie together in memory, as batches want them.
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        return Read(Split(torch.from_numpy(labels), shape, pixels, remarks=remarks, resize=wanted.resize))
    files = tuple(listing.files[row] for row in rows)
    sha256s = tuple(sha256 for block in blocks for sha256 in block.sha256s)
    cached = None
    if caches is not None:
        cached = Cached(tuple(block.cached for block in blocks), len(blocks[0].places), np.arange(len(rows)))
        remarks[NOT_CACHED] += sum(len(block.places) for block in blocks if block.cached is None)
    split = Split(
        torch.from_numpy(labels),
        shape,
        files=files,
        workers=wanted.workers,
        sha256s=sha256s,
        remarks=+remarks,
        cached=cached,
        resize=wanted.resize,
    )
    nothing: Levels = np.zeros((wanted.channels, 256), dtype=np.int64)
    return Read(split, sum((block.levels for block in blocks if block.levels is not None), nothing))


def count_levels(images: Pixels) -> Levels:
    """How often each value occurs in uint8 [..., C]."""
    return np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])])


def _fill(
    blocks: Sequence[Block], listing: Listing, rows: Rows, wanted: Wanted, read: Callable[[tuple[int, Item]], Image]
) -> None:
    """Fill blocks with what is kept of them, and the others from the source, whose images are read ahead in order.

    Raises:
        Broken: naming all images that cannot be read; blocks without any are kept all the same.
    """
    errors, missing, done, room = list[CpgError](), list[Block](), 0, wanted.cache_bytes
    wanted.progress(0, len(rows))
    for block in blocks:
        if block.load(wanted.keep, room):
            done += len(block.places)
            room -= block.cached_bytes
            wanted.progress(done, len(rows))
        else:
            missing.append(block)
    places = [place for block in missing for place in block.places]
    items = zip(places, listing.read(rows[places]), strict=True)
    with closing(ahead(read, items, wanted.workers)) as images:
        for block in missing:
            for image in islice(images, len(block.places)):
                done += 1
                wanted.progress(done, len(rows))
                block.add(image)
                if image.error is not None:
                    errors.append(image.error)
            block.save(wanted.keep, room)
            room -= block.cached_bytes
    if errors:
        raise Broken(errors, len(rows))


def _into_memory(item: Item, wanted: Wanted) -> Image:
    content = item.content
    assert not isinstance(content, CpgError)
    pixels, remarks = examine(content, wanted.channels, item.where)
    return Image(_fitted(pixels, wanted), size=_size(content), remarks=remarks)


def _through(item: Item, wanted: Wanted, *, count: bool) -> Image:
    """Read a file to its end, which a draft of its pixels shows as well as all of them, where none are kept."""
    assert isinstance(item.content, Path)
    try:
        content = item.content.read_bytes()
    except OSError as error:
        cure = advice(error, "replace or remove it")
        raise Unreadable(f"{item.where}: cannot be read ({error.strerror}); {cure}") from error
    keeps = wanted.caches
    pixels, remarks = examine(content, wanted.channels, item.where, draft=not (count or keeps))
    fitted = _fitted(pixels, wanted) if count or keeps else None
    return Image(
        pixels=fitted if keeps else None,
        whole=_reduced(pixels, wanted.size) if keeps == "whole" else None,
        sha256=hashlib.sha256(content).hexdigest(),
        levels=count_levels(fitted) if count and fitted is not None else None,
        remarks=remarks,
        size=len(content),
    )


def _size(content: Path | bytes | Picture) -> int:
    """Bytes of an image's file; 0 of what comes decoded."""
    if isinstance(content, Picture):
        return 0
    if isinstance(content, bytes):
        return len(content)
    try:
        return content.stat().st_size
    except OSError:  # removed meanwhile
        return 0


def _fitted(pixels: Pixels, wanted: Wanted) -> Pixels:
    """uint8 [H, W, C] as [size, size, C]."""
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    fitted: Pixels = fit(image, wanted.size, wanted.resize).permute(1, 2, 0).numpy()
    return fitted


def _reduced(pixels: Pixels, size: int) -> Pixels:
    """uint8 [H, W, C] as random crops are taken of it."""
    image: Pixels = reduced(torch.from_numpy(pixels).permute(2, 0, 1), size).permute(1, 2, 0).numpy()
    return image
