"""Image files in one folder a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from cpg_core.config.paths import require_utf8
from cpg_core.data.fields import AS_USUAL, Part, Place, Splits, is_as_usual
from cpg_core.data.reading.decode import is_image
from cpg_core.data.reading.hidden import OF_THE_SYSTEM, below, is_hidden, naming
from cpg_core.data.reading.listing import Item, LeftOut, Listing, Rows
from cpg_core.data.reading.stamps import stamps
from cpg_core.data.sources import Source
from cpg_core.errors import CpgError, listed

VALIDATION = frozenset(("val", "valid", "validation", "dev"))
SHOWN_UNUSED = 8


class FolderSource(Source):
    """Image files in `folder/train/CLASS/` and `folder/test/CLASS/`, or as `splits` calls these folders.

    With `subfolders`, files in folders inside a class's folder are of that class too.
    """

    kind: Literal["folder"]
    folder: Place
    splits: Splits = Field(default=AS_USUAL, exclude_if=is_as_usual)
    subfolders: bool = Field(default=False, exclude_if=lambda value: not value)

    def list_part(self, part: Part) -> Listing:
        """List `folder/<part>/CLASS/*`."""
        home = self.folder / self.splits.name_of(part)
        if self.folder.is_dir() and not home.is_dir():
            raise CpgError(
                f"{home}: there is no such folder; expected one folder a class in it, with images; "
                f"there is: {listed(self._folders()) or 'no folder'}. To name another: splits: {{{part}: NAME}}"
            )
        return list_classes(home, subfolders=self.subfolders)

    @property
    def has_val(self) -> bool:
        """Whether `splits` names a folder to validate on."""
        return self.splits.val is not None

    def location(self) -> Path:
        """The folder."""
        return self.folder

    def unused(self) -> tuple[str, ...]:
        """What lies beside the folders that are read and is read by nobody, a line each kind."""
        others = [name for name in self._folders() if name not in self.splits.names]
        to_validate = [name for name in others if name.lower() in VALIDATION and not self.has_val]
        lines = [
            f"{self.folder / name}: not used; validation images are held out of train (val_fraction); "
            f"to validate on it: splits: {{val: {name}}}"
            for name in to_validate
        ]
        if rest := [name for name in others if name not in to_validate]:
            used = " and ".join(self.splits.names)
            lines.append(f"{self.folder}: not used, only {used} are: {listed(rest, SHOWN_UNUSED)}")
        return tuple(lines)

    def _folders(self) -> list[str]:
        """The folders in it that a person made."""
        with naming(self.folder):
            names = sorted(p.name for p in self.folder.iterdir() if p.is_dir())
        return [name for name in names if not is_hidden(name)]


def list_classes(folder: Path, *, subfolders: bool = False) -> Listing:
    """List `folder/CLASS/*` in the order of class and file names; whatever is not taken is counted.

    Args:
        folder: that holds a folder a class.
        subfolders: take what is in folders inside a class's folder too, at any depth.
    """
    if not folder.is_dir():
        raise CpgError(f"{folder}: there is no such folder; expected one folder a class in it, with images")
    with naming(folder):
        entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    if lost := [p for p in entries if p.is_symlink() and not p.exists()]:
        target = lost[0].readlink()
        raise CpgError(f"{lost[0]}: a link to {target}, which is not there; bring that back, or remove the link")
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
        taken, skipped = _class_files(home, subfolders=subfolders)
        files += taken
        labels += [label] * len(taken)
        left_out += skipped
    require_utf8(homes)
    require_utf8(files)

    def read(rows: Rows) -> Iterator[Item]:
        return (Item(str(files[row]), files[row]) for row in rows)

    def version(rows: Rows) -> str:
        return stamps((files[row] for row in rows), folder)

    def paths() -> list[str]:
        return [file.relative_to(folder).as_posix() for file in files]

    names, numbers = tuple(home.name for home in homes), np.array(labels, dtype=np.int64)
    return Listing(str(folder), names, numbers, read, tuple(files), tuple(left_out), version, paths)


def _class_files(home: Path, *, subfolders: bool) -> tuple[list[Path], list[LeftOut]]:
    """The images of a class, and what else is in its folder. One that cannot be read is left out as a whole."""
    taken, skipped, entered = list[Path](), Counter[tuple[str, bool]](), {home.resolve()}
    try:
        entries = sorted(home.iterdir())
    except OSError as error:
        return [], [LeftOut(home.name, 1, f"folder that cannot be read ({error.strerror})", counts=False)]
    while entries:
        entry = entries.pop(0)
        if is_hidden(entry.name):
            skipped["hidden", False] += 1
        elif entry.is_dir() and subfolders:
            if (there := entry.resolve()) in entered:
                skipped["in links to folders that were taken already", False] += 1
                continue
            entered.add(there)
            with naming(entry):
                entries[:0] = sorted(entry.iterdir())
        elif entry.is_dir():
            skipped["in folders inside the class's (subfolders: true takes them)", True] += _files_below(entry)
        elif is_image(entry):
            taken.append(entry)
        else:
            skipped["not an image", True] += 1
    left_out = [LeftOut(home.name, count, why, weighs) for (why, weighs), count in skipped.items() if count]
    return taken, left_out


def _files_below(folder: Path) -> int:
    return len(below(folder))


def _of_system(path: Path) -> bool:
    return path.is_dir() and path.name in OF_THE_SYSTEM


SOURCE = FolderSource
