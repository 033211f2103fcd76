"""The figures of a run that are compared with golden ones: closely, or as far as no rounding can turn them."""

from __future__ import annotations

from typing import Any

import pytest
from golden.instruction_sets import Figures

from cpg_core.storage.run import Run

HOW: dict[str, Any] = {"tasks": "1-2"}
ONE_VAL_IMAGE, ONE_TRAIN_IMAGE, ONE_TEST_IMAGE = 1 / 28, 1 / 254, 1 / 70
"""Of the smallest split: a sum added in another order may turn one image that lies on the edge."""


def figures(run: Run) -> Figures:
    """What a run learned, task by task and stage by stage."""
    return [
        {
            "task": record.name,
            "own": record.own,
            "released": record.released,
            "test_accuracy": record.test_accuracy,
            "stages": [
                {
                    "stage": stage.stage,
                    "source": stage.source,
                    "own": stage.own,
                    "loss": [epoch.loss for epoch in stage.epochs],
                    "accuracy": [epoch.accuracy for epoch in stage.epochs],
                    "train_accuracy": [epoch.train_accuracy for epoch in stage.epochs],
                }
                for stage in record.stages
            ],
        }
        for record in run.records()
    ]


def approximately(task: dict[str, Any]) -> dict[str, Any]:
    """The figures of a task with their tolerances; what is counted has none."""
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


def agree(found: Figures, golden: Figures) -> bool:
    """Whether figures are the golden ones, within their tolerances."""
    return found == [approximately(task) for task in golden]


def structure(found: Figures) -> list[dict[str, Any]]:
    """What is the same with every instruction set: the stages, what each starts from, and what is counted.

    The goal lies so low that every stage meets it, so that no accuracy decides on the stages.
    """
    keys = ("stage", "source", "own")
    return [
        {key: task[key] for key in ("task", "own", "released")}
        | {"stages": [{key: stage[key] for key in keys} | {"epochs": len(stage["loss"])} for stage in task["stages"]]}
        for task in found
    ]


def beginning(found: Figures) -> float:
    """The loss of the first epoch of all: nothing is picked or pruned yet, so that rounding changes its last digits."""
    loss: float = found[0]["stages"][0]["loss"][0]
    return loss
