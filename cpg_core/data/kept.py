"""What was read of a task's images, kept in blocks of rows: reading that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from cpg_core.data.fields import Part
from cpg_core.data.listing import Listing, Pixels, Rows
from cpg_core.errors import CpgError

ROWS = 256
LEAST_BYTES = 4 * 2**20
"""Of image files, in a block that is kept: one of fewer is read again as fast (256 of CIFAR hold 0.6 MB)."""
DECODERS = ("pillow", "torch", "torchvision", "numpy", "pyarrow")
Levels = NDArray[np.int64]
"""How many pixels have each value, [C, 256]."""


class Keep(Protocol):
    """Where blocks are kept."""

    def get(self, name: str, key: str) -> bytes | None:
        """What was put there under this name and key, whole; None of anything else."""
        ...

    def put(self, name: str, key: str, content: bytes) -> None:
        """Keep it in the place of what had the name before. Best effort: nothing is raised."""


class KeepNothing:
    """Keeps nothing."""

    def get(self, name: str, key: str) -> bytes | None:  # noqa: ARG002  (as of a Keep)
        """Nothing."""
        return None

    def put(self, name: str, key: str, content: bytes) -> None:
        """Nothing."""


NOTHING_KEPT = KeepNothing()


class Image(NamedTuple):
    """One image, read: its pixels [size, size, C], or what is kept of it where it streams; or its error.

    `size`: bytes of its file.
    """

    pixels: Pixels | None = None
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
    sha256s:   of the files, where they stream
    levels:    of those images that are sampled
    remarks:   what a person should know -> of how many images
    size:      bytes of the image files
    """

    name: str
    key: str
    places: range
    pixels: Pixels | None
    sha256s: list[str] = field(default_factory=list)
    levels: Levels | None = None
    remarks: Counter[str] = field(default_factory=Counter)
    size: int = 0
    read: int = 0

    def add(self, image: Image) -> None:
        """Take the next image; of one that is broken nothing."""
        if image.error is not None:
            return
        if self.pixels is not None:
            assert image.pixels is not None
            self.pixels[self.read] = image.pixels
        else:
            self.sha256s.append(image.sha256)
        if image.levels is not None:
            self.levels = image.levels if self.levels is None else self.levels + image.levels
        self.remarks.update(image.remarks)
        self.size += image.size
        self.read += 1

    def leave(self, keep: Keep) -> None:
        """Have it kept, if it is whole and reading it again would take long."""
        if self.key and self.read == len(self.places) and self.size >= LEAST_BYTES:
            keep.put(self.name, self.key, self._to_bytes())

    def found(self, keep: Keep) -> bool:
        """Fill it with what is kept of it; whether there is such."""
        content = keep.get(self.name, self.key) if self.key else None
        if content is None:
            return False
        line, _, pixels = content.partition(b"\n")
        told = json.loads(line)
        self.sha256s, self.remarks = told["sha256s"], Counter(told["remarks"])
        self.levels = None if told["levels"] is None else np.array(told["levels"], dtype=np.int64)
        if self.pixels is not None:
            self.pixels[...] = np.frombuffer(pixels, np.uint8).reshape(self.pixels.shape)
        return True

    def _to_bytes(self) -> bytes:
        """A line of JSON, and the pixels after it."""
        levels = None if self.levels is None else self.levels.tolist()
        line = json.dumps({"sha256s": self.sha256s, "levels": levels, "remarks": self.remarks})
        return line.encode() + b"\n" + (b"" if self.pixels is None else self.pixels.tobytes())


def blocks_of(
    listing: Listing, part: Part, rows: Rows, images: Pixels | None, fit: tuple[int, int, str], sampled: frozenset[int]
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
    """
    by = [*(version(package) for package in DECODERS), torch.backends.cpu.get_cpu_capability()]
    blocks = []
    for first in range(0, len(rows), ROWS):
        places = range(first, min(first + ROWS, len(rows)))
        which = listing.version(rows[first : places.stop])
        counted = [place - first for place in places if place in sampled]
        decides = json.dumps([which, fit, images is None, counted, by])
        key = which and hashlib.sha256(decides.encode()).hexdigest()
        view = None if images is None else images[first : places.stop]
        blocks.append(Block(f"{part}-{first // ROWS:05d}", key, places, view))
    return blocks
