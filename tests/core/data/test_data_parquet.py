"""Parquet files: every shard is asked for its own names and number, and every row that is not taken is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cpg_core.data.reading.load import load
from cpg_core.data.reading.reading import Wanted
from cpg_core.data.shards import shards
from cpg_core.data.sources.parquet import ParquetSource
from cpg_core.data.spec import TaskSpec
from cpg_core.data.summary import part_of
from cpg_core.data.task import load_task_data

from .conftest import pixels_of, png

Tells = Callable[..., AbstractContextManager[None]]
Write = Callable[..., Path]
NAMES = ["cat", "dog"]


def _source(folder: Path) -> ParquetSource:
    return ParquetSource(kind="parquet", folder=folder)


def _rewrite(path: Path, labels: pa.Array | None = None, metadata: object = None) -> None:
    """The same file with other labels, or with other Hugging Face metadata."""
    table = pq.read_table(path)
    kept = table.schema.metadata
    if labels is not None:
        table = table.set_column(1, "label", labels).replace_schema_metadata(kept)
    if metadata is not None:
        text = metadata if isinstance(metadata, str | bytes) else json.dumps(metadata)
        table = table.replace_schema_metadata({"huggingface": text})
    pq.write_table(table, path)


def _features(label: object) -> dict[str, object]:
    return {"info": {"features": {"label": label}}}


def test_what_the_file_system_made_is_no_shard(tmp_path: Path, write_parquet: Write) -> None:
    """Thumbnails lie in folders that are called as the files are."""
    shard = write_parquet(tmp_path / "train.parquet", [0, 1], NAMES)
    (tmp_path / "@eaDir" / "train.parquet").mkdir(parents=True)
    write_parquet(tmp_path / ".cache" / "train-a.parquet", [0, 1], NAMES)
    assert shards(tmp_path, "train") == [shard]


def test_shards_that_name_their_classes_in_another_order_are_refused(
    tmp_path: Path, write_parquet: Write, tells: Tells
) -> None:
    one = write_parquet(tmp_path / "train-00000-of-00002.parquet", [0, 1], NAMES)
    other = write_parquet(tmp_path / "train-00001-of-00002.parquet", [0, 1], NAMES[::-1])
    with tells(str(one), str(other), "[cat, dog] and [dog, cat]"):
        _source(tmp_path).list_part("train")
    _rewrite(other, metadata={})
    with tells(str(one), str(other), "[cat, dog] and no names"):
        _source(tmp_path).list_part("train")


def test_train_and_test_are_matched_by_name(tmp_path: Path, write_parquet: Write) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1] * 3, NAMES)
    write_parquet(tmp_path / "test.parquet", [0, 0, 1], NAMES[::-1])
    data = load_task_data(
        TaskSpec(name="pets", source=_source(tmp_path)), image_size=4, channels=3, val_fraction=0.34, seed=0
    )
    assert data.classes == ("cat", "dog")
    assert data.test.labels.tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["train-00000-of-00003", "train-00002-of-00003"], ["has 2 of the 3 train files", "number 1"]),
        (["train-00000-of-00002", "train-00002-of-00002"], ["number 1"]),
        (["train-00000-of-00001", "train-00001-of-00001"], ["train-00001-of-00001.parquet", "beyond the 1"]),
        (["train-00000-of-00002", "train-00001-of-00003"], ["of different sets"]),
        (["train-00000-of-00001", "train-00000-of-00001-0a1b2c"], ["the same shard"]),
        (["train-00000-of-00001", "train"], ["train.parquet is not"]),
    ],
)
def test_shards_are_counted_by_their_own_numbering(
    tmp_path: Path, names: list[str], told: list[str], tells: Tells
) -> None:
    for name in names:
        (tmp_path / f"{name}.parquet").touch()
    with tells(str(tmp_path), *told):
        shards(tmp_path, "train")


@pytest.mark.parametrize(
    "names",
    [
        ["train-00000-of-00002", "train-00001-of-00002"],
        ["train-00001-of-00002", "train-00002-of-00002"],
        ["train-0-of-11", *(f"train-{k}-of-11" for k in range(1, 11))],
        ["train-00000-of-00001-0a1b2c"],
        ["train-a", "train-b"],
    ],
)
def test_complete_shards_come_in_the_order_of_their_numbers(tmp_path: Path, names: list[str]) -> None:
    for name in reversed(names):
        (tmp_path / f"{name}.parquet").touch()
    assert [file.stem for file in shards(tmp_path, "train")] == names


def test_rows_without_a_class_are_counted_by_reason(tmp_path: Path, write_parquet: Write, tells: Tells) -> None:
    path = write_parquet(tmp_path / "train.parquet", [0] * 9, NAMES)
    _rewrite(path, pa.array([0, 1, 0, 1, 0, 2, -1, None, None], pa.int64()))
    listing = _source(tmp_path).list_part("train")
    assert listing.labels.tolist() == [0, 1, 0, 1, 0, -1, -1, -1, -1]
    (line,) = part_of(listing, NAMES).lines()
    assert "left out: 2 without a label" in line
    assert "1 labelled 2, which is none of the 2 classes" in line
    assert "1 labelled -1" in line
    _rewrite(path, pa.array([0, 1, 0, 1, None, 2, -1, None, None], pa.int64()))
    with tells("more is left out than taken (4 taken)", "3 without a label"):
        part_of(_source(tmp_path).list_part("train"), NAMES)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array([0.0, 1.0, float("nan"), None]), [0, 1, -1, -1]),
        (pa.array(["cat", "dog", None, "owl"]), [0, 1, -1, -1]),
        (pa.array([False, True, True, None]), [0, 1, 1, -1]),
        (pa.array(["cat", "dog", "cat", None]).dictionary_encode(), [0, 1, 0, -1]),
    ],
)
def test_labels_of_any_kind(tmp_path: Path, write_parquet: Write, labels: pa.Array, expected: list[int]) -> None:
    path = write_parquet(tmp_path / "train.parquet", [0] * 4, NAMES)
    _rewrite(path, labels)
    assert _source(tmp_path).list_part("train").labels.tolist() == expected


def test_a_label_that_is_no_whole_number_is_refused(tmp_path: Path, write_parquet: Write, tells: Tells) -> None:
    path = write_parquet(tmp_path / "train.parquet", [0] * 2, NAMES)
    _rewrite(path, pa.array([0.0, 0.5]))
    with tells(str(path), "column 'label'", "'0.5'"):
        _source(tmp_path).list_part("train")


@pytest.mark.parametrize(
    "metadata",
    [
        "{not json",
        b"\xff\xfe",
        "[]",
        {"info": "none"},
        {"info": {"features": []}},
        _features("ClassLabel"),
        _features({"names": [1, 2]}),
        _features({"names": ["cat", "cat"]}),
        _features({"names": {"0": "cat", "5": "dog"}}),
    ],
)
def test_damaged_metadata_are_named(tmp_path: Path, write_parquet: Write, metadata: object, tells: Tells) -> None:
    path = write_parquet(tmp_path / "train.parquet", [0, 1], NAMES)
    _rewrite(path, metadata=metadata)
    with tells(str(path), "Hugging Face metadata are damaged"):
        _source(tmp_path).list_part("train")


def test_names_by_number(tmp_path: Path, write_parquet: Write) -> None:
    path = write_parquet(tmp_path / "train.parquet", [0, 1], NAMES)
    _rewrite(path, metadata=_features({"names": {"0": "ant", "1": "bee"}}))
    assert _source(tmp_path).list_part("train").names == ("ant", "bee")


def test_a_large_row_group_is_read_a_few_rows_at_a_time(tmp_path: Path) -> None:
    """One group of 48 MB, as of a data set of large photos written at once; Arrow cannot even hold one of 2 GB."""
    padding = bytes(2**20)  # after the end of the PNG
    cells = [{"bytes": png(pixels_of(row)) + padding, "path": None} for row in range(48)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(cells, kind), "label": [row % 2 for row in range(48)]})
    how: dict[str, Any] = {"compression": "zstd", "use_dictionary": False, "write_batch_size": 1}  # a page a row
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=48, **how)
    del table, cells
    listing = _source(tmp_path).list_part("train")
    pool = pa.system_memory_pool()
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        images = load(listing, ["1"], Wanted(3, 4)).images
    finally:
        pa.set_memory_pool(before)
    assert np.asarray(images)[:, 0, 0, 0].tolist() == list(range(1, 48, 2))
    peak = pool.max_memory()
    assert peak is not None
    assert peak < 40 * 2**20


def test_a_cell_without_an_image_and_broken_ones_are_named_at_once(
    tmp_path: Path, write_parquet: Write, tells: Tells
) -> None:
    path = write_parquet(tmp_path / "train.parquet", [0, 1, 0, 1], NAMES)
    table = pq.read_table(path)
    cells = table["image"].to_pylist()
    cells[1]["bytes"] = None
    cells[3]["bytes"] = b"no image"
    made = table.set_column(0, "image", pa.array(cells, table.schema.field("image").type))
    pq.write_table(made.replace_schema_metadata(table.schema.metadata), path)
    with tells("2 of 4 images", "row 1 of", "holds no image", "row 3 of", "cannot read this image"):
        load(_source(tmp_path).list_part("train"), NAMES, Wanted(3, 4))


def test_only_a_file_that_is_cut_short_is_called_so(
    tmp_path: Path, write_parquet: Write, monkeypatch: pytest.MonkeyPatch, tells: Tells
) -> None:
    path = write_parquet(tmp_path / "train.parquet", [0, 1], NAMES)
    listing = _source(tmp_path).list_part("train")

    def refuse(*_: object, **__: object) -> None:
        raise pa.ArrowNotImplementedError("Nested data conversions not implemented for chunked array outputs")

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", refuse)
    with pytest.raises(Exception, match="Nested data") as error:
        load(listing, NAMES, Wanted(3, 4))
    assert "cut short" not in str(error.value)
    assert str(path) in str(error.value)
    path.write_bytes(path.read_bytes()[:-9])
    with tells(str(path), "cut short"):
        _source(tmp_path).list_part("train")


def test_a_validation_file_is_said_not_to_be_used(tmp_path: Path, write_parquet: Write) -> None:
    for name in ("train", "test", "validation-00000-of-00001", "unsupervised"):
        write_parquet(tmp_path / f"{name}.parquet", [0, 1], NAMES)
    held, rest = _source(tmp_path).unused()
    assert "held out of train (val_fraction): validation-00000-of-00001.parquet" in held
    assert "only train and test files are: unsupervised.parquet" in rest
