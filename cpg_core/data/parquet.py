"""Parquet files in the layout of the Hugging Face hub."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cpg_core.config.suggestions import did_you_mean
from cpg_core.data.decode import decode
from cpg_core.data.fields import ParquetSource, Part
from cpg_core.data.listing import Listing, Pixels, Rows
from cpg_core.errors import CpgError

DOWNLOADS = Path("data/raw")


def list_parquet(source: ParquetSource, part: Part) -> Listing:
    """List one part of the data set; only the label column is read."""
    folder = find_folder(source)
    files = _shards(folder, part)
    names, labels = _read_labels(files, source.label)

    def read(rows: Rows, channels: int) -> Iterator[Pixels]:
        return _read_images(files, source.image, rows, channels)

    return Listing(f"{folder}, {part} part", names, labels, read)


def find_folder(source: ParquetSource) -> Path:
    """The folder that holds the files, which are downloaded if they are nowhere."""
    if source.folder is not None:
        return source.folder
    assert source.subfolder is not None  # the model has checked it
    target = DOWNLOADS / source.subfolder
    roots = [os.environ[source.env]] if source.env and os.environ.get(source.env) else []
    places = [*(Path(root) / source.subfolder for root in roots), target]
    for place in places:
        if all(_matches(place, part) for part in ("train", "test")):
            return place
    looked = "found no train-*.parquet with test-*.parquet in " + " or ".join(map(str, places))
    if source.repo is None:
        raise CpgError(f"{looked}; put them there, or name a repo to download them from")
    return _download(source.repo, target, looked)


def _download(repo: str, target: Path, looked: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        snapshot_download(repo, repo_type="dataset", local_dir=target, allow_patterns="*.parquet")
    except (OSError, HfHubHTTPError) as error:
        raise CpgError(
            f"{looked}, and cannot download the data set '{repo}' ({type(error).__name__}: {error}); "
            "check its name and the network, or put the files there by hand"
        ) from error
    return target


def _matches(folder: Path, part: Part) -> list[Path]:
    return sorted(p for p in folder.rglob("*.parquet") if re.match(rf"{part}[-.]", p.name))


def _shards(folder: Path, part: Part) -> list[Path]:
    """The files of one part, complete and in order."""
    files = _matches(folder, part)
    if not files:
        raise CpgError(f"{folder}: there is no {part}-*.parquet; put the {part} files there or correct the folder")
    if len(homes := {file.parent for file in files}) > 1:
        raise CpgError(f"{folder}: {part} files lie in {' and '.join(map(str, sorted(homes)))}; name one as the folder")
    told = re.search(r"-of-(\d+)\.parquet$", files[0].name)
    if told and int(told[1]) != len(files):
        raise CpgError(f"{folder}: has {len(files)} of the {int(told[1])} {part} files; fetch the missing ones")
    return files


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise CpgError(
            f"{file}: cannot read this parquet file ({error}); it may be cut short, fetch it again"
        ) from error


def _need_column(file: Path, schema: pa.Schema, column: str) -> None:
    if column not in schema.names:
        raise CpgError(
            f"{file}: there is no column '{column}'{did_you_mean(column, schema.names)} "
            f"Columns: {', '.join(schema.names)}. Set image and label of the source."
        )


def _read_labels(files: list[Path], column: str) -> tuple[tuple[str, ...], Rows]:
    """Class names of the source, and the class number of every row (-1: none)."""
    values: list[object] = []
    for file in files:
        with _naming(file), pq.ParquetFile(file) as parquet:
            schema = parquet.schema_arrow
            _need_column(file, schema, column)
            values.extend(parquet.read(columns=[column])[column].to_pylist())
    if names := _class_names(schema, column):
        return names, np.array([-1 if value is None else value for value in values], dtype=np.int64)
    present = [value for value in values if value is not None]
    if not all(isinstance(value, int | str) for value in present):
        raise CpgError(f"{files[0]}: column '{column}' holds neither class numbers nor names; set label of the source")
    names = tuple(sorted({str(value) for value in present}))
    number = {name: place for place, name in enumerate(names)}
    return names, np.array([number.get(str(value), -1) for value in values], dtype=np.int64)


def _class_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """The names that the Hugging Face metadata gives to the numbers of a label column; () if it gives none."""
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    return tuple(metadata.get("info", {}).get("features", {}).get(column, {}).get("names") or ())


def _read_images(files: list[Path], column: str, rows: Rows, channels: int) -> Iterator[Pixels]:
    """Decode the wanted rows, counted over all files; row groups without any are not read."""
    first = 0
    for file in files:
        with _naming(file), pq.ParquetFile(file) as parquet:
            leaf = _image_leaf(file, parquet.schema_arrow, column)
            for group in range(parquet.num_row_groups):
                count = parquet.metadata.row_group(group).num_rows
                wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + count)]
                first += count
                if not len(wanted):
                    continue
                cells = parquet.read_row_group(group, columns=[leaf])[column].combine_chunks()
                content = pc.struct_field(cells, "bytes") if leaf != column else cells
                for row, encoded in zip(wanted, content.take(wanted - (first - count)).to_pylist(), strict=True):
                    yield decode(encoded or b"", channels, f"{file}, row {row} of the {len(files)} file(s)")


def _image_leaf(file: Path, schema: pa.Schema, column: str) -> str:
    """The column that holds encoded images: itself, or the `bytes` of the Hugging Face struct."""
    _need_column(file, schema, column)
    kind = schema.field(column).type
    if pa.types.is_struct(kind) and "bytes" in [kind.field(place).name for place in range(kind.num_fields)]:
        return f"{column}.bytes"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return column
    raise CpgError(f"{file}: column '{column}' holds {kind}, not encoded images; set image of the source")
