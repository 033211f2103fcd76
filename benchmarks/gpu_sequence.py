"""Parts c and d of `gpu.py`: a row of the paper's Table 2 learned as published, task by task, while time is left."""

from __future__ import annotations

import shutil

from gpu_results import Results, summary
from gpu_setup import Clock, Setup, paper_row, run_spec

from cpg_core.config.settings import Settings
from cpg_core.data.reading.load import choose
from cpg_core.data.spec import TaskSpec
from cpg_core.errors import CpgError
from cpg_core.runner import learn_sequence, learn_task
from cpg_core.stages.context import TaskContext
from cpg_core.storage.records import TaskRecord
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_or_new
from cpg_core.training.reporter import Interrupted

PUBLISHED = ("goal_split=test", "val_fraction=0")
"""All 2,500 images train, and the test split decides: for comparison with the paper only."""
TINY = (
    "base_width=0.5",
    "pick_train.epochs=2",
    "pick_train.score_freeze_epoch=1",
    "check.min_train_accuracy=0.1",
    "prune.targets=[0.3, 0.6]",
    "prune.epochs=1",
    "prune.prune_epochs=1",
    "retrain.epochs=1",
)
ROWS = {"cpg": "CPG avg", "scratch": "Scratch"}


def settings_of(setup: Setup) -> Settings:
    """Profile `paper`, judged as published; smaller where all is to be quick."""
    threads = "compute.threads=1" if setup.device.type == "cpu" else "compute.threads=8"
    return setup.settings("paper", *PUBLISHED, threads, *(TINY if setup.quick else ()))


def learn_row(setup: Setup, results: Results, method: str) -> None:
    """Learn as many tasks as there is time for; a finding a task, and one for all of them."""
    sequence = "cifar100-20" if setup.real_data else "digits-5"
    settings, goals = settings_of(setup), paper_row("fine-Avg")
    name = f"{method}-{sequence}-{setup.precision}" + ("-quick" if setup.quick else "")
    run = open_or_new(setup.root, run_spec(name, sequence, method, settings, "paper", goals))
    published = paper_row(ROWS[method])
    found: dict[str, dict[str, object]] = {}

    def add(index: int) -> None:
        found[run.label(index)] = finding(run, index, published[index - 1])
        results.add(run.label(index), found[run.label(index)])
        results.add("summary", summary(found))

    def learn(context: TaskContext) -> None:
        learn_task(context)
        add(context.index)

    for index in range(1, run.frozen() + 1):
        add(index)

    try:
        learn_sequence(run, Clock(ends=setup.ends), learn)
    except Interrupted:
        print("the time is up; the same command goes on from here", flush=True)
    except CpgError as error:
        if run.frozen() == len(run.spec.tasks) or images_are_here(run.spec.tasks[run.frozen()]):
            raise
        print(f"the row ends here: {error}", flush=True)
    if setup.quick:
        shutil.rmtree(run.folder, ignore_errors=True)


def images_are_here(task: TaskSpec) -> bool:
    """Whether all classes of a task have images: a part of a data set may have been carried here."""
    try:
        for part in ("train", "test"):
            listing = task.source.list_part(part)
            choose(listing, task.classes or listing.names)
    except CpgError:
        return False
    return True


def finding(run: Run, index: int, published: float) -> dict[str, object]:
    """What a task came to, beside the paper's figure for it."""
    record, stages = run.record(index), run.seconds(index)
    epochs = {stage.label: len(stage.epochs) for stage in record.stages if stage.epochs}
    return {
        "test_accuracy": record.test_accuracy,
        "compact_accuracy": compact_accuracy(record),
        "paper": published,
        "goal": record.goal,
        "goal_met": record.goal_met,
        "budget_x": record.budget_x,
        "sparsity": round(record.sparsity, 4),
        "picked": record.picked,
        "redundancy_x": round(record.redundancy_x, 4),
        "delta_bytes": record.delta_bytes,
        "seconds": round(sum(stages.values()), 1),
        "stages": {stage: [epochs.get(stage, 0), round(seconds, 1)] for stage, seconds in stages.items()},
        "unchanged_earlier": [recall.unchanged for recall in run.recalls(index)],
    }


def compact_accuracy(record: TaskRecord) -> float | None:
    """On the split that decides, of the frozen state or, where that is a retrain's, of the state it was compared to."""
    stages = {stage.number: stage for stage in record.stages}
    frozen = stages[record.stages[-1].source or 0]
    before = stages[frozen.source] if frozen.stage == "retrain" and frozen.source else frozen
    return before.accuracy
