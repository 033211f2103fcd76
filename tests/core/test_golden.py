"""A tiny run learns today what it learned when its figures were written down (tests/golden/regenerate.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from golden.regenerate import HOW, PATH, figures

from cpg_core.storage.run import Run

ONE_VAL_IMAGE, ONE_TRAIN_IMAGE, ONE_TEST_IMAGE = 1 / 28, 1 / 254, 1 / 70
"""Of the smallest split: another processor adds in another order, which may turn one image that lies on the edge."""
GOLDEN: list[dict[str, Any]] = json.loads(PATH.read_text())


def approximately(task: dict[str, Any]) -> dict[str, Any]:
    """The golden figures of a task with their tolerances; what is counted has none."""
    stages = [
        stage
        | {
            "loss": [pytest.approx(loss, rel=1e-3) for loss in stage["loss"]],
            "accuracy": [pytest.approx(accuracy, abs=ONE_VAL_IMAGE) for accuracy in stage["accuracy"]],
            "train_accuracy": [pytest.approx(accuracy, abs=ONE_TRAIN_IMAGE) for accuracy in stage["train_accuracy"]],
        }
        for stage in task["stages"]
    ]
    return task | {"stages": stages, "test_accuracy": pytest.approx(task["test_accuracy"], abs=ONE_TEST_IMAGE)}


def test_losses_accuracies_counts_and_stages_are_the_golden_ones(learned: Callable[..., Run]) -> None:
    assert figures(learned(**HOW)) == [approximately(task) for task in GOLDEN]


def test_another_seed_is_not_golden(learned: Callable[..., Run]) -> None:
    assert figures(learned(**HOW, seed=2)) != [approximately(task) for task in GOLDEN]
