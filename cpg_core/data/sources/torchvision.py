"""The data sets of torchvision, by class name."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from cpg_core.config.suggestions import did_you_mean
from cpg_core.data.fields import DOWNLOADED, Part, Place
from cpg_core.data.reading.decode import Unreadable
from cpg_core.data.reading.listing import Item, LeftOut, Listing, Rows
from cpg_core.data.sources import Source
from cpg_core.errors import CpgError


class TorchvisionSource(Source):
    """A class of `torchvision.datasets` by name, downloaded into `root` when it is not there.

    A dataset that takes `train=` is asked for True and False; one that takes `split=` for `split_names` (train, test,
    and a third to validate on, if there is one).
    `args` go to the dataset as they are.
    """

    kind: Literal["torchvision"]
    dataset: str
    root: Place = DOWNLOADED
    split_names: Annotated[tuple[str, ...], Field(min_length=2, max_length=3)] = ("train", "test")
    args: dict[str, str | int | float | bool] = Field(default_factory=dict)

    def list_part(self, part: Part) -> Listing:
        """List one part of the data set, downloaded if it is not there."""
        where = f"torchvision {self.dataset}, {part} part"
        dataset = _open(self, part, where)
        labels = _labels(dataset, where)
        names = tuple(", ".join(n) if isinstance(n, tuple) else str(n) for n in getattr(dataset, "classes", ()))
        names = names or tuple(map(str, range(int(labels.max(initial=-1)) + 1)))
        odd = (labels < 0) | (labels >= len(names))

        def read(rows: Rows) -> Iterator[Item]:
            for row in rows:
                yield Item(f"{where}, row {row}", _image(dataset, int(row), f"{where}, row {row}"))

        left_out = (LeftOut(None, int(odd.sum()), f"labelled outside 0..{len(names) - 1}"),) if odd.any() else ()
        return Listing(where, names, np.where(odd, -1, labels), read, left_out=left_out)

    @property
    def has_val(self) -> bool:
        """Whether a third split is named."""
        return len(self.split_names) > 2

    def location(self) -> Path:
        """Where it is downloaded to."""
        return self.root


def _image(dataset: Any, row: int, where: str) -> Image.Image | CpgError:  # noqa: ANN401  (torchvision is untyped)
    try:
        image = dataset[row][0]
    except Exception as error:  # which reads files of any format
        return Unreadable(f"{where}: cannot be read ({type(error).__name__}: {error}); fetch the data set again")
    if isinstance(image, Image.Image):
        return image
    return Unreadable(f"{where}: is a {type(image).__name__}, not an image; choose another data set")


def _open(source: TorchvisionSource, part: Part, where: str) -> Any:  # noqa: ANN401
    from torchvision import datasets

    if source.dataset not in datasets.__all__:
        hint = did_you_mean(source.dataset, datasets.__all__)
        raise CpgError(f"source, dataset: torchvision.datasets has no '{source.dataset}'{hint}")
    kind = getattr(datasets, source.dataset)
    takes = inspect.signature(kind).parameters
    if "train" in takes or "split" in source.args:  # EMNIST calls something else its split
        if part == "val":
            raise CpgError(f"{where}: this data set has no such part; leave the third of split_names out")
        which: dict[str, Any] = {"train": part == "train"}
    elif "split" in takes:
        which = {"split": source.split_names[("train", "test", "val").index(part)]}
    else:
        raise CpgError(f"{where}: this data set has no train and test parts; use a source of kind folder or parquet")
    download = {"download": True} if "download" in takes else {}
    try:
        return kind(root=str(source.root), **which, **download, **source.args)
    except Exception as error:  # a class of its own a data set, each with its own files and needs
        raise CpgError(
            f"{where}: cannot open or download it into {source.root} ({type(error).__name__}: {error}); "
            "check args, disk and net"
        ) from error


def _labels(dataset: Any, where: str) -> Rows:  # noqa: ANN401
    """Labels of all rows, from the attribute that most data sets have; else by decoding every row."""
    try:
        for attribute in ("targets", "labels", "_labels"):
            if getattr(dataset, attribute, None) is not None:
                return _numbers(getattr(dataset, attribute))
        return _numbers([dataset[row][1] for row in range(len(dataset))])
    except Exception as error:
        raise CpgError(
            f"{where}: its labels are not one class number an image ({error}); choose another data set, or a source "
            "of kind folder or parquet"
        ) from error


def _numbers(values: Any) -> Rows:  # noqa: ANN401
    labels = np.asarray(values)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{labels.dtype} of shape {list(labels.shape)}")
    return labels.astype(np.int64)


SOURCE = TorchvisionSource
