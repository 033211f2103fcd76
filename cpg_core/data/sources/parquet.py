"""Parquet files in the layout of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AfterValidator, Field, model_validator

from cpg_core.config.suggestions import did_you_mean
from cpg_core.data.fields import AS_USUAL, Part, Place, Splits, is_as_usual
from cpg_core.data.hub import find_folder, hub_name
from cpg_core.data.labels import read_labels
from cpg_core.data.reading.decode import Unreadable
from cpg_core.data.reading.listing import Item, Listing, Rows
from cpg_core.data.reading.stamps import stamps
from cpg_core.data.shards import others, shards
from cpg_core.data.sources import Source
from cpg_core.errors import CpgError

ROWS_AT_ONCE = 16
"""Encoded images in memory together; a row group may hold gigabytes of them."""


class ParquetSource(Source):
    """Parquet files in the layout of the Hugging Face hub: `train-*.parquet`, `test-*.parquet`, or as
    `splits` says that their names begin.

    Either `folder` holds them; or they are looked for in `$<env>/<subfolder>`, then in `data/raw/<subfolder>` of the
    working directory, and downloaded there from the hub's `repo` if they are in neither.
    """

    kind: Literal["parquet"]
    folder: Place | None = None
    repo: Annotated[str, AfterValidator(hub_name)] | None = None
    env: str | None = None
    subfolder: str | None = None
    image: str = "image"
    label: str = "label"
    splits: Splits = Field(default=AS_USUAL, exclude_if=is_as_usual)

    @model_validator(mode="after")
    def _one_place(self) -> ParquetSource:
        if self.folder is not None and (self.repo or self.env or self.subfolder):
            raise ValueError("give either folder alone, or repo / env / subfolder")
        if self.folder is None and self.subfolder is None:
            raise ValueError("give folder (where the files are), or subfolder with env and/or repo")
        return self

    def list_part(self, part: Part) -> Listing:
        """List one part of the data set; only the label column is read."""
        folder = self.location()
        files = shards(folder, part, self.splits)
        schemas, columns = [], []
        for file in files:
            with opened(file) as parquet:
                schemas.append(parquet.schema_arrow)
                need_column(file, schemas[-1], self.label)
                need_column(file, schemas[-1], self.image)
                columns.append(parquet.read(columns=[self.label])[self.label])
        names, labels, left_out = read_labels(files, schemas, columns, self.label)

        def read(rows: Rows) -> Iterator[Item]:
            return read_images(files, self.image, rows)

        def version(rows: Rows) -> str:
            found = stamps(files, folder)
            return found and f"{found}\n{self.image} of {rows.tolist()}"

        def column(name: str) -> list[object]:
            return _values(files, name)

        def paths() -> list[str]:
            return [str(path or "") for path in _values(files, f"{self.image}.path")]

        kept = schemas[0].field(self.image).type
        has_paths = pa.types.is_struct(kept) and kept.get_field_index("path") >= 0
        return Listing(
            f"{folder}, {part} part",
            names,
            labels,
            read,
            left_out=left_out,
            version=version,
            paths=paths if has_paths else None,
            column=column,
        )

    @property
    def has_val(self) -> bool:
        """Whether `splits` names files to validate on."""
        return self.splits.val is not None

    def location(self) -> Path:
        """The folder that holds the files, which are downloaded if they are nowhere."""
        if self.folder is not None:
            return self.folder
        assert self.subfolder is not None  # `_one_place` has checked it
        return find_folder(self.subfolder, self.env, self.repo, self.splits)

    def unused(self) -> tuple[str, ...]:
        """Files of other parts."""
        return others(self.location(), self.splits)


@contextmanager
def opened(file: Path) -> Iterator[pq.ParquetFile]:
    """A parquet file, open inside the block.

    Raises `CpgError` naming it, for whatever goes wrong with the file inside the block.
    """
    try:
        parquet = pq.ParquetFile(file)
    except Exception as error:  # a file that is cut short has lost its end, which is read first
        raise CpgError(
            f"{file}: cannot read this parquet file ({_said(error)}); it may be cut short, fetch it again"
        ) from error
    try:
        with parquet:
            yield parquet
    except CpgError:
        raise
    except Exception as error:
        raise CpgError(
            f"{file}: cannot read this parquet file ({_said(error)}); it is damaged, or written in a way that "
            f"pyarrow {pa.__version__} cannot read"
        ) from error


def need_column(file: Path, schema: pa.Schema, column: str) -> None:
    """Raise `CpgError` if a file has no such column."""
    if column not in schema.names:
        raise CpgError(
            f"{file}: there is no column '{column}'{did_you_mean(column, schema.names)} "
            f"Columns: {', '.join(schema.names)}. Set image and label of the source."
        )


def _values(files: list[Path], column: str) -> list[object]:
    """A column over all files; `image.path` is one inside a struct."""
    values: list[object] = []
    outer, _, inner = column.partition(".")
    for file in files:
        with opened(file) as parquet:
            whole = column in parquet.schema_arrow.names
            need_column(file, parquet.schema_arrow, column if whole else outer)
            cells = parquet.read(columns=[column])[column if whole else outer].to_pylist()
            values += cells if whole else [cell and cell[inner] for cell in cells]
    return values


def read_images(files: list[Path], column: str, rows: Rows) -> Iterator[Item]:
    """The wanted rows, counted over all files; row groups without any are not read."""
    first = 0
    for file in files:
        with opened(file) as parquet:
            leaf = _image_leaf(file, parquet.schema_arrow, column)
            for group in range(parquet.num_row_groups):
                count = parquet.metadata.row_group(group).num_rows
                wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + count)] - first
                for row, encoded in _cells(parquet, group, leaf, wanted) if len(wanted) else ():
                    where = f"{file}, row {first + row} of the {len(files)} file(s)"
                    yield Item(where, encoded or Unreadable(f"{where}: holds no image; remove the row"))
                first += count


def _cells(parquet: pq.ParquetFile, group: int, leaf: str, wanted: Rows) -> Iterator[tuple[int, bytes | None]]:
    """The wanted rows of one row group, ascending, a few in memory at a time."""
    start = 0
    for batch in parquet.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=[leaf]):
        cells = batch.column(0)
        content = cells.field("bytes") if isinstance(cells, pa.StructArray) else cells
        inside = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, start + len(batch))]
        for row in inside.tolist():
            yield row, content[row - start].as_py()
        start += len(batch)


def _image_leaf(file: Path, schema: pa.Schema, column: str) -> str:
    """The column that holds encoded images: itself, or the `bytes` of the Hugging Face struct."""
    need_column(file, schema, column)
    kind = schema.field(column).type
    if pa.types.is_struct(kind) and "bytes" in [kind.field(place).name for place in range(kind.num_fields)]:
        return f"{column}.bytes"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return column
    raise CpgError(f"{file}: column '{column}' holds {kind}, not encoded images; set image of the source")


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


SOURCE = ParquetSource
