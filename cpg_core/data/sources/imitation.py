"""Unlabelled images, labelled by what a pretrained network answered: accuracy on them is agreement with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field

from cpg_core.config.paths import require_utf8
from cpg_core.config.schema import Strict, is_none
from cpg_core.data.fields import Part, Place
from cpg_core.data.labels import read_labels
from cpg_core.data.reading.decode import is_image
from cpg_core.data.reading.hidden import below, naming, walk
from cpg_core.data.reading.listing import Item, Listing, Rows
from cpg_core.data.reading.stamps import stamps
from cpg_core.data.sources import Source
from cpg_core.data.sources.parquet import need_column, opened, read_images
from cpg_core.errors import CpgError

COLUMN = "image"
"""Of parquet files."""
NOISE, NOISE_SIDE = 20, 64
"""How many images of noise stand for images where there are none, and their pixels a side."""


class Answers(Strict):
    """What an import writes: the network's classes, and of each part which images, with the class answered.

    Attributes:
        classes: all that the network tells apart; not each of them needs an image.
        rows: of each part, places among the images in the order of their names, ascending.
        labels: of each part, places in `classes`.
        names: of all images in that order, inside the folder; of parquet files, each with its number of rows; (): of
            noise, or not known.
        version: of the images that were answered to, as a `Listing` has it; "": not known.
    """

    classes: tuple[str, ...]
    rows: dict[Part, tuple[int, ...]]
    labels: dict[Part, tuple[int, ...]]
    names: tuple[str, ...] = ()
    version: str = ""


class ImitationSource(Source):
    """The images of a folder, at any depth, or of its parquet files, and the answers to them.

    Attributes:
        images: the folder; None: a few images of noise.
        answers: the file of the answers; None in a sequence, whose run writes them.
        label: of parquet files, a column with what the images show, to measure accuracy by once the task is learned.
            Its values in order are the network's classes in order, as the synsets of ImageNet are.
    """

    kind: Literal["imitation"]
    images: Place | None = Field(default=None, exclude_if=is_none)
    answers: Place | None = Field(default=None, exclude_if=is_none)
    label: str | None = Field(default=None, exclude_if=is_none)

    def known(self) -> Answers:
        """The answers.

        Raises:
            CpgError: there are none.
        """
        if self.answers is None:
            raise CpgError(
                "source of kind imitation: it is for the first task of a sequence alone, whose backbone has weights"
            )
        try:
            return Answers.model_validate(json.loads(self.answers.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise CpgError(
                f"{self.answers}: expected a network's answers; give the command again that made the run, which "
                "writes them"
            ) from error

    def list_part(self, part: Part) -> Listing:
        """The images of a part, whatever has come to lie beside them since.

        Raises:
            CpgError: there are no answers, or images of the part that were answered to are gone.
        """
        known = self.known()
        rows = np.array(known.rows[part], dtype=np.int64)
        there = self._answered(known, rows)
        if len(rows) and rows[-1] >= len(there.labels):
            raise CpgError(f"{self.images}: there were more images when {self.answers} was written; bring them back")

        def read(wanted: Rows) -> Iterator[Item]:
            return there.read(rows[wanted])

        def version(wanted: Rows) -> str:
            return there.version(rows[wanted])

        labels = np.array(known.labels[part], dtype=np.int64)
        files = tuple(there.files[row] for row in rows) if there.files else ()
        return Listing(f"{self.images}, {part}", known.classes, labels, read, files, version=version, sparse=True)

    def _answered(self, known: Answers, rows: Rows) -> Listing:
        """The images that were answered to, in that order; those of `rows` are there."""
        if self.images is None or not known.names:
            return unlabelled(self.images)
        if _of_tables(known.names):
            if _names_of_tables(self.images, _tables(self.images)) != known.names:
                raise CpgError(f"{self.images}: its parquet files are not those that {self.answers} is of")
            return _in_tables(self.images, _tables(self.images))
        files = [self.images / name for name in known.names]
        if gone := [files[row] for row in rows if not files[row].is_file()]:
            raise CpgError(
                f"{gone[0]}: there is no such file; the pretrained network was judged by it, and {len(gone)} such "
                "image(s) are gone: bring them back"
            )
        return _of_files(self.images, files)

    @property
    def has_val(self) -> bool:
        """Images to judge by while it is pruned are named too."""
        return True

    @property
    def imitates(self) -> bool:
        """Its labels are answers."""
        return True

    def true_labels(self, part: Part) -> Rows | None:
        """The classes that the images of a part are of, by the column `label`; -1: it has none."""
        if self.label is None:
            return None
        tables = _tables(self.images) if self.images else []
        if not tables:
            raise CpgError(f"{self.images}: label names a column of parquet files, and there are none; leave it out")
        schemas, columns = [], []
        for file in tables:
            with opened(file) as table:
                schemas.append(table.schema_arrow)
                need_column(file, schemas[-1], self.label)
                columns.append(table.read(columns=[self.label])[self.label])
        names, labels, _ = read_labels(tables, schemas, columns, self.label)
        known = self.known()
        if len(names) != len(known.classes):
            raise CpgError(
                f"{self.images}: column {self.label} tells {len(names)} classes apart and the network "
                f"{len(known.classes)}; leave label out"
            )
        if all(name.isdecimal() for name in names):  # numbers are in order as numbers
            ranks = np.argsort(np.argsort([int(name) for name in names]))
            labels = np.where(labels < 0, labels, ranks[labels])
        found: Rows = labels[np.array(known.rows[part], dtype=np.int64)]
        return found

    def location(self) -> Path | None:
        """The folder of the images."""
        return self.images


def unlabelled(folder: Path | None) -> Listing:
    """All images of a folder, in the order of their paths; none has a class. Without a folder, images of noise.

    Raises:
        CpgError: there are none, or both image files and parquet files.
    """
    if folder is None:
        return _noise()
    if not folder.is_dir():
        raise CpgError(f"{folder}: there is no such folder; expected one with images")
    tables = _tables(folder)
    there = (path for path in walk(folder, _unlisted) if path.is_file() or path.is_symlink())
    files = sorted(path for path in there if is_image(path))  # a link to nothing is named when images are read
    require_utf8(files)
    if files and tables:
        raise CpgError(
            f"{folder}: it holds {len(files)} image file(s), such as {files[0].name}, and {len(tables)} parquet "
            f"file(s), such as {tables[0].name}; put those that are meant into a folder of their own"
        )
    if not files and not tables:
        raise CpgError(f"{folder}: there are no images in it")
    return _of_files(folder, files) if files else _in_tables(folder, tables)


def _in_tables(folder: Path, tables: list[Path]) -> Listing:
    """All rows of these parquet files of a folder, none of which has a class."""
    count = sum(_rows_of(table) for table in tables)

    def read(rows: Rows) -> Iterator[Item]:
        return read_images(tables, COLUMN, rows)

    def version(rows: Rows) -> str:
        return _stamped(tables, folder, rows)

    return Listing(str(folder), (), np.full(count, -1), read, version=version)


def _unlisted(error: OSError) -> None:
    with naming(Path(error.filename)):
        raise error


def names_in(images: Listing, folder: Path | None) -> tuple[str, ...]:
    """What `Answers` call all images of a folder that `unlabelled` listed."""
    if folder is None:
        return ()
    if images.files:
        return tuple(file.relative_to(folder).as_posix() for file in images.files)
    return _names_of_tables(folder, _tables(folder))


def _names_of_tables(folder: Path, tables: list[Path]) -> tuple[str, ...]:
    return tuple(f"{table.relative_to(folder).as_posix()}: {_rows_of(table)}" for table in tables)


def _of_tables(names: tuple[str, ...]) -> bool:
    """Whether images have the names that `names_in` gives those of parquet files."""
    return any(re.search(r"\.parquet: \d+$", name) for name in names)


def _of_files(folder: Path, files: list[Path]) -> Listing:
    """These images of a folder, none of which has a class."""

    def read(rows: Rows) -> Iterator[Item]:
        return (Item(str(files[row]), files[row]) for row in rows)

    def version(rows: Rows) -> str:
        return _stamped([files[row] for row in rows], folder, rows)

    return Listing(str(folder), (), np.full(len(files), -1), read, tuple(files), version=version)


def _stamped(files: list[Path], folder: Path, rows: Rows) -> str:
    """The version of rows that lie in these files of a folder."""
    found = stamps(files, folder)
    return found and f"{found}\n{rows.tolist()}"


def _tables(folder: Path) -> list[Path]:
    tables = below(folder, ".parquet")
    require_utf8(tables)
    return tables


def _rows_of(table: Path) -> int:
    with opened(table) as parquet:
        return int(parquet.metadata.num_rows)


def _noise() -> Listing:
    """The same few images for ever: NumPy promises these bits of its generator, and not those of its draws."""
    size = NOISE * NOISE_SIDE * NOISE_SIDE * 3
    drawn = np.random.PCG64(0).random_raw(size // 8).astype("<u8").view(np.uint8)
    pixels = drawn.reshape(NOISE, NOISE_SIDE, NOISE_SIDE, 3)

    def read(rows: Rows) -> Iterator[Item]:
        return (Item(f"image {row} of noise", Image.fromarray(pixels[row])) for row in rows)

    return Listing("noise", (), np.full(NOISE, -1), read, version=lambda rows: f"noise {rows.tolist()}")


SOURCE = ImitationSource
