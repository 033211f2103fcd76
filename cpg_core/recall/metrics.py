"""A run's results as tables: read from its records, with nothing trained."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from cpg_core.storage.files import Damaged
from cpg_core.storage.records import TaskRecord
from cpg_core.storage.run import RECALL, RECORD, Run

MEGABYTE = 2**20


def table(run: Run) -> pd.DataFrame:
    """A row a frozen task; accuracies in percent, as tables have them."""
    return pd.DataFrame([row(run, index) for index in range(1, run.frozen() + 1)])


def row(run: Run, index: int, recall: Callable[[str], float] | None = None) -> dict[str, object]:
    """The row of task `index`, as in `table`.

    Args:
        run: the run.
        index: the task's place in it, from 1.
        recall: gives a task's accuracy on the current model; None leaves that column out.

    Raises:
        CpgError: one of its files is damaged, or it cannot be recalled.
    """
    record = run.record(index)
    recalled = {} if recall is None else {"recalled %": percent(recall(record.name))}
    return {
        "task": record.name,
        "at freeze %": percent(record.test_accuracy),
        **recalled,
        f"{record.goal_split} %": percent(record.accuracy),
        "goal %": percent(record.goal),
        "goal": "met" if record.goal_met else "missed",
        "budget x": round(record.budget_x, 3),
        "redundancy x": round(record.redundancy_x, 3),
        "picked %": None if record.picked is None else percent(record.picked),
        "sparsity": round(record.sparsity, 3),
        **_living(record),
        "bytes": record.delta_bytes,
        "seconds": None if (spent := seconds(run, index)) is None else round(spent, 1),
    }


def _living(record: TaskRecord) -> dict[str, object]:
    """Shares of the channels and of the multiply-adds of an image that are left, where channels are pruned."""
    if (left := record.living) is None:
        return {}
    shares = left.channels / left.of_channels, left.multiply_adds / left.of_multiply_adds
    return dict(zip(("channels %", "adds %"), map(percent, shares), strict=True))


def stage_seconds(run: Run, index: int) -> dict[str, float]:
    """Seconds of each stage of task `index`; none where `seconds.json` cannot be read, on which no result rests."""
    try:
        return run.seconds(index)
    except Damaged:
        return {}


def seconds(run: Run, index: int) -> float | None:
    """Seconds that task `index` took; None where they are lost."""
    found = stage_seconds(run, index)
    return sum(found.values()) if found else None


def matrix(run: Run) -> pd.DataFrame:
    """Test accuracy in [0, 1]: row i holds tasks 1..i once task i was frozen; NaN above the diagonal."""
    records = run.records()
    names = [record.name for record in records]
    rows = []
    for record in records:
        earlier = {recall.task: recall.test_accuracy for recall in run.recalls(record.index)}
        rows.append({**earlier, record.name: record.test_accuracy})
    return pd.DataFrame(rows, index=pd.Index(names, name="after"), columns=names, dtype=float)


def summary(run: Run) -> dict[str, float]:
    """The figures of a run as it stands; accuracies in [0, 1].

    `average_accuracy` and `goals_met` leave out a pretrained network that was imported without its own images, since
    its accuracy is agreement with the unpruned one; of a run of that task alone they are of this agreement.
    `backward_transfer` is the mean over earlier tasks of final minus freeze accuracy, `forgetting` the mean of best
    minus final (Lopez-Paz and Ranzato, 2017; Chaudhry et al., 2018). `model_mb` is everything that recall needs.
    `seconds` leaves out tasks whose seconds are lost.

    Raises:
        Damaged: no task is frozen yet.
    """
    records = run.records()
    if not records:
        raise Damaged(f"run {run.spec.name}: no task is frozen yet")
    accuracies = matrix(run)
    final = accuracies.iloc[-1]
    at_freeze = pd.Series({record.name: record.test_accuracy for record in records})
    earlier = list(at_freeze.index[:-1])
    last, judged = records[-1], _with_labels(run) or list(final.index)
    return {
        "tasks": len(records),
        "average_accuracy": float(final[judged].mean()),
        "backward_transfer": float((final - at_freeze)[earlier].mean()) if earlier else 0.0,
        "forgetting": float((accuracies.max() - final)[earlier].mean()) if earlier else 0.0,
        "expansion_x": last.expansion_x,
        "redundancy_x": last.redundancy_x,
        "model_mb": sum(_bytes(run, record) for record in records) / MEGABYTE,
        "goals_met": sum(record.goal_met for record in records if record.name in judged),
        "seconds": sum(seconds(run, record.index) or 0.0 for record in records),
    }


def _with_labels(run: Run) -> list[str]:
    """The frozen tasks whose accuracy is by labels."""
    return [task.name for task in run.spec.tasks[: run.frozen()] if not task.source.imitates]


def _bytes(run: Run, record: TaskRecord) -> int:
    folder = run.task_folder(record.index)
    return record.delta_bytes + sum((folder / name).stat().st_size for name in (RECORD, RECALL))


def percent(share: float) -> float:
    """A share in [0, 1] in percent, as tables have it."""
    return round(100 * share, 1)
