"""Links to folders: followed by every reader, entered once, and missed where what they lead to is gone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cpg_core.data.reading.hidden import below, walk
from cpg_core.data.sources.folder import list_classes
from cpg_core.recall.image_files import find

Tells = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of two images, one of them a link to a folder that lies elsewhere."""
    for home in (tmp_path / "images/cat", tmp_path / "disk/dog"):
        home.mkdir(parents=True)
        for k in range(2):
            Image.fromarray(np.full((8, 8, 3), k, np.uint8)).save(home / f"{k}.png")
    (tmp_path / "images/dog").symlink_to(tmp_path / "disk/dog")
    return tmp_path / "images"


def test_every_reader_follows_them(folder: Path) -> None:
    files = [folder / name for name in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")]
    assert list(list_classes(folder).files) == files
    assert below(folder, ".png") == files
    assert find([folder]) == (tuple(files), ())


@pytest.mark.parametrize(("target", "more"), [(".", []), ("..", ["cat/loop/dog/0.png", "cat/loop/dog/1.png"])])
def test_no_folder_is_entered_twice(folder: Path, target: str, more: list[str]) -> None:
    (folder / "cat/loop").symlink_to(target)
    listing = list_classes(folder, subfolders=True)
    labelled = zip(listing.files, listing.labels, strict=True)
    of_cat = [file.relative_to(folder).as_posix() for file, label in labelled if label == 0]
    assert of_cat == ["cat/0.png", "cat/1.png", *more]
    assert sum(left.number for left in listing.left_out if "taken already" in left.reason) == 1
    assert len(find([folder / "cat"]).files) == len(of_cat)
    assert len(list(walk(folder, pytest.fail))) == 4


def test_a_class_whose_disk_is_not_there_is_missed(folder: Path, tells: Tells) -> None:
    (folder.parent / "disk").rename(folder.parent / "elsewhere")
    with tells(str(folder / "dog"), str(folder.parent / "disk/dog"), "is not there", "bring that back"):
        list_classes(folder)
