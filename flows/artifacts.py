"""Results as tables in the Prefect UI."""

from __future__ import annotations

import re
from math import isnan
from typing import Any

from prefect.artifacts import create_table_artifact

from cpg_core.records import TaskRecord
from cpg_core.report import matrix, summary, table
from cpg_core.run import Run


def task_artifact(run: Run, record: TaskRecord) -> None:
    """The stages of a task, a row each."""
    columns = ("stage", "budget_x", "target", "accuracy", "train_accuracy", "met", "kept", "sparsity", "own", "picked")
    rows = [{name: _cell(getattr(stage, name)) for name in columns} for stage in record.stages]
    goal = f"goal {record.goal:.4g} {'met' if record.goal_met else 'missed'} with {record.accuracy:.4g}"
    create_table_artifact(
        key=_key(run.spec.name, record.name),
        table=rows,
        description=f"**{record.name}**: test accuracy {record.test_accuracy:.4g}, {goal}",
    )


def sequence_artifacts(run: Run) -> None:
    """The tasks of a run, a row each, and the accuracy of every task after every task."""
    figures = ", ".join(f"{name} {value:.4g}" for name, value in summary(run).items())
    for what, frame, text in (
        ("results", table(run), figures),
        ("accuracy", matrix(run).reset_index(), "Test accuracy of each task (columns) after each task (rows)"),
    ):
        rows = [{str(name): _cell(value) for name, value in row.items()} for row in frame.to_dict("records")]
        create_table_artifact(key=_key(run.spec.name, what), table=rows, description=f"**{run.spec.name}**: {text}")


def _key(*parts: str) -> str:
    """Prefect's keys hold lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def _cell(value: Any) -> Any:  # noqa: ANN401  (whatever a table holds)
    if isinstance(value, float):
        return "" if isnan(value) else round(value, 4)  # a NaN is no JSON
    return "" if value is None else value
