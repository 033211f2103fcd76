"""A run on disk: what is frozen, and where work in progress lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from cpg_core.backbones import Input, input_of
from cpg_core.config.settings import Settings
from cpg_core.config.suggestions import unknown
from cpg_core.config.task_settings import task_settings
from cpg_core.data.reading.block_cache import NOTHING_KEPT, Keep
from cpg_core.data.reading.reading import Progress, Wanted, silent
from cpg_core.data.spec import TaskSpec
from cpg_core.data.splits.split import Split
from cpg_core.data.task import TaskData, load_task_data, load_test_split
from cpg_core.errors import CpgError
from cpg_core.model.network import shared_shapes, width
from cpg_core.objectives.measures.confusion import from_rows
from cpg_core.storage import delta
from cpg_core.storage.delta import Delta
from cpg_core.storage.files import RESTORE, Damaged, read_json, read_record
from cpg_core.storage.records import Recall, TaskRecord
from cpg_core.storage.run_spec import RunSpec

RUN = "run.json"
RECORD = "record.json"
RECALL = "recall.json"
SECONDS = "seconds.json"
DELTA = "delta.safetensors"
ROUNDED = 1e-6
"""Goals are written with six digits. No two accuracies lie so close together, unless over a million images."""


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's, however damaged: it has a `run.json`, a frozen task, or one that DVC keeps."""
    return (folder / RUN).exists() or any(folder.glob(f"*/{RECORD}")) or any(folder.glob("*.dvc"))


