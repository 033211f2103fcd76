"""One frozen task as a nested MLflow run, written once."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
from mlflow.entities import Dataset, DatasetInput, InputTag
from pydantic import TypeAdapter

from cpg_core.recall.metrics import stage_seconds
from cpg_core.storage.records import TaskRecord
from cpg_core.storage.run import Run
from flows.tracking.by_class import confusion_picture, recall_table
from flows.tracking.flat import flat
from flows.tracking.roc import roc_picture
from flows.tracking.store import RECORD, Store


def write_task(store: Store, run: Run, index: int, parent: str, identity: str) -> None:
    """Write task `index` of a run below `parent`, in place of one that broke off."""
    tags = {RECORD: identity, "mlflow.parentRunId": parent}
    for broken in store.find(tags):
        store.delete(broken)
    record, spec = run.record(index), run.spec
    about = {"cpg.kind": "task", "run": run.folder.name, "sequence": spec.sequence, "method": spec.method}
    run_id = store.create({**about, "task": record.name, **tags}, f"{index:03d}-{record.name}")
    store.params(run_id, {"index": str(index), "goal": f"{record.goal:g}", "width": f"{record.width:g}"})
    store.params(run_id, {name: str(value) for name, value in flat(spec.tasks[index - 1].settings).items()})
    seconds = stage_seconds(run, index)
    store.metrics(run_id, [*_epochs(record), *_figures(record, seconds, index)])
    store.text(run_id, "stages.csv", _stages(record, seconds).to_csv(index=False))
    store.text(run_id, "record.json", record.model_dump_json(indent=1))
    if (confusion := run.confusion(index)) is not None:
        store.text(run_id, "recall_by_class.csv", recall_table(record.classes, confusion).to_csv(index=False))
        title = f"{record.name}: {record.test_accuracy:.1%} of {int(confusion.sum()):,} test images"
        store.figure(run_id, "confusion.png", confusion_picture(title, record.classes, confusion))
    if points := run.roc(index):
        title = f"{record.name}: {record.test_accuracy:.1%} of the test pairs"
        store.figure(run_id, "roc.png", roc_picture(title, points, record.figures))
    store.data(run_id, _data(record))
    store.status(run_id, finished=True)


def _epochs(record: TaskRecord) -> list[tuple[str, int, float]]:
    """Each epoch of each stage, numbered through."""
    epochs = [(stage.number, epoch) for stage in record.stages for epoch in stage.epochs]
    return [
        (f"epoch/{name}", step, float(value))
        for step, (stage, epoch) in enumerate(epochs, 1)
        for name, value in (
            ("loss", epoch.loss),
            ("train_accuracy", epoch.train_accuracy),
            ("accuracy", epoch.accuracy),
            ("lr", epoch.lr),
            ("stage", stage),
        )
    ]


def _figures(record: TaskRecord, seconds: dict[str, float], index: int) -> list[tuple[str, int, float]]:
    """What the task reached; the step is its place in the sequence."""
    figures = {
        "test_accuracy": record.test_accuracy,
        "accuracy": record.accuracy,
        "goal": record.goal,
        "goal_met": float(record.goal_met),
        "sparsity": record.sparsity,
        "budget_x": record.budget_x,
        "redundancy_x": record.redundancy_x,
        "delta_bytes": float(record.delta_bytes),
        **({"seconds": sum(seconds.values())} if seconds else {}),
    }
    if record.picked is not None:
        figures["picked"] = record.picked
    if (left := record.living) is not None:
        figures |= {"channels": float(left.channels), "channels_of": float(left.of_channels)}
        figures |= {"multiply_adds": float(left.multiply_adds), "multiply_adds_of": float(left.of_multiply_adds)}
    figures |= record.figures
    return [(name, index, value) for name, value in figures.items()]


def _stages(record: TaskRecord, seconds: dict[str, float]) -> pd.DataFrame:
    """A row a stage."""
    rows = []
    for stage in record.stages:
        row = stage.model_dump(exclude={"epochs", "key", "state_sha256"})
        rows.append(row | {"epochs": len(stage.epochs), "seconds": seconds.get(stage.label)})
    return pd.DataFrame(rows)


def _data(record: TaskRecord) -> DatasetInput:
    """What the task learned from: digest, classes and counts, no image."""
    source = TypeAdapter(dict[str, Any]).validate_python(record.task["source"])
    dataset = Dataset(
        name=record.name,
        digest=record.data_sha256[:32],
        source_type=str(source["kind"]),
        source=json.dumps(source),
        profile=json.dumps({**record.images, "classes": list(record.classes)}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
