"""Runs on disk: found by the name of their folder, opened, begun, gone on with and extended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from cpg_core.data.spec import TaskSpec
from cpg_core.errors import CpgError
from cpg_core.storage.branches import branch_of, resolved
from cpg_core.storage.differences import resumed_spec
from cpg_core.storage.exchange import interrupted, settle
from cpg_core.storage.files import Damaged, read_record, write_json
from cpg_core.storage.lock import locked
from cpg_core.storage.run import RUN, Run, is_run
from cpg_core.storage.run_spec import RunSpec


def checked_name(name: str) -> str:
    """The name, if a run may have it.

    Raises:
        CpgError: it cannot be a folder's name everywhere.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", name):
        raise CpgError(
            f"run {name!r} becomes a folder name: use letters, digits, . _ and -, beginning with a letter, a digit or _"
        )
    return name


def names(root: Path) -> list[str]:
    """The runs in `root/checkpoints`, damaged ones too, in alphabetical order."""
    checkpoints = root / "checkpoints"
    found = {path.name for path in checkpoints.glob("*") if not path.name.startswith(".") and is_run(path)}
    return sorted(found | set(interrupted(checkpoints)))


def open_run(root: Path, name: str) -> Run:
    """A run that is on disk.

    The folder's name is the run's, whatever `run.json` calls it: a run that was copied, or moved by hand, is a run
    of its own, and nothing of the one that it came from is read or written. A task that was being forgotten when the
    process was killed is forgotten now, or nothing of it is.

    Raises:
        CpgError: there is none of that name, its `run.json` is not a run's, or a base that it was branched from is
            not there.
    """
    name = name.rstrip("/")  # as a shell completes the name of a folder
    folder = root / "checkpoints" / name
    if name and "/" not in name:
        settle(folder, root / "work" / name)
    if not name or "/" in name or not is_run(folder):
        raise none_of(root, name)
    file = _run_file(folder)
    spec = read_record(file, RunSpec, context={"folder": root})
    run = Run(root, resolved(root, spec if spec.name == name else spec.model_copy(update={"name": name})))
    return replace(run, known_frozen=sum(run.is_frozen(index) for index in range(1, len(run.spec.tasks) + 1)))


def none_of(root: Path, name: str) -> CpgError:
    """To raise where there is no run of that name."""
    return CpgError(f"no run {name!r} in {root / 'checkpoints'}; there is: {', '.join(names(root)) or 'none yet'}")


def open_or_new(root: Path, spec: RunSpec) -> Run:
    """The run of `spec`: a new one, or found on disk and gone on with. Nothing is written before `spec_on_disk`.

    Raises:
        CpgError: the folder holds a run of something else, or one with frozen tasks under other settings.
    """
    return existing_run(root, spec) or Run(root, spec)


def existing_run(root: Path, spec: RunSpec) -> Run | None:
    """The run of `spec` if it is on disk with a frozen task; None if it may be made there.

    Raises:
        CpgError: as `open_or_new`.
    """
    if spec.name not in names(root):
        return None
    there = open_run(root, spec.name)
    spec = resumed_spec(there, spec)
    return replace(there, spec=spec) if there.frozen() or there.spec.forgotten else None


def branch(run: Run, after: str, name: str) -> Run:
    """Write a run of the tasks of another up to `after`, which go on to lie where they are, for others to be added.

    The run in whose folder that task lies must not change meanwhile: it could forget the task, or be removed.

    Raises:
        CpgError: there is no such frozen task, a run of that name, or a process is learning the run of that task.
    """
    made = branch_of(run, after, checked_name(name))
    _require_free(made.folder)
    home = made.spec.base[-1].run
    with locked(run.root / "work" / home), locked(made.work):
        _require_free(made.folder)
        there = branch_of(open_run(run.root, run.spec.name), after, name)
        if there.spec.base != made.spec.base:
            raise CpgError(f"run {home} has changed meanwhile; give the same command again")
        write_spec(there)
    return there


def _require_free(folder: Path) -> None:
    if folder.exists():
        raise CpgError(f"{folder} is there already; give the branch another name")


