"""Whether files are what they were, told without reading them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def stamps(files: Iterable[Path], inside: Path) -> str:
    """A line a file: its path (in the folder, if there), size, and when it was changed; empty if one is not there.

    Tools that copy files may bring back the time of their content (mtime), but not that of their last change (ctime).
    """
    try:
        return "\n".join(_stamp(file, inside) for file in files)
    except OSError:
        return ""


def _stamp(file: Path, inside: Path) -> str:
    found = file.stat()
    name = file.relative_to(inside) if file.is_relative_to(inside) else file
    return f"{name}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"
