"""The accuracy each task must reach: one number for all, or a file with one a task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cpg_core.config.schema import read_mapping
from cpg_core.errors import CpgError


def resolve(goal: float | str, tasks: Sequence[str]) -> dict[str, float]:
    """The goal of each task.

    Args:
        goal: a number in [0, 1], its text, or the path of a JSON or YAML file that maps task names to numbers.
        tasks: the names of the tasks.

    Raises:
        CpgError: a goal is not a number in [0, 1], the file is not there, or it lacks a task.
    """
    number = _number(goal)
    if number is not None:
        return {task: _in_range(number, "the goal") for task in tasks}
    path = Path(str(goal)).expanduser()
    if not path.is_file():
        raise CpgError(f"goal {goal!r}: expected a number in [0, 1], or a file with a goal for each task")
    named = read_mapping(path)
    missing = [task for task in tasks if task not in named]
    if missing:
        raise CpgError(f"{path}: no goal for {', '.join(missing)}; give each task one")
    return {task: _in_range(_number(named[task]), f"{path}: the goal of {task}", named[task]) for task in tasks}


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def _in_range(number: float | None, what: str, given: object = None) -> float:
    if number is None or not 0 <= number <= 1:
        shown = number if number is not None else given
        raise CpgError(f"{what} is {shown!r}: expected an accuracy in [0, 1], such as 0.75 for 75 %")
    return number
