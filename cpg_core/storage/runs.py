"""Runs on disk: found by the name of their folder, opened, begun, gone on with and extended."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from cpg_core.data.spec import TaskSpec
from cpg_core.errors import CpgError
from cpg_core.storage.differences import goes_on
from cpg_core.storage.files import Damaged, read_record, write_json
from cpg_core.storage.lock import locked
from cpg_core.storage.run import RECORD, RUN, Run, RunSpec


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
    """The runs in `root/checkpoints`, in alphabetical order."""
    found = (path.parent.name for path in (root / "checkpoints").glob(f"*/{RUN}"))
    return sorted(name for name in found if not name.startswith("."))


def open_run(root: Path, name: str) -> Run:
    """A run that is on disk.

    The folder's name is the run's, whatever `run.json` calls it: a run that was copied, or moved by hand, is a run
    of its own, and nothing of the one that it came from is read or written.

    Raises:
        CpgError: there is none of that name, or its `run.json` is not a run's.
    """
    name = name.rstrip("/")  # as a shell completes the name of a folder
    file = root / "checkpoints" / name / RUN
    if "/" in name or not file.exists():
        raise none_of(root, name)
    spec = read_record(file, RunSpec, context={"folder": root})
    return Run(root, spec if spec.name == name else spec.model_copy(update={"name": name}))


def none_of(root: Path, name: str) -> CpgError:
    """To raise where there is no run of that name."""
    return CpgError(f"no run {name!r} in {root / 'checkpoints'}; there is: {', '.join(names(root)) or 'none yet'}")


def begin(root: Path, spec: RunSpec) -> Run:
    """The run of `spec`: made now, or found on disk and gone on with.

    Raises:
        CpgError: the folder holds a run of something else, or one with frozen tasks under other settings.
    """
    there = found(root, spec)
    run = there or Run(root, spec)
    if there is None or there.spec != open_run(root, spec.name).spec:
        _write(run)
    return run


def found(root: Path, spec: RunSpec) -> Run | None:
    """The run of `spec` if it is on disk with a frozen task; None if it may be made there.

    Raises:
        CpgError: as `begin`.
    """
    folder = Run(root, spec).folder
    if not (folder / RUN).exists():
        if any(folder.glob(f"*/{RECORD}")):
            gone = folder / RUN
            raise Damaged(
                f"{gone}: missing, although tasks are frozen beside it; bring it back from a copy (git checkout)"
            )
        return None
    there = open_run(root, spec.name)
    spec = goes_on(there, spec)
    return Run(root, spec) if there.frozen() else None


def extend(run: Run, task: TaskSpec, goal: float) -> Run:
    """The run with one more task at its end, `run.json` rewritten.

    Raises:
        CpgError: the task's name is taken, or the run is not finished.
    """
    if run.frozen() < len(run.spec.tasks):
        raise CpgError(f"run {run.spec.name}: task {run.label(run.frozen() + 1)} is not frozen yet; finish it first")
    if task.name in run.spec.goals:
        raise CpgError(f"run {run.spec.name} has a task {task.name!r} already; name the new one otherwise")
    goals = {**run.spec.goals, task.name: goal}
    longer = Run(run.root, run.spec.model_copy(update={"tasks": (*run.spec.tasks, task), "goals": goals}))
    _write(longer)
    return longer


def withdraw(run: Run) -> None:
    """Take the last task of a run back where nothing of it was learned, so that it stands in no other task's way.

    Not while another process learns it. What was read of its images stays, for a second try.
    """
    index = len(run.spec.tasks)
    with suppress(CpgError), locked(run.work):
        if index > 1 and run.frozen() == index - 1 and not any(run.task_work(index).glob("[0-9]*/*")):
            last = run.spec.tasks[-1].name
            goals = {name: goal for name, goal in run.spec.goals.items() if name != last}
            _write(Run(run.root, run.spec.model_copy(update={"tasks": run.spec.tasks[:-1], "goals": goals})))


def _write(run: Run) -> None:
    write_json(run.folder / RUN, run.spec.stored(run.root))
