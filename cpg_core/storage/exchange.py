"""Replace a run's folder by another one, wholly or not at all, whenever the process is killed.

The new folder is made whole beside the old one, under a hidden name. Then the old one is renamed, the new one gets its
name, and the old one is deleted. A kill before the first renaming changes nothing; after it, whoever opens the run next
goes on from there.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cpg_core.errors import CpgError
from cpg_core.storage.files import disk_errors, sync_tree
from cpg_core.storage.lock import clear_work, locked

log = logging.getLogger(__name__)


def rewritten(folder: Path) -> Path:
    """What the new folder of a run is called until it is whole."""
    return folder.with_name(f".{folder.name}.rewritten")


def replaced(folder: Path) -> Path:
    """What the old folder of a run is called until it is deleted."""
    return folder.with_name(f".{folder.name}.replaced")


@contextmanager
def exchanged(folder: Path, work: Path) -> Iterator[Path]:
    """Let the block make the new folder of a run, and put it in the place of the old one. The lock must be held.

    Work in progress is deleted: it rests on the old chain. Where the block fails, nothing has changed.
    """
    new = rewritten(folder)
    with disk_errors(new):
        _settle(folder, work)
        new.mkdir()
    try:
        yield new
        with disk_errors(new):
            sync_tree(new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    with disk_errors(folder):
        folder.rename(replaced(folder))
        new.rename(folder)
        sync_tree(folder.parent, depth=0)
        _clear(folder, work)


def settle(folder: Path, work: Path) -> None:
    """Complete or undo an exchange that was killed, and say so; nothing where there was none, or it is going on.

    Raises:
        CpgError: the run is between two names, and its lock cannot be had.
    """
    if not rewritten(folder).exists() and not replaced(folder).exists():
        return
    try:
        with locked(work), disk_errors(folder):
            _settle(folder, work)
    except CpgError:  # of another process that is at it, or a place that cannot be written: it may be read all the same
        if not folder.exists():
            raise


def interrupted(checkpoints: Path) -> Iterator[str]:
    """The names of runs whose exchange was killed between the two renamings."""
    for old in checkpoints.glob(".*.replaced"):
        name = old.name.removeprefix(".").removesuffix(".replaced")
        if not (checkpoints / name).exists():
            yield name


def _settle(folder: Path, work: Path) -> None:
    new, old = rewritten(folder), replaced(folder)
    if old.exists() and new.exists() and folder.exists():  # which no step here leaves behind
        raise CpgError(
            f"{folder}: this folder was made while {old.name} and {new.name} waited to take its place; move it away, "
            "and the same command goes on"
        )
    if old.exists():
        if not folder.exists():
            new.rename(folder)
            sync_tree(folder.parent, depth=0)
        _clear(folder, work)
        log.warning("note: run %s: forgetting a task was interrupted; now it is complete in this folder", folder.name)
    elif new.exists():
        shutil.rmtree(new)
        log.warning("note: run %s: forgetting a task was interrupted and is undone; nothing has changed", folder.name)


def _clear(folder: Path, work: Path) -> None:
    """Delete the work in progress, and then the old folder, which says that this is to be done."""
    clear_work(work)
    if replaced(folder).exists():
        shutil.rmtree(replaced(folder))
