"""Files and folders among the images that no person made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cpg_core.errors import CpgError

OF_THE_SYSTEM = frozenset(("lost+found", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "@eaDir"))
"""Folders that file systems and archives make beside the images."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name was made by no person."""
    return name.startswith(".") or name in OF_THE_SYSTEM


def walk(folder: Path, cannot: Callable[[OSError], None]) -> Iterator[Path]:
    """The files in a folder at any depth, folder by folder in the order of their names, but for what is hidden.

    Links to folders are followed, and no folder is entered twice.

    Args:
        folder: where.
        cannot: is told of a folder that cannot be listed.
    """
    entered = set[Path]()
    for home, folders, names in os.walk(folder, onerror=cannot, followlinks=True):
        there = Path(home).resolve()
        if there in entered:
            folders.clear()
            continue
        entered.add(there)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield from (Path(home, name) for name in sorted(names) if not is_hidden(name))


@contextmanager
def naming(folder: Path) -> Iterator[None]:
    """Turn an error of the file system into one that names the folder.

    Raises `CpgError`.
    """
    try:
        yield
    except OSError as error:
        raise CpgError(f"{folder}: cannot be read ({error.strerror}); change its rights or move it away") from error


def below(folder: Path, suffix: str = "") -> list[Path]:
    """The files that `walk` finds, with this ending, in the order of their paths."""
    return sorted(path for path in walk(folder, lambda _: None) if path.name.endswith(suffix) and path.is_file())
