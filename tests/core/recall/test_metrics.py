"""Reports against figures worked out by hand, from records made by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from core.tiny import spec
from cpg_core.errors import CpgError
from cpg_core.recall.metrics import matrix, row, summary, table
from cpg_core.storage.files import write_json
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_or_new

AFTER = {  # test accuracy of tasks 1, 2, 3 once task 1, 2, 3 was frozen
    1: [0.90],
    2: [0.95, 0.70],
    3: [0.85, 0.60, 0.95],
}
NAMES = ("zero-one", "two-three", "four-five")


@pytest.fixture
def by_hand(tmp_path: Path, learned: Callable[..., Run]) -> Run:
    """Three tasks with these accuracies; budgets 1, 1, 1.5; the second goal was missed; 10 seconds a stage."""
    model = learned(tasks="1")
    run = open_or_new(tmp_path, spec(tasks="1-3"))
    for index, accuracies in AFTER.items():
        folder = run.task_folder(index)
        folder.mkdir(parents=True)
        record = model.record(1).model_copy(
            update={
                "index": index,
                "name": NAMES[index - 1],
                "accuracy": 0.5,
                "test_accuracy": accuracies[-1],
                "goal_met": index != 2,
                "budget_x": 1.0 if index < 3 else 1.5,
                "base": 1000,
                "allocated": 1000 if index < 3 else 1480,
                "released": 1000 - 100 * index,
                "picked": None if index == 1 else 0.25,
                "delta_bytes": 2**20,
            }
        )
        earlier = [
            {"task": name, "unchanged": False, "test_accuracy": accuracy}
            for name, accuracy in zip(NAMES, accuracies[:-1], strict=False)
        ]
        write_json(folder / "record.json", record.model_dump(mode="json"))
        write_json(folder / "recall.json", {"earlier": earlier})
        write_json(folder / "seconds.json", {"01-pick_train": 10.0, "02-check": 10.0})
    return run


def test_the_matrix_has_a_row_a_task_learned(by_hand: Run) -> None:
    found = matrix(by_hand)
    assert list(found.index) == list(found.columns) == list(NAMES)
    for index, accuracies in AFTER.items():
        row = found.iloc[index - 1].tolist()
        assert row[:index] == accuracies
        assert all(math.isnan(value) for value in row[index:])


def test_the_summary_is_as_by_hand(by_hand: Run) -> None:
    found = summary(by_hand)
    json_bytes = sum(path.stat().st_size for path in by_hand.folder.glob("0*/re*.json"))
    assert found == {
        "tasks": 3,
        "average_accuracy": pytest.approx((0.85 + 0.60 + 0.95) / 3),
        "backward_transfer": pytest.approx(((0.85 - 0.90) + (0.60 - 0.70)) / 2),
        "forgetting": pytest.approx(((0.95 - 0.85) + (0.70 - 0.60)) / 2),
        "expansion_x": pytest.approx(1.48),
        "redundancy_x": pytest.approx(0.7),
        "model_mb": pytest.approx(3 + json_bytes / 2**20),
        "goals_met": 2,
        "seconds": 60.0,
    }


def test_the_table_has_percent_and_says_what_was_missed(by_hand: Run) -> None:
    found = table(by_hand)
    assert list(found["task"]) == list(NAMES)
    assert list(found["at freeze %"]) == [90.0, 70.0, 95.0]
    assert list(found["val %"]) == [50.0] * 3
    assert list(found["goal"]) == ["met", "missed", "met"]
    assert list(found["budget x"]) == [1.0, 1.0, 1.5]
    assert list(found["redundancy x"]) == [0.9, 0.8, 0.7]
    assert list(found["picked %"].dropna()) == [25.0, 25.0]
    assert list(found["seconds"]) == [20.0] * 3
    assert "recalled %" not in found
    assert row(by_hand, 1, lambda _name: 0.125)["recalled %"] == 12.5


def test_one_task_has_forgotten_nothing(learned: Callable[..., Run]) -> None:
    found = summary(learned(tasks="1"))
    assert (found["tasks"], found["backward_transfer"], found["forgetting"]) == (1, 0.0, 0.0)


def test_a_run_with_nothing_frozen_has_no_figures(new_run: Callable[..., Run]) -> None:
    run = new_run()
    assert table(run).empty
    with pytest.raises(CpgError, match=r"tiny.*no task is frozen"):
        summary(run)
