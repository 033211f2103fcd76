"""Whether a run on disk is the one that a command means: what differs is named, field by field, with both values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from cpg_core.config.backbone import BackboneSpec
from cpg_core.config.method_settings import settings_of
from cpg_core.data.spec import TaskSpec
from cpg_core.errors import CpgError
from cpg_core.storage.forgotten import Forgotten
from cpg_core.storage.run import Run
from cpg_core.storage.run_spec import RunSpec

IDENTITY = ("sequence", "method", "backbone")
COMPARED = (*IDENTITY, "ordering", "profile", "seed", "goals", "tasks", "settings")
ABSENT = "nothing"
PLACES = ("pairs.file", "pairs.images", "pairs.different", "validation.files", "validation.group.table")
"""Fields of a task that say where something lies, beside those of its source."""
OTHER_IMAGES = (
    "its images are others than those that were learned, or are resized to other bits here, as another kind of "
    "processor or version of torch may do"
)


def resumed_spec(there: Run, wanted: RunSpec) -> RunSpec:
    """What the run on disk goes on as, where `wanted` is what a command means by it.

    With nothing frozen its settings may still change. Images and the file of pretrained weights may have moved: where a
    task differs in nothing but the places of its images, and those there have the digest of those that were learned,
    these are its places from now on. Tasks that were forgotten are not learned again.

    Raises:
        CpgError: it is another run, with what differs; or all of its tasks were forgotten.
    """
    begun, tasks = there.frozen() or there.spec.forgotten, there.spec.tasks
    lines = _fields(there.spec, wanted, IDENTITY)
    if begun and not lines:
        wanted = _without_forgotten(there.spec, wanted)
        tasks, others = _tasks(there, wanted)
        lines = _fields(there.spec, wanted, ("ordering", "profile", "seed"))
        lines += [*_goals(there.spec, wanted), *_settings(there.spec, wanted), *others]
    if lines:
        lines += [
            f"task {gone.index} (name erased) was forgotten on {gone.time[:10]}; to learn another task: "
            f"cpg add {there.spec.name} TASK.yaml"
            for gone in there.spec.forgotten
            if gone.name is None
        ]
        told = "\n".join(f"  {line}" for line in lines)
        raise CpgError(
            f"{there.folder}: this folder holds another run:\n{told}\n"
            "Give the command that made it, or another name with --run."
        )
    return there.spec.model_copy(update={"tasks": tasks, "backbone": wanted.backbone})


def with_moved_images(there: Run, task: TaskSpec, goal: float) -> Run:
    """The run on disk, asked once more for a frozen task of it by that task's name: its images may have moved.

    Raises:
        CpgError: it is another task, with what differs.
    """
    tasks = tuple(task if known.name == task.name else known for known in there.spec.tasks)
    wanted = there.spec.model_copy(update={"tasks": tasks, "goals": {**there.spec.goals, task.name: goal}})
    tasks, lines = _tasks(there, wanted)
    if lines := [*_goals(there.spec, wanted), *lines]:
        told = "\n".join(f"  {line}" for line in lines)
        raise CpgError(
            f"run {there.spec.name} has a task {task.name!r} already, and this is another:\n{told}\n"
            "Name the new one otherwise."
        )
    return replace(there, spec=there.spec.model_copy(update={"tasks": tasks}))


def forgotten_of(there: RunSpec, names: Iterable[str]) -> list[Forgotten]:
    """Those of some tasks that a run has forgotten and not learned again since."""
    wanted = set(names) - {task.name for task in there.tasks}
    return [gone for gone in there.forgotten if gone.name in wanted]


def _without_forgotten(there: RunSpec, wanted: RunSpec) -> RunSpec:
    """What is wanted but for what the run has forgotten.

    Raises:
        CpgError: nothing is left.
    """
    gone = {task.name for task in forgotten_of(there, (task.name for task in wanted.tasks))}
    left = tuple(task for task in wanted.tasks if task.name not in gone)
    if gone and not left:
        names = ", ".join(task.name for task in wanted.tasks)
        raise CpgError(
            f"run {there.name}: all of these tasks were forgotten: {names}; "
            f"they are not learned again by themselves; to learn one: cpg add {there.name} TASK.yaml; "
            "to begin anew: --run NEW"
        )
    return wanted.model_copy(update={"tasks": left})


def _fields(there: RunSpec, here: RunSpec, names: tuple[str, ...]) -> list[str]:
    values = ((name, _told(getattr(there, name)), _told(getattr(here, name))) for name in names)
    return [f"{name}: {old!r} there, {new!r} here" for name, old, new in values if old != new]


def _told(value: object) -> object:
    return value.content() if isinstance(value, BackboneSpec) else value


def _goals(there: RunSpec, here: RunSpec) -> list[str]:
    return [
        f"goal of {task}: {there.goals[task]} there, {goal} here"
        for task, goal in here.goals.items()
        if task in there.goals and there.goals[task] != goal
    ]


def _settings(there: RunSpec, here: RunSpec) -> list[str]:
    """Those that the method rests on; the goal is compared task by task, wherever its file lies."""
    one, two = ({**settings_of(spec.method, spec.settings), "goal": None} for spec in (there, here))
    return [f"setting {name}: {old} there, {new} here" for name, old, new in changes(one, two)]


def _tasks(there: Run, wanted: RunSpec) -> tuple[tuple[TaskSpec, ...], list[str]]:
    """The tasks to go on with, and what differs; the run may have more, which were added to it."""
    tasks, lines = list(there.spec.tasks), list[str]()
    for index, (old, new) in enumerate(zip(there.spec.tasks, wanted.tasks, strict=False), 1):
        if old.name != new.name:
            return tuple(tasks), [*lines, f"task {index}: {old.name} there, {new.name} here"]
        if old == new:
            continue
        differing = changes(old.model_dump(mode="json"), new.model_dump(mode="json"))
        told = [f"{name}: {before} there, {after} here" for name, before, after in differing]
        if all(name.startswith("source.") or name in PLACES for name, _, _ in differing):
            why = _other_images(there, wanted, index)
            if why is None:
                tasks[index - 1] = new
                continue
            told.append(why)
        lines += [f"task {index} ({old.name}): {line}" for line in told]
    lines += [
        f"task {new.name}: only here; to learn it at the end of that run: cpg add {there.spec.name} {new.name}.yaml"
        for new in wanted.tasks[len(tasks) :]
    ]
    return tuple(tasks), lines


def _other_images(there: Run, wanted: RunSpec, index: int) -> str | None:
    """Why the images that a task has here cannot stand for those that it had there; None: they can.

    Those of a task that is not frozen were not learned yet, and decide nothing that is on disk.
    """
    if not there.is_frozen(index):
        return None
    try:
        digest = Run(there.root, wanted).data(index).digest
    except CpgError as error:
        return f"its images cannot be read: {error}"
    return None if digest == there.record(index).data_sha256 else OTHER_IMAGES


def changes(there: dict[str, Any], here: dict[str, Any], prefix: str = "") -> list[tuple[str, object, object]]:
    """The fields that differ, by their dotted names, with both values; one that is not there is `nothing`."""
    found: list[tuple[str, object, object]] = []
    for name in sorted(there.keys() | here.keys()):
        old, new = there.get(name, ABSENT), here.get(name, ABSENT)
        if isinstance(old, dict) and isinstance(new, dict):
            found += changes(old, new, f"{prefix}{name}.")
        elif old != new:
            found.append((prefix + name, old, new))
    return found