def without_unfinished(run: Run) -> Run:
    """The run without its last task, if that was added and it alone is not frozen: so it may be corrected.

    Nothing is written. A task of the run's sequence stays, and one of which a file is in `checkpoints`.
    """
    *others, last = run.spec.tasks or (None,)
    if last is None or last.name != run.spec.added:
        return run
    if run.frozen() != len(others) or run.task_folder(len(run.spec.tasks)).exists():
        return run
    goals = {name: goal for name, goal in run.spec.goals.items() if name != last.name}
    return replace(run, spec=run.spec.model_copy(update={"tasks": tuple(others), "goals": goals, "added": None}))


def extend(run: Run, task: TaskSpec, goal: float) -> Run:
    """The run with one more task at its end. Nothing is written before `spec_on_disk`.

    Raises:
        CpgError: the task's name is taken, or the run is not finished.
    """
    if run.frozen() < len(run.spec.tasks):
        raise CpgError(
            f"run {run.spec.name}: task {run.label(run.frozen() + 1)} is not frozen yet; finish it first, with the "
            "command that began it"
        )
    if task.name in run.spec.goals:
        raise CpgError(f"run {run.spec.name} has a task {task.name!r} already; name the new one otherwise")
    longer = {"tasks": (*run.spec.tasks, task), "goals": {**run.spec.goals, task.name: goal}, "added": task.name}
    return replace(run, spec=run.spec.model_copy(update=longer))


@contextmanager
def spec_on_disk(run: Run, index: int) -> Iterator[list[str]]:
    """Let `run.json` say what the run is, while its task `index` is learned. The run's lock must be held.

    The block is given the tasks that `run.json` named before and names no longer: none of them was frozen.

    It comes after all that can be refused by itself, so that a refused command takes no name and adds no task. Where
    the block fails before any work of the task is kept, `run.json` is as it was before. What was read of its images is
    no such work: it stays, for a second try.

    Raises:
        CpgError: as `require_current` does.
    """
    before = write_spec(run)
    try:
        yield [task.name for task in (before.tasks if before else ()) if task.name not in run.spec.goals]
    except Exception:
        if not run.is_frozen(index) and not any(run.task_work(index).glob("[0-9]*/*")):
            with suppress(CpgError, OSError):  # the disk may be full: then the run stays, with nothing learned
                _put_back(run, before)
        raise


def write_spec(run: Run) -> RunSpec | None:
    """Write `run.json`, if it does not say the same already; what it said before. The run's lock must be held.

    Raises:
        CpgError: as `require_current` does.
    """
    before = require_current(run)
    if before != run.spec:
        write_json(run.folder / RUN, run.spec.to_json(run.root))
    return before


def require_current(run: Run) -> RunSpec | None:
    """What `run.json` says, None if there is none yet. The run's lock must be held.

    Raises:
        CpgError: another process has changed the run since it was opened, renamed it, or put another in its place.
    """
    there = open_run(run.root, run.spec.name) if is_run(run.folder) else None
    frozen = [] if there is None else [task.name for task in there.spec.tasks[: there.frozen()]]
    forgotten = () if there is None else there.spec.forgotten
    renamed, again = len(frozen) < run.known_frozen, "give the same command again"
    if renamed or forgotten != run.spec.forgotten or frozen != [task.name for task in run.spec.tasks[: len(frozen)]]:
        raise CpgError(f"run {run.spec.name}: another process has changed its tasks{' or name' * renamed}; {again}")
    if there is not None and frozen and _learned_by(there.spec) != _learned_by(run.spec):
        raise CpgError(f"run {run.spec.name}: another process has made another run of that name; {again}")
    return None if there is None else there.spec


def _learned_by(spec: RunSpec) -> tuple[object, ...]:
    """What all frozen tasks of a run have in common, whatever is learned later."""
    return spec.sequence, spec.method, spec.backbone, spec.seed, spec.settings


def _run_file(folder: Path) -> Path:
    """The `run.json` of a run.

    Raises:
        Damaged: it is missing.
    """
    file = folder / RUN
    if not file.exists():
        gone = "missing, although tasks are frozen beside it"
        raise Damaged(f"{file}: {gone}; bring it back from a copy (git checkout), or: cpg remove {folder.name}")
    return file


def _put_back(run: Run, spec: RunSpec | None) -> None:
    if spec is not None:
        write_spec(Run(run.root, spec))
        return
    (run.folder / RUN).unlink()
    run.folder.rmdir()
