"""Copies of runs that killed processes left in `checkpoints`, under hidden names: of one half made, or half removed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from cpg_core.errors import CpgError
from cpg_core.storage.files import disk_errors
from cpg_core.storage.lock import delete_work, locked

PART, REMOVED = ".part", ".removed"


def unfinished(folder: Path) -> Path:
    """What a run's folder is called while a conversion makes it."""
    return folder.with_name(f".{folder.name}{PART}")


def removed(folder: Path) -> Path:
    """What a run's folder is called while it is deleted."""
    return folder.with_name(f".{folder.name}{REMOVED}")


def erase_leftovers(root: Path, say: Callable[[str], None]) -> list[str]:
    """Erase them all, whatever tasks they hold; `say` is told of each.

    Returns:
        What could not be erased, and why, a line each.
    """
    problems = []
    for hidden in sorted((root / "checkpoints").glob(".*")):
        if hidden.suffix in (PART, REMOVED) and hidden.is_dir() and not hidden.is_symlink():
            try:
                _erase(hidden, root / "work" / hidden.stem[1:])
                say(f"{hidden}: erased; a process that was killed had left it")
            except CpgError as error:
                problems.append(f"{hidden}: {error}")
    return problems


def _erase(hidden: Path, work: Path) -> None:
    with locked(work), disk_errors(hidden):
        if hidden.suffix == REMOVED and not hidden.with_name(work.name).exists():  # else the work is a new run's
            delete_work(work)
        if hidden.exists():
            shutil.rmtree(hidden)
