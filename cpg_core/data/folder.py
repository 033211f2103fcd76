"""Image files in one folder a class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cpg_core.data.decode import decode
from cpg_core.data.fields import FolderSource, Part
from cpg_core.data.listing import Listing, Pixels, Rows
from cpg_core.errors import CpgError

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".jp2", ".tga", ".ico")
)


def list_folder(source: FolderSource, part: Part) -> Listing:
    """List `folder/<part>/CLASS/*`."""
    return list_classes(source.folder / part)


def list_classes(folder: Path) -> Listing:
    """List `folder/CLASS/*` in the order of class and file names; hidden files and other suffixes are no images."""
    if not folder.is_dir():
        raise CpgError(f"{folder}: there is no such folder; expected one folder a class in it, with images")
    homes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not homes:
        raise CpgError(f"{folder}: there are no class folders in it; expected {folder}/CLASS/image.png and so on")
    found = [(label, file) for label, home in enumerate(homes) for file in sorted(home.iterdir()) if _is_image(file)]
    labels = np.array([label for label, _ in found], dtype=np.int64)
    files = tuple(file for _, file in found)

    def read(rows: Rows, channels: int) -> Iterator[Pixels]:
        return (decode(files[row], channels, str(files[row])) for row in rows)

    return Listing(str(folder), tuple(home.name for home in homes), labels, read, files)


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
