"""One frozen task as a nested MLflow run, written once."""

from __future__ import annotations

import json

import pandas as pd
from mlflow.entities import Dataset, DatasetInput, InputTag

from cpg_core.data.task import load_task_data
from cpg_core.errors import CpgError
from cpg_core.records import TaskRecord
from cpg_core.run import Run
from flows.mlflow_store import Store


def write_task(store: Store, run: Run, index: int, parent: str, identity: str) -> None:
    """Write task `index` of a run below `parent`, unless it is there; one that broke off is written anew."""
    tags = {"cpg.record": identity, "mlflow.parentRunId": parent}
    found = store.find(tags)
    if found is not None:
        if found.info.status == "FINISHED":
            return
        store.delete(found)
    record, spec = run.record(index), run.spec
    about = {"cpg.kind": "task", "run": spec.name, "sequence": spec.sequence, "method": spec.method}
    run_id = store.create({**about, "task": record.name, **tags}, f"{index:03d}-{record.name}")
    store.params(run_id, {"index": str(index), "goal": f"{record.goal:g}", "width": f"{record.width:g}"})
    seconds = run.seconds(index)
    store.metrics(run_id, [*_epochs(record), *_figures(record, sum(seconds.values()), index)])
    store.text(run_id, "stages.csv", _stages(record, seconds).to_csv(index=False))
    store.text(run_id, "record.json", record.model_dump_json(indent=1))
    if data := _data(run, index, record):
        store.data(run_id, data)
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


def _figures(record: TaskRecord, seconds: float, index: int) -> list[tuple[str, int, float]]:
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
        "seconds": seconds,
    }
    if record.picked is not None:
        figures["picked"] = record.picked
    return [(name, index, value) for name, value in figures.items()]


def _stages(record: TaskRecord, seconds: dict[str, float]) -> pd.DataFrame:
    """A row a stage."""
    rows = []
    for stage in record.stages:
        row = stage.model_dump(exclude={"epochs", "key", "state_sha256"})
        rows.append(row | {"epochs": len(stage.epochs), "seconds": seconds[f"{stage.number:02d}-{stage.stage}"]})
    return pd.DataFrame(rows)


def _data(run: Run, index: int, record: TaskRecord) -> DatasetInput | None:
    """What the task learned from: digest, classes and counts, no image. None where the images are not at hand."""
    try:
        data = load_task_data(
            run.spec.tasks[index - 1],
            image_size=run.input.size,
            channels=run.input.channels,
            val_fraction=run.spec.settings.val_fraction,
            seed=run.spec.seed,
        )
    except CpgError:
        return None
    source = data.spec.source.model_dump(mode="json")
    profile = {"train": len(data.train), "val": len(data.val), "test": len(data.test), "classes": list(record.classes)}
    dataset = Dataset(
        name=record.name,
        digest=data.digest[:32],
        source_type=str(source.get("kind", "unknown")),
        source=json.dumps(source),
        schema=json.dumps({"shape": list(data.train.shape), "classes": list(record.classes)}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
