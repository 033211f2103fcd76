"""A run on disk: what it is (`run.json`), what is frozen, and where work in progress lies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from pydantic import ValidationError, field_validator

from cpg_core.backbones import Input
from cpg_core.backbones import find as find_backbone
from cpg_core.config.defaults import completed
from cpg_core.config.schema import Strict
from cpg_core.config.settings import Settings
from cpg_core.data.spec import TaskSpec
from cpg_core.data.task import TaskData, load_task_data
from cpg_core.methods import Method
from cpg_core.methods import find as find_method
from cpg_core.model.network import shared_shapes, width
from cpg_core.model.state import Shared, empty_shared, widened
from cpg_core.storage import delta
from cpg_core.storage.delta import Delta
from cpg_core.storage.files import Damaged, read_json, read_record, read_tensors, sha256, write_json, write_tensors
from cpg_core.storage.records import Recall, TaskRecord

RUN = "run.json"
RECORD = "record.json"
RECALL = "recall.json"
SECONDS = "seconds.json"
DELTA = "delta.safetensors"


class RunSpec(Strict):
    """What a run is, resolved: enough to do it again, or to add to it."""

    name: str
    sequence: str
    ordering: str
    method: str
    backbone: str
    profile: str
    seed: int
    goals: dict[str, float]
    settings: Settings
    tasks: tuple[TaskSpec, ...]
    versions: dict[str, str]
    git_commit: str | None

    @field_validator("settings", mode="before")
    @classmethod
    def _of_an_older_run(cls, settings: object) -> object:
        return completed(settings) if isinstance(settings, dict) else settings


@dataclass(frozen=True)
class Run:
    """A run and its two folders: `checkpoints/<run>` holds what is frozen, `work/<run>` what is in progress."""

    root: Path
    spec: RunSpec

    @property
    def folder(self) -> Path:
        """`checkpoints/<run>`: append-only."""
        return self.root / "checkpoints" / self.spec.name

    @property
    def work(self) -> Path:
        """`work/<run>`: may be deleted at any time; what is in it is learned or computed again."""
        return self.root / "work" / self.spec.name

    @cached_property
    def method(self) -> Method:
        """The run's method."""
        return find_method(self.spec.method)

    @property
    def in_place(self) -> bool:
        """Whether tasks write over each other's weights."""
        return self.method.forgets

    @cached_property
    def input(self) -> Input:
        """What images the backbone takes."""
        return find_backbone(self.spec.backbone).INPUT

    def data(self, index: int) -> TaskData:
        """The images of task `index`, read anew: always the same split of the same images."""
        return load_task_data(
            self.spec.tasks[index - 1],
            image_size=self.input.size,
            channels=self.input.channels,
            val_fraction=self.spec.settings.val_fraction,
            seed=self.spec.seed,
            workers=self.spec.settings.compute.workers,
        )

    def label(self, index: int) -> str:
        """The folder name of a task: `002-fish`."""
        return f"{index:03d}-{self.spec.tasks[index - 1].name}"

    def task_folder(self, index: int) -> Path:
        """Where task `index` (from 1) is frozen."""
        return self.folder / self.label(index)

    def task_work(self, index: int) -> Path:
        """Where the stages of task `index` leave their states."""
        return self.work / self.label(index)

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
            raise Damaged(f"{gone}: missing, although a later task is frozen; bring it back from a copy (dvc pull)")
        return count

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

    def recallable(self, index: int) -> tuple[TaskRecord, Delta]:
        """What recalling task `index` needs besides the shared weights, read and checked once a process.

        What is frozen never changes, and every task is recalled after each later one: without this, the cost of a
        task would grow with the files of all that came before. Models apart are too large to keep, and read anew.
        """
        if self.method.apart:
            record = self.record(index)
            return record, self.delta(index, record)
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

    def shared(self) -> Shared:
        """What the next task builds on: the weights that all frozen tasks share, none where models are apart.

        They come from the cache in `work`, else from the deltas.
        """
        after = 0 if self.method.apart else self.frozen()
        if after == 0:
            return empty_shared(self.shapes(1.0))
        chain = sha256(self.task_folder(after) / RECORD)
        try:
            return self._cached_shared(chain)
        except (Damaged, KeyError, ValidationError):
            shared = self.rebuild(after)
            self.cache(shared, chain)
            return shared

    def rebuild(self, after: int) -> Shared:
        """The union of the deltas of tasks 1 to `after`.

        Raises:
            Damaged: naming the file that is damaged or missing.
        """
        shared = empty_shared(self.shapes(1.0))
        for index in range(1, after + 1):
            record = self.record(index)
            shared = self.joined(shared, record, self.delta(index, record))
        return shared

    def joined(self, shared: Shared, record: TaskRecord, added: Delta) -> Shared:
        """The shared weights after a frozen task, from those before it: widened if it grew, with its own added.

        Where models are apart they are the task's own model, whatever was before.
        """
        if self.method.apart:
            shared = empty_shared(self.shapes(1.0))
        if record.budget_x != shared.budget_x:
            shared = widened(shared, record.budget_x, self.shapes(record.budget_x))
        return delta.apply(shared, added, record.index, in_place=self.in_place)

    def model(self, shared: Shared, record: TaskRecord, added: Delta) -> Shared:
        """The weights that a frozen task is recalled from: the shared ones, or its own model where models are apart."""
        return self.joined(shared, record, added) if self.method.apart else shared

    def cache(self, shared: Shared, chain: str) -> None:
        """Keep the union beside the work in progress, so that a stage need not read every delta."""
        file = self.work / "shared.safetensors"
        tensors = {f"weight:{name}": value for name, value in shared.weight.items()}
        tensors |= {f"owner:{name}": value for name, value in shared.owner.items()}
        content = {"chain": chain, "budget_x": shared.budget_x, "sha256": write_tensors(file, tensors, sync=False)}
        write_json(file.with_suffix(".json"), content, sync=False)

    def _cached_shared(self, chain: str) -> Shared:
        file = self.work / "shared.safetensors"
        content = read_json(file.with_suffix(".json"))
        if content["chain"] != chain:
            raise Damaged(f"{file}: of another point in the run")
        tensors = read_tensors(file, content["sha256"])
        names = self.shapes(content["budget_x"])
        return Shared(
            budget_x=content["budget_x"],
            weight={name: tensors[f"weight:{name}"] for name in names},
            owner={name: tensors[f"owner:{name}"] for name in names},
        )
