"""Decoded images in memory-mapped blocks, for an epoch that reads no image file."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cpg_core.data.reading.listing import Pixels, Rows


@dataclass(frozen=True, eq=False)
class CachedBlock:
    """What is kept of the images of one block; views of its file.

    fitted: uint8 [n, size, size, C], as an evaluation takes them
    whole:  uint8 [h, w, C] an image, which random crops are taken of; () where there are none
    """

    fitted: Pixels
    whole: tuple[Pixels, ...]
    content: memoryview

    @staticmethod
    def of(content: memoryview, fitted: tuple[int, ...], whole: Sequence[tuple[int, int, int]]) -> CachedBlock:
        """Views of a block's bytes: the images of that shape, and then those of these shapes."""
        flat = np.frombuffer(content, np.uint8)
        ends = np.cumsum([np.prod(fitted, dtype=np.int64), *(h * w * c for h, w, c in whole)]).tolist()
        views = [flat[a:b].reshape(shape) for a, b, shape in zip(ends[:-1], ends[1:], whole, strict=True)]
        return CachedBlock(flat[: ends[0]].reshape(fitted), tuple(views), content)

    def leave_memory(self) -> None:
        """Let go of the pages that were read: they count as this process's memory, and the system keeps them itself."""
        if isinstance(self.content.obj, mmap.mmap):
            self.content.obj.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True, eq=False)
class Cached:
    """The images of a split that are kept decoded.

    blocks: of the part that the split was taken from, `block_rows` rows each; None where nothing is kept
    rows:   of that part, int64 [N]
    """

    blocks: tuple[CachedBlock | None, ...]
    block_rows: int
    rows: Rows

    def take(self, rows: Rows) -> Cached:
        """Those of these rows of the split."""
        return replace(self, rows=self.rows[rows])

    def fitted(self, row: int) -> Pixels | None:
        """One image at the size of the backbone's input, uint8 [size, size, C]; None if it is not kept."""
        block, place = self._find(row)
        return None if block is None else block.fitted[place]

    def whole(self, row: int) -> Pixels | None:
        """One image as random crops are taken of it, uint8 [h, w, C]; None if it is not kept."""
        block, place = self._find(row)
        return block.whole[place] if block is not None and block.whole else None

    def leave_memory(self, rows: Sequence[int]) -> None:
        """Let go of the pages of these rows' blocks."""
        for number in {int(self.rows[row]) // self.block_rows for row in rows}:
            if (block := self.blocks[number]) is not None:
                block.leave_memory()

    def _find(self, row: int) -> tuple[CachedBlock | None, int]:
        number, place = divmod(int(self.rows[row]), self.block_rows)
        return self.blocks[number], place
