"""What every source gives of its train or test part: class names, a label a row, a way to get at rows, and what it
left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cpg_core.errors import CpgError

Pixels = NDArray[np.uint8]
Rows = NDArray[np.int64]
Content = Path | bytes | Image.Image | CpgError
"""An image before it is decoded; an error where the source could not even get at it."""


class Item(NamedTuple):
    """One image of a source; `where` names it in an error."""

    where: str
    content: Content


class LeftOut(NamedTuple):
    """Rows or files that a source does not take.

    name:   the class that they would belong to; None: no class is known
    number: how many
    reason: continues "N ..." in a line for people
    counts: whether they weigh against what is taken; files that are never images do not
    """

    name: str | None
    number: int
    reason: str
    counts: bool = True


def unversioned(rows: Rows) -> str:  # noqa: ARG001  (as a Listing's `version` is called)
    """Nothing tells whether these rows are what they were."""
    return ""


@dataclass(frozen=True, eq=False)
class Listing:
    """A part of a source, before any image is decoded.

    where:    how an error names it
    names:    the classes of the source
    labels:   int64 [rows], the place in `names`; -1 is no class and never selected
    read:     ascending rows -> an item a row
    files:    a path a row, if every row is a file of its own
    left_out: what is not among the rows, or has no class
    version:  ascending rows -> a text that is another one once `read` may give other images for them; with an empty
              one what was read of them is not kept
    paths:    a path a row, inside the part; None where images have no file names
    column:   the values of another column by its name, one a row; None where there are no columns
    sparse:   not every class needs an image
    """

    where: str
    names: tuple[str, ...]
    labels: Rows
    read: Callable[[Rows], Iterator[Item]]
    files: tuple[Path, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    version: Callable[[Rows], str] = unversioned
    paths: Callable[[], Sequence[str]] | None = None
    column: Callable[[str], Sequence[object]] | None = None
    sparse: bool = False
