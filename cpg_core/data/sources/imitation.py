"""Unlabelled images, labelled by what a pretrained network answered: accuracy on them is agreement with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq

from cpg_core.config.schema import Strict
from cpg_core.data.decode import is_image
from cpg_core.data.fields import Part, Place
from cpg_core.data.listing import Item, Listing, Rows
from cpg_core.data.sources import Source
from cpg_core.data.sources.parquet import read_images
from cpg_core.data.stamps import stamps
from cpg_core.errors import CpgError

COLUMN = "image"
"""Of parquet files."""


class Answers(Strict):
    """What `cpg import` writes: the network's classes, and of each part which images, with the class answered.

    Attributes:
        classes: all that the network tells apart; not each of them needs an image.
        rows: of each part, places among the images in the order of their names, ascending.
        labels: of each part, places in `classes`.
    """

    classes: tuple[str, ...]
    rows: dict[Part, tuple[int, ...]]
    labels: dict[Part, tuple[int, ...]]


class ImitationSource(Source):
    """The images of a folder, at any depth, or of its parquet files, and the answers to them."""

    kind: Literal["imitation"]
    images: Place
    answers: Place

    def list_part(self, part: Part) -> Listing:
        """The images of a part."""
        try:
            known = Answers.model_validate(json.loads(self.answers.read_text()))
        except (OSError, ValueError) as error:
            raise CpgError(f"{self.answers}: expected the answers that `cpg import` writes; give that again") from error
        there = unlabelled(self.images)
        rows = np.array(known.rows[part], dtype=np.int64)
        if len(rows) and rows[-1] >= len(there.labels):
            raise CpgError(f"{self.images}: there were more images when {self.answers} was written; bring them back")

        def read(wanted: Rows) -> Iterator[Item]:
            return there.read(rows[wanted])

        def version(wanted: Rows) -> str:
            return there.version(rows[wanted])

        labels = np.array(known.labels[part], dtype=np.int64)
        files = tuple(there.files[row] for row in rows) if there.files else ()
        return Listing(f"{self.images}, {part}", known.classes, labels, read, files, version=version, sparse=True)

    @property
    def has_val(self) -> bool:
        """Images to judge by while it is pruned are named too."""
        return True

    def location(self) -> Path:
        """The folder of the images."""
        return self.images


def unlabelled(folder: Path) -> Listing:
    """All images of a folder, in the order of their paths; none has a class.

    Raises:
        CpgError: there are none.
    """
    if not folder.is_dir():
        raise CpgError(f"{folder}: there is no such folder; expected one with images")
    tables = sorted(folder.rglob("*.parquet"))
    files = [] if tables else [path for path in sorted(folder.rglob("*")) if path.is_file() and is_image(path)]
    if not tables and not files:
        raise CpgError(f"{folder}: there are no images in it")
    count = sum(pq.read_metadata(table).num_rows for table in tables) or len(files)

    def read(rows: Rows) -> Iterator[Item]:
        return read_images(tables, COLUMN, rows) if tables else (Item(str(files[row]), files[row]) for row in rows)

    def version(rows: Rows) -> str:
        found = stamps(tables or [files[row] for row in rows], folder)
        return found and f"{found}\n{rows.tolist()}"

    return Listing(str(folder), (), np.full(count, -1), read, tuple(files), version=version)


SOURCE = ImitationSource
