"""What a stage is called where people read of it: in the Prefect UI and on the terminal."""

from __future__ import annotations

from cpg_core.stages.request import Request
from cpg_core.storage.records import StageRecord


def stage_label(task: str, stage: Request | StageRecord, before: StageRecord | None) -> str:
    """What is known as a stage begins: `grow fish x1.0 -> x1.5`.

    Args:
        task: the task's name.
        stage: the stage, asked for or done.
        before: the stage done before it.
    """
    match stage.stage:
        case "pick_train":
            return f"pick-train {task} x{round(stage.budget_x, 3)}"
        case "grow":
            return f"grow {task}" + (f" x{round(before.budget_x, 3)} -> x{round(stage.budget_x, 3)}" if before else "")
        case "prune":
            return f"prune {task} to {stage.target:g}"
        case _:
            return f"{stage.stage} {task}"


def check_result(task: str, record: StageRecord, least: float) -> str | None:
    """What a check found: `check fish 0.78 >= 0.76`; None for another stage.

    Args:
        task: the task's name.
        record: the stage, done.
        least: the accuracy that passes.
    """
    if record.stage != "check" or record.accuracy is None:
        return None
    sign = ">=" if record.accuracy >= least else "<"
    gate = ", training accuracy too low" if record.gate is False else ""
    return f"check {task} {record.accuracy:.4g} {sign} {least:.4g}{gate}"
