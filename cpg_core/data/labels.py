"""The label column of parquet files -> class names and a class number a row."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cpg_core.data.reading.listing import LeftOut, Rows
from cpg_core.errors import CpgError

Found = tuple[tuple[str, ...], Rows, tuple[LeftOut, ...]]
UNLABELLED = "without a label"


def read_labels(files: list[Path], schemas: list[pa.Schema], columns: list[pa.ChunkedArray], column: str) -> Found:
    """Class names of the source, the class number of every row over all files (-1: none), and what has none.

    Without names in the metadata of the files, the values themselves are the names, in order.

    Raises `CpgError`: the metadata is damaged or differs between files, or the column holds no labels.
    """
    named = [_class_names(file, schema, column) for file, schema in zip(files, schemas, strict=True)]
    for file, names in zip(files, named, strict=True):
        if names != named[0]:
            raise CpgError(
                f"{files[0]} and {file} name the classes of column '{column}' differently: {_shown(named[0])} and "
                f"{_shown(names)}; write both with the same names in the same order"
            )
    values = [_plain(file, value, column) for file, cells in zip(files, columns, strict=True) for value in _list(cells)]
    if named[0]:
        return _numbered(named[0], values)
    names = tuple(sorted({str(value) for value in values if value is not None}))
    return _numbered(names, [None if value is None else str(value) for value in values])


def _numbered(names: tuple[str, ...], values: Sequence[int | str | None]) -> Found:
    place: dict[int | str, int] = {name: number for number, name in enumerate(names)}
    place |= {number: number for number in range(len(names))}
    labels = np.array([-1 if value is None else place.get(value, -1) for value in values], dtype=np.int64)
    missing = Counter(
        UNLABELLED if value is None else f"labelled {value!r}, which is none of the {len(names)} classes"
        for value, label in zip(values, labels, strict=True)
        if label == -1
    )
    return names, labels, tuple(LeftOut(None, count, why) for why, count in sorted(missing.items()))


def _class_names(file: Path, schema: pa.Schema, column: str) -> tuple[str, ...]:
    """The names that the Hugging Face metadata gives to the numbers of a label column; () if it gives none."""
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        names = _inner(_inner(_inner(json.loads(text), "info"), "features"), column).get("names") or []
        if isinstance(names, dict):  # as some writers have it: {"0": "cat", "1": "dog"}
            names = [names[str(number)] for number in range(len(names))]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"the names of '{column}' are {str(names)[:80]}")
        if len(set(names)) < len(names):
            raise ValueError(f"a class of '{column}' is named twice")
    except (ValueError, KeyError) as error:  # of which faults of JSON and of UTF-8 are kinds
        raise CpgError(
            f"{file}: its Hugging Face metadata are damaged ({error}); fetch the file again, or write it without them"
        ) from error
    return tuple(names)


def _inner(content: object, key: str) -> dict[str, Any]:
    """A mapping inside a mapping, empty if there is none."""
    if not isinstance(content, dict):
        raise ValueError(f"a mapping is expected around '{key}', found {str(content)[:80]}")
    inner = content.get(key)
    if inner is None:
        return {}
    if not isinstance(inner, dict):
        raise ValueError(f"'{key}' is {str(inner)[:80]}")
    return inner


def _list(cells: pa.ChunkedArray) -> list[object]:
    values: list[object] = cells.to_pylist()
    return values


def _plain(file: Path, value: object, column: str) -> int | str | None:
    """A label as a whole number or a name; None where there is none (NaN is how tables of numbers write that)."""
    if value is None or isinstance(value, int | str):
        return value
    if isinstance(value, float):
        if np.isnan(value):
            return None
        if value.is_integer():
            return int(value)
    raise CpgError(
        f"{file}: column '{column}' holds neither class numbers nor names, but {str(value)[:40]!r}; "
        "set label of the source"
    )


def _shown(names: tuple[str, ...]) -> str:
    return f"[{', '.join(names[:8])}{', ...' if len(names) > 8 else ''}]" if names else "no names"
