"""Runs on disk, opened, begun, gone on with and extended."""

from __future__ import annotations

from pathlib import Path

from cpg_core.config.method_settings import settings_of
from cpg_core.data.spec import TaskSpec
from cpg_core.errors import CpgError
from cpg_core.storage.files import Damaged, read_record, write_json
from cpg_core.storage.run import RECORD, RUN, Run, RunSpec

IDENTITY = ("sequence", "method", "backbone")
COMPARED = (*IDENTITY, "ordering", "profile", "seed", "goals", "tasks", "settings")


def open_run(root: Path, name: str) -> Run:
    """A run that is on disk.

    Raises:
        CpgError: there is none of that name, or its `run.json` is not a run's.
    """
    folder = root / "checkpoints" / name
    if not (folder / RUN).exists():
        there = sorted(path.parent.name for path in (root / "checkpoints").glob(f"*/{RUN}"))
        raise CpgError(f"no run {name!r} in {folder.parent}; there is: {', '.join(there) or 'none yet'}")
    return Run(root, read_record(folder / RUN, RunSpec))


def begin(root: Path, spec: RunSpec) -> Run:
    """The run of `spec`: made now, or found on disk and gone on with.

    Raises:
        CpgError: the folder holds a run of something else, or one with frozen tasks under other settings.
    """
    if (there := found(root, spec)) is not None:
        return there
    run = Run(root, spec)
    write_json(run.folder / RUN, spec.model_dump(mode="json"))
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
    frozen = there.frozen() > 0
    if differing := _differences(there.spec, spec, COMPARED if frozen else IDENTITY):
        lines = "\n".join(f"  {line}" for line in differing)
        raise CpgError(
            f"{folder}: this folder holds another run:\n{lines}\n"
            "Give the command that made it, or another name with --run."
        )
    return there if frozen else None


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
    spec = run.spec.model_copy(update={"tasks": (*run.spec.tasks, task), "goals": goals})
    write_json(run.folder / RUN, spec.model_dump(mode="json"))
    return Run(run.root, spec)


def _differences(found: RunSpec, wanted: RunSpec, fields: tuple[str, ...]) -> list[str]:
    lines = []
    for field in fields:
        there, here = getattr(found, field), getattr(wanted, field)
        if field == "tasks":
            there = there[: len(here)]
        if field == "settings":
            there, here = (settings_of(spec.method, spec.settings) for spec in (found, wanted))
        if field == "goals":
            there = {task: goal for task, goal in there.items() if task in here}
        if there != here:
            lines.append(field if field in ("tasks", "settings") else f"{field}: {there!r} there, {here!r} here")
    return lines
