"""Rename and remove runs: each takes effect in one step, and the same call again completes one that was killed."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import ExitStack, suppress
from pathlib import Path

from cpg_core.errors import CpgError
from cpg_core.storage.branches import branches, require_no_branches
from cpg_core.storage.exchange import settle
from cpg_core.storage.files import disk_errors, read_record, write_json
from cpg_core.storage.leftovers import removed
from cpg_core.storage.lock import delete_work, locked
from cpg_core.storage.run import RUN, is_run
from cpg_core.storage.run_spec import RunSpec
from cpg_core.storage.runs import checked_name, none_of


def rename(root: Path, old: str, new: str) -> None:
    """Give a run another name: its folders in `checkpoints` and `work`, DVC's pointer files in them included.

    The run has its new name from the moment that its folder in `checkpoints` has it. Work in progress moves
    afterwards; if this is killed in between, the same call moves it. Runs that were branched from it find it by its
    hash.

    Raises:
        CpgError: there is no such run, the new name is taken or none, or a process is learning the run or a branch.
    """
    source, target = _folders(root, old), _folders(root, checked_name(new))
    if not is_run(source[0]) and not (is_run(target[0]) and _in_progress(source[1]) and not _in_progress(target[1])):
        raise none_of(root, old)
    if is_run(source[0]) and target[0].exists():
        raise CpgError(f"run {old!r} cannot be named {new!r}: {target[0]} is there already")
    with ExitStack() as locks, disk_errors(target[0]):
        for work in (source[1], target[1]):  # a run of the new name may be about to begin
            locks.enter_context(locked(work))
        if source[0].exists():
            if target[0].exists():
                raise CpgError(f"run {old!r} cannot be named {new!r}: {target[0]} is there by now")
            for name in branches(root, source[0].name):  # one that is being learned reads its first tasks here
                locks.enter_context(locked(root / "work" / name))
            source[0].rename(target[0])
        shutil.rmtree(target[1], ignore_errors=True)  # of no run: there was none of that name
        source[1].rename(target[1])
        _tell_name(target[0])


def remove(root: Path, name: str) -> None:
    """Remove a run: all that it learned, its work in progress, and DVC's pointer files of its tasks.

    The run is gone from the moment that its folder in `checkpoints` is renamed; what is left of it after a kill is
    deleted by the same call again.

    Raises:
        CpgError: there is no such run, others were branched from it, or a process is learning it.
    """
    checkpoints, work = require_run(root, name)
    gone = removed(checkpoints)
    with locked(work), disk_errors(checkpoints):
        if is_run(checkpoints):
            require_no_branches(root, checkpoints.name)
            if gone.exists():
                shutil.rmtree(gone)
            checkpoints.rename(gone)
        delete_work(work)
        shutil.rmtree(gone)  # last: by this the same call again knows that there is something left to delete


def require_run(root: Path, name: str) -> tuple[Path, Path]:
    """Where the frozen tasks and the work in progress of a run are that is there to be removed, however damaged.

    Raises:
        CpgError: there is no such run, nor the rest of one.
    """
    checkpoints, work = _folders(root, name)
    if not is_run(checkpoints) and not removed(checkpoints).exists():
        raise none_of(root, name)
    return checkpoints, work


def size(folder: Path) -> int:
    """The bytes of all files in a folder, whatever depth; 0 if it is not there.

    Files may come and go meanwhile, as where a process learns: what is gone once it is looked at counts nothing.
    """
    total = 0
    for home, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                found = Path(home, name).stat()
                total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total


def _folders(root: Path, name: str) -> tuple[Path, Path]:
    """Where a run's frozen tasks and its work in progress are."""
    name = name.rstrip("/")
    folder = root / "checkpoints" / name
    if not name or "/" in name or name.startswith("."):
        raise none_of(root, name)
    if folder.is_symlink():
        raise CpgError(f"{folder} is a link to another folder; rename or remove the link by hand")
    settle(folder, root / "work" / name)
    return folder, root / "work" / name


def _in_progress(work: Path) -> bool:
    """Whether stages of a task are kept there, and not only what may be computed again."""
    return work.is_dir() and any(path.is_dir() for path in work.iterdir())


def _tell_name(folder: Path) -> None:
    """Write the run's name into its `run.json`; the folder decides, so one that cannot be read may stay as it is."""
    root = folder.parents[1]
    try:
        spec = read_record(folder / RUN, RunSpec, context={"folder": root})
    except CpgError:
        return
    write_json(folder / RUN, spec.model_copy(update={"name": folder.name}).to_json(root))