@dataclass(frozen=True)
class Run:
    """A run and its two folders: `checkpoints/<run>` holds what is frozen, `work/<run>` what is in progress.

    The name of a run on disk is that of its folder: see `open_run`.
    """

    root: Path
    spec: RunSpec
    known_frozen: int = field(default=0, compare=False)
    """Tasks that were frozen as it was opened: with fewer, another process has renamed it or forgotten some since."""

    @property
    def folder(self) -> Path:
        """`checkpoints/<run>`: append-only."""
        return self.root / "checkpoints" / self.spec.name

    @property
    def work(self) -> Path:
        """`work/<run>`: may be deleted at any time; what is in it is learned or computed again."""
        return self.root / "work" / self.spec.name

    @cached_property
    def input(self) -> Input:
        """What images the backbone takes."""
        return input_of(self.spec.backbone)

    def data(self, index: int, progress: Progress = silent, keep: Keep = NOTHING_KEPT) -> TaskData:
        """The images of task `index`, read anew but for what is kept: always the same split of the same images."""
        return load_task_data(
            self._of_its_classes(index),
            image_size=self.input.size,
            channels=self.input.channels,
            val_fraction=self.spec.settings.val_fraction,
            seed=self.spec.seed,
            workers=self.spec.settings.compute.workers,
            progress=progress,
            keep=keep,
            cache_bytes=self.spec.settings.compute.cache_bytes,
        )

    def test_split(self, index: int, progress: Progress = silent) -> Split:
        """The test images of task `index` alone."""
        return load_test_split(self._of_its_classes(index), self.wanted(index, progress))

    def wanted(self, index: int, progress: Progress = silent) -> Wanted:
        """What images are made into that task `index` is evaluated on."""
        resize, workers = self.spec.tasks[index - 1].augment.resize, self.spec.settings.compute.workers
        return Wanted(self.input.channels, self.input.size, workers, progress, resize=resize)

    def _of_its_classes(self, index: int) -> TaskSpec:
        """Task `index`: once it is frozen, of the classes that it learned, whatever lies beside them since."""
        task = self.spec.tasks[index - 1]
        if task.classes is not None or not self.is_frozen(index):
            return task
        listed = self.record(index).task.get("classes")
        return task.model_copy(update={"classes": tuple(listed)}) if isinstance(listed, list) else task

    def settings(self, index: int) -> Settings:
        """The settings of task `index`: the run's, but for those that the task has of its own.

        Raises:
            CpgError: what `run.json` says of them is wrong.
        """
        task = self.spec.tasks[index - 1]
        return task_settings(self.spec.settings, task.settings, f"{self.folder / RUN}: settings of task '{task.name}'")

    def task(self, name: str) -> TaskSpec:
        """A task by its name.

        Raises:
            CpgError: there is none.
        """
        return self.spec.tasks[self._index(name) - 1]

    def _index(self, task: str) -> int:
        names = [each.name for each in self.spec.tasks]
        if task not in names:
            raise unknown("task", task, names)
        return 1 + names.index(task)

    def required_accuracy(self, task: str) -> float:
        """The accuracy that meets a task's goal, in [0, 1]: the goal, less the task's tolerance, less its rounding."""
        index = self._index(task)
        return max(0.0, self.spec.goals[task] - self.settings(index).check.tolerance - ROUNDED)

    def label(self, index: int) -> str:
        """The folder name of a task: `002-fish`."""
        return f"{index:03d}-{self.spec.tasks[index - 1].name}"

    def task_folder(self, index: int) -> Path:
        """Where task `index` (from 1) is frozen: in this run's folder, or in that of the base that it is of."""
        home = next((base.run for base in self.spec.base if index <= base.tasks), self.spec.name)
        return self.root / "checkpoints" / home / self.label(index)

    def task_work(self, index: int) -> Path:
        """Where the stages of task `index` leave their states."""
        return self.work / self.label(index)

    def work_folders(self, index: int) -> list[Path]:
        """The same, and that of tasks which were to be task `index` and were taken back."""
        return list(self.work.glob(f"{index:03d}-*"))

    def unknown_task(self, name: str, known: Sequence[str]) -> CpgError:
        """To raise where the run has no such task among those known: it may have forgotten it."""
        for gone in reversed(self.spec.forgotten):
            if gone.name == name:
                return CpgError(f"task {name!r} of run {self.spec.name} was forgotten on {gone.time[:10]}")
        return unknown("task", name, known)

    def is_frozen(self, index: int) -> bool:
        """Whether task `index` has its record."""
        return (self.task_folder(index) / RECORD).exists()

    def frozen(self) -> int:
        """How many tasks are frozen.

        Raises:
            Damaged: a record is missing although a later task is frozen.
        """
        there = [self.is_frozen(index) for index in range(1, len(self.spec.tasks) + 1)]
        count = there.index(False) if False in there else len(there)
        if any(there[count:]):
            gone = self.task_folder(count + 1) / RECORD
            raise Damaged(f"{gone}: missing, although a later task is frozen; {RESTORE}")
        return count

    def last_frozen(self) -> int:
        """The last task that is frozen, though the record of one before it be missing; 0: none is."""
        return max((k for k in range(1, len(self.spec.tasks) + 1) if self.is_frozen(k)), default=0)

    def record(self, index: int) -> TaskRecord:
        """The record of frozen task `index`.

        Raises:
            Damaged: it is missing or not a task record.
        """
        return read_record(self.task_folder(index) / RECORD, TaskRecord)

    def records(self) -> list[TaskRecord]:
        """The records of all frozen tasks, in order."""
        return [self.record(index) for index in range(1, self.frozen() + 1)]

    def recalls(self, index: int) -> list[Recall]:
        """How the earlier tasks stood once task `index` was frozen."""
        content = read_json(self.task_folder(index) / RECALL)
        return [Recall.model_validate(item) for item in content["earlier"]]

    def confusion(self, index: int) -> Tensor | None:
        """How often task `index` took each class of its test split for each other one: int64 `[classes, classes]`.

        None where there are no classes to tell apart, and of runs that did not write it down yet.
        """
        rows = read_json(self.task_folder(index) / RECALL).get("confusion")
        return None if rows is None else from_rows(rows)

    def roc(self, index: int) -> list[tuple[float, float]]:
        """Points of the curve of false and true accepts of the test pairs of task `index`, rising.

        None at all where it is not tested on pairs, and of runs that did not write them down yet.
        """
        points = read_json(self.task_folder(index) / RECALL).get("roc", [])
        return [(float(false_accepts), float(true_accepts)) for false_accepts, true_accepts in points]

    def seconds(self, index: int) -> dict[str, float]:
        """Seconds of each stage of task `index`, by `01-pick_train` and so on."""
        return {name: float(value) for name, value in read_json(self.task_folder(index) / SECONDS).items()}

    def delta(self, index: int, record: TaskRecord | None = None) -> Delta:
        """What task `index` added.

        Raises:
            Damaged: naming the file.
        """
        record = record or self.record(index)
        return delta.read(self.task_folder(index) / DELTA, record.delta_sha256)

    def require_delta(self, index: int) -> None:
        """Refuse a delta that is missing or has another size than its record says. Its bytes are not read.

        Raises:
            Damaged: naming the file.
        """
        file, size = self.task_folder(index) / DELTA, self.record(index).delta_bytes
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            what = "missing" if found is None else f"{found} bytes instead of {size}"
            raise Damaged(f"{file}: {what}; {RESTORE}")

    def recallable(self, index: int) -> tuple[TaskRecord, Delta]:
        """The record of frozen task `index` and its delta without its own weights, read and checked once a process.

        What is frozen never changes, and every task is recalled after each later one: without this, the cost of a
        task would grow with the files of all that came before.
        """
        if index not in self._recallable:
            record = self.record(index)
            light = replace(self.delta(index, record), values={}, where={})
            self._recallable[index] = record.model_copy(update={"stages": ()}), light
        return self._recallable[index]

    @cached_property
    def _recallable(self) -> dict[int, tuple[TaskRecord, Delta]]:
        return {}

    def shapes(self, budget_x: float) -> dict[str, torch.Size]:
        """The shapes of the shared layers at a budget."""
        return shared_shapes(self.spec.backbone, width(self.spec.settings.base_width, budget_x))
