"""Files and folders among the images that no person made."""

from __future__ import annotations

from pathlib import Path

OF_THE_SYSTEM = frozenset(("lost+found", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "@eaDir"))
"""Folders that file systems and archives make beside the images."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name was made by no person."""
    return name.startswith(".") or name in OF_THE_SYSTEM


def below(folder: Path, pattern: str = "*") -> list[Path]:
    """What is in a folder at any depth, in the order of the paths, but for what is hidden or in something hidden."""
    found = sorted(folder.rglob(pattern))
    return [path for path in found if not any(map(is_hidden, path.relative_to(folder).parts))]
