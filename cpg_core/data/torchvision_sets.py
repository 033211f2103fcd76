"""The data sets of torchvision, by class name."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from cpg_core.config.suggestions import did_you_mean
from cpg_core.data.decode import to_pixels
from cpg_core.data.fields import Part, TorchvisionSource
from cpg_core.data.listing import Listing, Pixels, Rows
from cpg_core.errors import CpgError


def list_torchvision(source: TorchvisionSource, part: Part) -> Listing:
    """List one part of the data set, downloaded if it is not there."""
    where = f"torchvision {source.dataset}, {part} part"
    dataset = _open(source, part, where)
    labels = _labels(dataset)
    names = tuple(", ".join(n) if isinstance(n, tuple) else str(n) for n in getattr(dataset, "classes", ()))

    def read(rows: Rows, channels: int) -> Iterator[Pixels]:
        for row in rows:
            image = dataset[int(row)][0]
            if not isinstance(image, Image.Image):
                raise CpgError(f"{where}: row {row} is a {type(image).__name__}, not an image; choose another data set")
            yield to_pixels(image, channels)

    return Listing(where, names or tuple(map(str, range(labels.max() + 1))), labels, read)


def _open(source: TorchvisionSource, part: Part, where: str) -> Any:  # noqa: ANN401  (torchvision is untyped)
    from torchvision import datasets

    if source.dataset not in datasets.__all__:
        hint = did_you_mean(source.dataset, datasets.__all__)
        raise CpgError(f"source, dataset: torchvision.datasets has no '{source.dataset}'{hint}")
    kind = getattr(datasets, source.dataset)
    takes = inspect.signature(kind).parameters
    if "train" in takes or "split" in source.args:  # EMNIST calls something else its split
        which: dict[str, Any] = {"train": part == "train"}
    elif "split" in takes:
        which = {"split": source.split_names[part == "test"]}
    else:
        raise CpgError(f"{where}: this data set has no train and test parts; use a source of kind folder or parquet")
    download = {"download": True} if "download" in takes else {}
    try:
        return kind(root=str(source.root), **which, **download, **source.args)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise CpgError(
            f"{where}: cannot open or download it into {source.root} ({error}); check args, disk and net"
        ) from error


def _labels(dataset: Any) -> Rows:  # noqa: ANN401
    """Labels of all rows, from the attribute that most data sets have; else by decoding every row."""
    for attribute in ("targets", "labels", "_labels"):
        if hasattr(dataset, attribute):
            return np.asarray(getattr(dataset, attribute), dtype=np.int64)
    return np.array([dataset[row][1] for row in range(len(dataset))], dtype=np.int64)
