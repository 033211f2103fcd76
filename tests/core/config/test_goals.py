"""Goals: one number for all tasks, or a file with one for each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cpg_core.config.goals import resolve
from cpg_core.errors import CpgError

TASKS = ("fish", "trees")


@pytest.mark.parametrize("goal", [0.75, "0.75", "7.5e-1"])
def test_a_number_or_its_text_is_every_tasks_goal(goal: float | str) -> None:
    assert resolve(goal, TASKS) == {"fish": 0.75, "trees": 0.75}


@pytest.mark.parametrize("goal", [0, 1])
def test_the_ends_of_the_range_are_goals(goal: int) -> None:
    assert resolve(goal, TASKS) == {"fish": goal, "trees": goal}


@pytest.mark.parametrize("name", ["goals.yaml", "goals.json"])
def test_a_file_gives_each_task_its_own_and_may_hold_more(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(json.dumps({"fish": 0.5, "trees": 0.6, "birds": 0.7}))
    assert resolve(str(tmp_path / name), TASKS) == {"fish": 0.5, "trees": 0.6}


@pytest.mark.parametrize("goal", [1.5, -0.1, 75, "75", "nan", "inf"])
def test_a_number_out_of_range_is_told_with_an_example(goal: float | str) -> None:
    with pytest.raises(CpgError, match=rf"{float(goal)}.*\[0, 1\]"):
        resolve(goal, TASKS)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["goals.yaml", "a number in [0, 1], or a file"]),
        ("fish: 0.5", ["goals.yaml", "no goal for trees"]),
        ("fish: 0.5\ntrees: 60", ["goals.yaml", "trees", "60"]),
        ("fish: 0.5\ntrees: high", ["goals.yaml", "trees", "high"]),
        ("fish: 0.5\ntrees:", ["goals.yaml", "trees", "None"]),
        ("fish: 0.5\nfish: 0.6\ntrees: 0.5", ["goals.yaml", "fish", "twice"]),
        ("- 0.5", ["goals.yaml"]),
        ("fish: [", ["goals.yaml", "YAML"]),
    ],
)
def test_a_wrong_file_is_named_with_the_task(tmp_path: Path, content: str | None, words: list[str]) -> None:
    path = tmp_path / "goals.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CpgError) as error:
        resolve(str(path), TASKS)
    assert [word for word in words if word not in str(error.value)] == []
