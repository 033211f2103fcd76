"""Results as tables in the Prefect UI."""

from __future__ import annotations

import re
from math import isnan
from typing import Any

import pandas as pd
from prefect.artifacts import create_table_artifact

from cpg_core.recall.metrics import matrix, percent, table
from cpg_core.storage.records import StageRecord, TaskRecord
from cpg_core.storage.run import Run
from flows.console.tables import summary_line


def task_artifact(run: Run, record: TaskRecord) -> None:
    """The stages of a task, a row each."""
    goal = f"goal {record.goal:.1%} {'met' if record.goal_met else 'missed'} with {record.accuracy:.1%}"
    create_table_artifact(
        key=_key(run.spec.name, record.name),
        table=[_stage(stage, record.goal_split) for stage in record.stages],
        description=f"**{record.name}**: test accuracy {record.test_accuracy:.1%}, {goal} on {record.goal_split}",
    )


def sequence_artifacts(run: Run) -> None:
    """The tasks of a run, a row each, and the accuracy of every task after every task."""
    name = run.spec.name
    accuracies = (100 * matrix(run)).round(1).reset_index()
    for what, frame, text in (
        ("results", table(run), summary_line(run).removeprefix(f"{name}: ")),
        ("accuracy", accuracies, "test accuracy, in percent, of each task (columns) once each task was frozen (rows)"),
    ):
        _show(frame, _key(name, what), f"**{name}**: {text}")


def _stage(stage: StageRecord, goal_split: str) -> dict[str, Any]:
    row = {
        "stage": stage.stage.replace("_", "-"),
        "budget x": round(stage.budget_x, 3),
        "target": stage.target,
        f"{goal_split} %": _percent(stage.accuracy),
        "train %": _percent(stage.train_accuracy),
        "outcome": _outcome(stage),
        "sparsity": stage.sparsity,
        "own weights": stage.own,
        "picked %": _percent(stage.picked),
    }
    return {name: _cell(value) for name, value in row.items()}


def _outcome(stage: StageRecord) -> str:
    """What a stage decided, if it is one that decides."""
    gate = ", training accuracy too low" if stage.gate is False else ""
    if stage.met is not None:
        return f"{'met' if stage.met else 'missed'}{gate}"
    if stage.kept is not None:
        return "kept" if stage.kept else "not kept"
    return ""


def comparison_artifact(sequence: str, frame: pd.DataFrame) -> None:
    """The runs of a comparison, a row each."""
    _show(frame, _key("compare", sequence), f"**{sequence}**, side by side")


def _show(frame: pd.DataFrame, key: str, description: str) -> None:
    rows = [{str(name): _cell(value) for name, value in row.items()} for row in frame.to_dict("records")]
    create_table_artifact(key=key, table=rows, description=description)


def _key(*parts: str) -> str:
    """Prefect's keys hold lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def _percent(share: float | None) -> float | None:
    return None if share is None else percent(share)


def _cell(value: Any) -> Any:  # noqa: ANN401  (whatever a table holds)
    if isinstance(value, float):
        return "" if isnan(value) else round(value, 4)  # a NaN is no JSON
    return "" if value is None else value
