"""Frozen tasks under DVC: `sync` puts there what is on disk and not yet there, whenever and however often it is called.

A frozen folder never changes, so one that has its pointer file is done with: nothing writes that file again. Learning
knows nothing of this, and goes on when DVC cannot be used just now.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cpg_core.errors import CpgError, one_line
from cpg_core.storage.files import sweep
from cpg_core.storage.run import DELTA, RECALL, RECORD, SECONDS, Run
from flows.versioning.dvc_pointers import pointer, versioned

if TYPE_CHECKING:
    from dvc.repo import Repo

    from flows.tracking.sync import Note

PATIENCE = 30.0
"""Seconds to wait for another process that works in the same repository, such as one that pushes."""

TASK_FILES = {DELTA, RECORD, RECALL, SECONDS}

T = TypeVar("T")
Version = Callable[[Run, "Note"], None]
"""Puts a run under DVC as far as it is on disk; tells a person what goes wrong, and never raises."""


def choose_version(root: Path) -> Version:
    """To version, or its null twin where `root` is no DVC repository."""
    return version if is_repository(root) else unversioned


def unversioned(run: Run, note: Note) -> None:
    """Nothing."""


def version(run: Run, note: Note) -> None:
    """`sync`; what cannot be put under DVC now is put there by the next one."""
    try:
        sync(run)
    except Exception as error:  # whatever ails DVC, the run is on disk and learning goes on
        note(f"not put under DVC yet ({_why(error)}); learning goes on, and the next time tries again")


def sync(run: Run) -> None:
    """Put the frozen tasks of a run that have no pointer file under DVC, in order."""
    folders = [run.task_folder(index).resolve() for index in range(1, run.frozen() + 1)]
    missing = [folder for folder in folders if not versioned(folder)]
    if not missing:
        return
    with opened_repository(run.root) as repo:
        for folder in missing:
            # The first one is checked against all that is under DVC in the project, which means reading all of it; the
            # others lie beside it. With a check for each, the time would grow with the square of the tasks.
            patiently(partial(_put, repo, folder, check=folder == folders[0]))


def version_data(root: Path, folders: Iterable[Path], note: Note) -> None:
    """Put downloaded data under DVC: each folder of `<root>/data/raw` that holds one of `folders`, as it is now."""
    raw = (root / "data" / "raw").resolve()
    found = (folder.resolve() for folder in folders)
    inside = {path.relative_to(raw).parts[0] for path in found if raw in path.parents}
    if not inside or not is_repository(root):
        return
    try:
        with opened_repository(root) as repo:
            patiently(partial(repo.add, [str(raw / name) for name in sorted(inside)]))
    except Exception as error:  # the data are there, and usable
        note(f"{raw}: not put under DVC ({_why(error)}); the same command again makes it good")


def patiently(work: Callable[[], T]) -> T:
    """Do `work`, again while another process holds DVC's lock, for up to `PATIENCE` seconds.

    Raises:
        LockError: it still does.
    """
    from dvc.lock import LockError

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return work()
        except LockError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.2)


@contextmanager
def opened_repository(root: Path) -> Iterator[Repo]:
    """The repository, with DVC's own bars and advice off the terminal."""
    from dvc.logger import set_loggers_level
    from dvc.repo import Repo

    with set_loggers_level(logging.CRITICAL), Repo(str(root.resolve())) as repo:
        yield repo


def _put(repo: Repo, folder: Path, *, check: bool) -> None:
    """As `dvc add` does, but that the files of the folder are not replaced by links to DVC's cache."""
    from dvc.repo import lock_repo

    file = pointer(folder)
    with lock_repo(repo):
        if versioned(folder):  # by another process, before this one had the lock
            return
        _require_its_files_only(folder)
        file.unlink(missing_ok=True)  # an empty one
        stage = repo.stage.create(
            single_stage=True, validate=check, fname=str(file), wdir=str(folder.parent), outs=[folder.name]
        )
        with repo.scm_context():
            stage.add_outs(relink=False)
            stage.dump()


def _require_its_files_only(folder: Path) -> None:
    """A pointer never changes again, so that it must name what a task is made of and nothing else.

    Raises:
        CpgError: something is missing, or too much is there.
    """
    sweep(folder)  # of a process that was killed; a task whose record is there is done
    there = {path.name for path in folder.iterdir()}
    if missing := TASK_FILES - there:
        raise CpgError(f"{folder}: missing: {', '.join(sorted(missing))}; bring it back from a copy")
    if extra := there - TASK_FILES:
        raise CpgError(f"{folder}: not of this task: {', '.join(sorted(extra))}; move it elsewhere")


def is_repository(root: Path) -> bool:
    """Whether a folder of results is under DVC."""
    return (root / ".dvc").is_dir()


def _why(error: Exception) -> str:
    return one_line(str(error)) or type(error).__name__
