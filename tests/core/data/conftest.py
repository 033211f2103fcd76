"""Tiny data sets, written where a test asks for them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cpg_core.errors import CpgError


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def pixels_of(row: int, size: int = 4) -> np.ndarray:
    """RGB pixels that tell rows apart."""
    return np.full((size, size, 3), (row, 100, 200), dtype=np.uint8)


@pytest.fixture
def tells() -> Callable[..., AbstractContextManager[None]]:
    """`with tells("a", "b"):` expects a `CpgError` whose message has all of these words."""

    @contextmanager
    def expect(*words: str) -> Iterator[None]:
        with pytest.raises(CpgError) as error:
            yield
        for word in words:
            assert word in str(error.value)

    return expect


@pytest.fixture
def write_parquet() -> Callable[..., Path]:
    """Write labels (numbers with names in the metadata) and images in the layout of the Hugging Face hub."""

    def write(path: Path, labels: list[int], names: list[str], first: int = 0, group: int = 3) -> Path:
        images = [{"bytes": png(pixels_of(first + k)), "path": f"{k}.png"} for k in range(len(labels))]
        table = pa.table(
            {
                "image": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
                "label": pa.array(labels, pa.int64()),
            }
        )
        features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=group)
        return path

    return write
