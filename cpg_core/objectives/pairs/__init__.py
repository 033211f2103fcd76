"""Pairs of images, of the same person or of different ones, and how well embeddings tell which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs over the images of a split.

    left, right: the rows of their images in the split, int64 [P]
    same:        whether both show one person, bool [P]
    fold:        which fold each is in, from 0, int64 [P]; -1: in none, only to find accept rates with
    images:      how many images the split has
    far:         the false-accept rate at which the true-accept rate is told
    """

    left: Rows
    right: Rows
    same: Flags
    fold: Rows
    images: int
    far: float

    def content(self) -> bytes:
        """What a digest of the split is over, besides its images. The rate decides nothing and is not in it."""
        return b"".join(part.tobytes() for part in (self.left, self.right, self.same, self.fold))


def folds_in_order(same: Flags, folds: int) -> Rows:
    """The fold of each pair, from 0: of the same-person pairs in order the first share is fold 0, and so on; so of the
    others."""
    fold = np.empty(len(same), dtype=np.int64)
    for kind in (True, False):
        rows = np.flatnonzero(same == kind)
        fold[rows] = np.arange(len(rows)) * folds // max(1, len(rows))
    return fold
