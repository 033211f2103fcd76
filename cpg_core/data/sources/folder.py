"""Image files in one folder a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from cpg_core.data.decode import opens
from cpg_core.data.fields import Part, Place
from cpg_core.data.listing import Item, LeftOut, Listing, Rows
from cpg_core.data.sources import Source
from cpg_core.data.stamps import stamps
from cpg_core.errors import CpgError

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".jp2", ".tga", ".ico")
)
"""Taken without a look. Any other file is taken if it opens as an image."""
OF_THE_SYSTEM = frozenset(("lost+found", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "@eaDir"))
"""Folders that file systems and archives make beside the classes."""
VALIDATION = frozenset(("val", "valid", "validation", "dev"))
SHOWN_UNUSED = 8


class FolderSource(Source):
    """Image files in `folder/train/CLASS/` and `folder/test/CLASS/`."""

    kind: Literal["folder"]
    folder: Place

    def list_part(self, part: Part) -> Listing:
        """List `folder/<part>/CLASS/*`."""
        return list_classes(self.folder / part)

    def location(self) -> Path:
        """The folder."""
        return self.folder

    def unused(self) -> tuple[str, ...]:
        """What lies beside the folders `train` and `test` and is read by nobody, a line each kind."""
        with naming(self.folder):
            others = sorted(p.name for p in self.folder.iterdir() if p.is_dir() and p.name not in ("train", "test"))
        others = [name for name in others if not name.startswith(".") and name not in OF_THE_SYSTEM]
        lines = [
            f"{self.folder / name}: not used; validation images are held out of train (val_fraction)"
            for name in others
            if name.lower() in VALIDATION
        ]
        if rest := [name for name in others if name.lower() not in VALIDATION]:
            more = f" and {len(rest) - SHOWN_UNUSED} more" if len(rest) > SHOWN_UNUSED else ""
            lines.append(f"{self.folder}: not used, only train and test are: {', '.join(rest[:SHOWN_UNUSED])}{more}")
        return tuple(lines)


def list_classes(folder: Path) -> Listing:
    """List `folder/CLASS/*` in the order of class and file names; whatever is not taken is counted."""
    if not folder.is_dir():
        raise CpgError(f"{folder}: there is no such folder; expected one folder a class in it, with images")
    with naming(folder):
        entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    homes = [p for p in entries if p.is_dir() and p.name not in OF_THE_SYSTEM]
    if not homes:
        raise CpgError(f"{folder}: there are no class folders in it; expected {folder}/CLASS/image.png and so on")
    left_out = [
        LeftOut(None, 1, f"folder of the file system ({p.name})", counts=False) for p in entries if _of_system(p)
    ]
    if loose := sum(p.is_file() for p in entries):
        left_out.append(LeftOut(None, loose, "beside the class folders, in none of them"))
    files: list[Path] = []
    labels: list[int] = []
    for label, home in enumerate(homes):
        taken, skipped = _class_files(home)
        files += taken
        labels += [label] * len(taken)
        left_out += skipped

    def read(rows: Rows) -> Iterator[Item]:
        return (Item(str(files[row]), files[row]) for row in rows)

    def version(rows: Rows) -> str:
        return stamps((files[row] for row in rows), folder)

    names = tuple(home.name for home in homes)
    return Listing(str(folder), names, np.array(labels, dtype=np.int64), read, tuple(files), tuple(left_out), version)


@contextmanager
def naming(folder: Path) -> Iterator[None]:
    """Turn an error of the file system into one that names the folder.

    Raises `CpgError`.
    """
    try:
        yield
    except OSError as error:
        raise CpgError(f"{folder}: cannot be read ({error.strerror}); change its rights or move it away") from error


def _class_files(home: Path) -> tuple[list[Path], list[LeftOut]]:
    """The images of a class, and what else is in its folder. One that cannot be read is left out as a whole."""
    try:
        entries = sorted(home.iterdir())
    except OSError as error:
        return [], [LeftOut(home.name, 1, f"folder that cannot be read ({error.strerror})", counts=False)]
    taken, skipped = [], Counter[tuple[str, bool]]()
    for entry in entries:
        if entry.is_dir():
            skipped["in folders inside the class's", True] += _files_below(entry)
        elif entry.name.startswith("."):
            skipped["hidden", False] += 1
        elif entry.suffix.lower() in SUFFIXES or opens(entry):
            taken.append(entry)
        else:
            skipped["not an image", True] += 1
    left_out = [LeftOut(home.name, count, why, weighs) for (why, weighs), count in skipped.items() if count]
    return taken, left_out


def _files_below(folder: Path) -> int:
    return sum(path.is_file() and not path.name.startswith(".") for path in folder.rglob("*"))


def _of_system(path: Path) -> bool:
    return path.is_dir() and path.name in OF_THE_SYSTEM


SOURCE = FolderSource
