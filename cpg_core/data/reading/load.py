"""Load one part of a task from any source: choose rows, decode, fit to the backbone's input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cpg_core.config.suggestions import did_you_mean
from cpg_core.data.reading.decode import MODE_OF_CHANNELS
from cpg_core.data.reading.listing import Listing, Rows
from cpg_core.data.reading.reading import Wanted, read_rows
from cpg_core.data.reading.resize import SMALL_SIDE
from cpg_core.data.splits.split import Split
from cpg_core.data.summary import because
from cpg_core.errors import CpgError, listed

MEMORY_LIMIT = 2 * 2**30  # bytes of pixels in one part


def choose(listing: Listing, classes: Sequence[str]) -> tuple[Rows, Rows]:
    """Find the rows of these classes: (ascending rows, their labels by the order of `classes`), int64 [N] each.

    Raises `CpgError` for a class that is not in the listing or has no images there.
    """
    label_of = np.full(len(listing.names), -1, dtype=np.int64)
    for label, name in enumerate(classes):
        if name not in listing.names:
            hint = did_you_mean(name, listing.names)
            raise CpgError(f"{listing.where}: there is no class '{name}'{hint} Classes: {_quoted(listing.names)}")
        label_of[listing.names.index(name)] = label
    known = (listing.labels >= 0) & (listing.labels < len(label_of))
    labels = np.where(known, label_of[np.where(known, listing.labels, 0)], -1)
    rows = np.flatnonzero(labels >= 0)
    counts = np.bincount(labels[rows], minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if empty and (not listing.sparse or len(empty) == len(classes)):
        why = because(left_out for left_out in listing.left_out if left_out.name in (*empty, None))
        raise CpgError(f"{listing.where}: no images of class {_quoted(empty)}{why}; add some or leave the class out")
    return rows, labels[rows]


def load(listing: Listing, classes: Sequence[str], wanted: Wanted) -> Split:
    """Read the images of these classes.

    Files stream, decoded by `workers` (see `Split`), if images are to be large or the pixels would not fit in memory,
    and are only looked through now; everything else is decoded now.
    Raises `CpgError` as `choose` does, if the images do not fit in memory, and `Broken` for those that cannot be read.
    """
    rows, labels = choose(listing, classes)
    return read_rows(listing, "test", rows, labels, wanted, streams=streams(listing, len(rows), wanted)).split


def streams(listing: Listing, count: int, wanted: Wanted) -> bool:
    """Whether so many images of a listing are left in their files.

    Raises `CpgError` if they have none of their own and do not fit in memory.
    """
    if wanted.channels not in MODE_OF_CHANNELS:
        taken = f"the backbone takes {wanted.channels} channels"
        raise CpgError(f"{listing.where}: {taken}; images have 1 (grey) or 3 (RGB)")
    fits = count * wanted.channels * wanted.size**2 <= MEMORY_LIMIT
    if listing.files:
        return not (fits and wanted.size <= SMALL_SIDE)
    if not fits:
        raise CpgError(
            f"{listing.where}: {count} images of {wanted.size}x{wanted.size} pixels need more than "
            f"{MEMORY_LIMIT // 2**30} GiB; unpack them into a source of kind folder, which streams"
        )
    return False


def _quoted(names: Sequence[str]) -> str:
    return listed([f"'{name}'" for name in names], most=12)
