"""What was read of a task's images, kept in blocks of rows: reading that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from cpg_core.data.fields import Part
from cpg_core.data.reading.cached import CachedBlock
from cpg_core.data.reading.listing import Listing, Pixels, Rows
from cpg_core.errors import CpgError

ROWS = 256
LEAST_BYTES = 4 * 2**20
"""Of image files, in a block that is kept: one of fewer is read again as fast (256 of CIFAR hold 0.6 MB)."""
DECODERS = ("pillow", "torch", "torchvision", "numpy", "pyarrow")
Levels = NDArray[np.int64]
"""How many pixels have each value, [C, 256]."""


class Keep(Protocol):
    """Where blocks are kept."""

    def get(self, name: str, key: str) -> memoryview | None:
        """What was put there under this name and key, whole; None of anything else.

        A view of a file that is mapped into memory, which stays what it is whatever is put there later.
        """
        ...

    def put(self, name: str, key: str, content: bytes) -> None:
        """Keep it in the place of what had the name before. Best effort: nothing is raised."""


class KeepNothing:
    """Keeps nothing."""

    def get(self, name: str, key: str) -> memoryview | None:  # noqa: ARG002  (as of a Keep)
        """Nothing."""
        return None

    def put(self, name: str, key: str, content: bytes) -> None:
        """Nothing."""


NOTHING_KEPT = KeepNothing()


class Image(NamedTuple):
    """One image, read: its pixels [size, size, C], or what is kept of it where it streams; or its error.

    `size`: bytes of its file. `whole`: [h, w, C], which random crops are taken of, where it is kept decoded.
    """

    pixels: Pixels | None = None
    whole: Pixels | None = None
    sha256: str = ""
    levels: Levels | None = None
    remarks: tuple[str, ...] = ()
    size: int = 0
    error: CpgError | None = None


@dataclass
class Block:
    """Rows that are kept together, as far as they are read.

    name, key: as of a `Keep`; with an empty key nothing is kept
    places:    of the rows in their part
    pixels:    uint8 [n, size, size, C], a view of the part's; None where files stream
    shape:     of the pixels that are kept of files that stream; None: none are
    sha256s:   of the files, where they stream
    levels:    of those images that are sampled
    remarks:   what a person should know -> of how many images
    size:      bytes of the image files
    decoded, whole: of the images as they are read, until they are kept in `cached`
    """

    name: str
    key: str
    places: range
    pixels: Pixels | None
    shape: tuple[int, int, int] | None = None
    sha256s: list[str] = field(default_factory=list)
    decoded: list[Pixels] = field(default_factory=list)
    whole: list[Pixels] = field(default_factory=list)
    cached: CachedBlock | None = None
    levels: Levels | None = None
    remarks: Counter[str] = field(default_factory=Counter)
    size: int = 0
    read: int = 0

    def add(self, image: Image) -> None:
        """Add the next image; a broken image adds nothing."""
        if image.error is not None:
            return
        if self.pixels is not None:
            assert image.pixels is not None
            self.pixels[self.read] = image.pixels
        else:
            self.sha256s.append(image.sha256)
            if self.shape is not None and image.pixels is not None:
                self.decoded.append(image.pixels)
                self.whole += [] if image.whole is None else [image.whole]
        if image.levels is not None:
            self.levels = image.levels if self.levels is None else self.levels + image.levels
        self.remarks.update(image.remarks)
        self.size += image.size
        self.read += 1

    @property
    def cached_bytes(self) -> int:
        """Of the decoded images that are or would be kept."""
        if self.cached is not None:
            return len(self.cached.content)
        return sum(pixels.nbytes for pixels in (*self.decoded, *self.whole))

    def save(self, store: Keep, free_bytes: int) -> None:
        """Store the block if it is complete and slow to read again.

        Its decoded images are kept only if they fit in `free_bytes`.
        """
        if not self.key or self.read < len(self.places):
            self._drop_decoded()
            return
        fits = 0 < self.cached_bytes <= free_bytes
        if not fits:
            self._drop_decoded()
        if fits or self.size >= LEAST_BYTES:
            store.put(self.name, self.key, self._to_bytes())
        if fits:
            self._drop_decoded()
            self.load(store, free_bytes)

    def load(self, store: Keep, free_bytes: int) -> bool:
        """Load the stored block; False if it is missing, or was stored without decoded images that would now fit."""
        content = store.get(self.name, self.key) if self.key else None
        if content is None:
            return False
        line, pixels = _first_line(content)
        told = json.loads(line)
        if self.shape is not None:
            shape = (len(self.places), *self.shape)
            if told["cached"] is not None:
                self.cached = CachedBlock.of(pixels, shape, told["cached"])
                self.cached.leave_memory()
            elif math.prod(shape) <= free_bytes:
                return False
        self.sha256s, self.remarks = told["sha256s"], Counter(told["remarks"])
        self.levels = None if told["levels"] is None else np.array(told["levels"], dtype=np.int64)
        if self.pixels is not None:
            self.pixels[...] = np.frombuffer(pixels, np.uint8).reshape(self.pixels.shape)
        return True

    def _drop_decoded(self) -> None:
        self.decoded, self.whole = [], []

    def _to_bytes(self) -> bytes:
        """A line of JSON, and the pixels after it."""
        levels = None if self.levels is None else self.levels.tolist()
        cached = [whole.shape for whole in self.whole] if self.decoded else None
        told = {"sha256s": self.sha256s, "levels": levels, "remarks": self.remarks, "cached": cached}
        pixels = [*self.decoded, *self.whole] if self.pixels is None else [self.pixels]
        return b"".join([json.dumps(told).encode(), b"\n", *(image.tobytes() for image in pixels)])


def _first_line(content: memoryview) -> tuple[bytes, memoryview]:
    """The first line of a block, and what comes after it."""
    length = 1 << 12
    while (end := bytes(content[:length]).find(b"\n")) < 0:
        length *= 2
    return bytes(content[:end]), content[end + 1 :]


def blocks_of(
    listing: Listing,
    part: Part,
    rows: Rows,
    images: Pixels | None,
    fit: tuple[int, int, str],
    sampled: frozenset[int],
    decoded: Literal["fitted", "whole"] | None = None,
) -> list[Block]:
    """Empty blocks of a part's rows, in order.

    A key holds all that decides what is read of a block, but for this project's code: which images they are, what they
    are made into, and by what. Resizing may round otherwise with other instructions of the processor.

    Args:
        listing: where the rows are of.
        part: what the blocks are named after.
        rows: ascending, int64 [N].
        images: uint8 [N, size, size, C], to be filled; None where files stream.
        fit: channels and size that images are made into, and how they are resized.
        sampled: places in `rows` whose grey levels are counted.
        decoded: what else is kept of files that stream: images as they are fitted, or what is cropped of them too.
    """
    shape = None if decoded is None else (fit[1], fit[1], fit[0])
    by = [*(version(package) for package in DECODERS), torch.backends.cpu.get_cpu_capability()]
    blocks = []
    for first in range(0, len(rows), ROWS):
        places = range(first, min(first + ROWS, len(rows)))
        which = listing.version(rows[first : places.stop])
        counted = [place - first for place in places if place in sampled]
        decides = json.dumps([which, fit, decoded or images is None, counted, by])
        key = which and hashlib.sha256(decides.encode()).hexdigest()
        view = None if images is None else images[first : places.stop]
        blocks.append(Block(f"{part}-{first // ROWS:05d}", key, places, view, shape))
    return blocks
