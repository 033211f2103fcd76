"""What every source gives of its train or test part: class names, a label a row, and a way to decode rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Listing:
    """A part of a source, before any image is decoded.

    where:  how an error names it
    names:  the classes of the source
    labels: int64 [rows], the place in `names`; other values are no class and never selected
    read:   (ascending rows, channels) -> uint8 [H, W, channels] a row
    files:  a path a row, if every row is a file of its own
    """

    where: str
    names: tuple[str, ...]
    labels: Rows
    read: Callable[[Rows, int], Iterator[Pixels]]
    files: tuple[Path, ...] = ()
