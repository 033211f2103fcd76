"""The model that the frozen tasks of a run make up: the union of their deltas, and what each task reads of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from cpg_core.errors import CpgError
from cpg_core.model.layers import Layers
from cpg_core.model.state import Shared, empty_shared, widened
from cpg_core.storage import delta
from cpg_core.storage.delta import Delta
from cpg_core.storage.files import Damaged, read_json, read_tensors, sha256, write_json, write_tensors
from cpg_core.storage.named_tensors import flatten, unflatten
from cpg_core.storage.records import TaskRecord
from cpg_core.storage.run import RECORD, Run


@dataclass(frozen=True)
class Assembly:
    """A run's deltas, put together.

    Attributes:
        run: the run.
        overwrites: tasks write over each other's weights in one network, so an earlier task may change.
        independent: each task has a network of its own, so nothing is shared.
    """

    run: Run
    overwrites: bool = False
    independent: bool = False

    def shared(self) -> Shared:
        """What the next task builds on: the weights that all frozen tasks share; none where tasks are independent.

        They come from the cache in `work`, else from the deltas.
        """
        after = 0 if self.independent else self.run.frozen()
        if after == 0:
            return empty_shared(self.run.shapes(1.0))
        chain = sha256(self.run.task_folder(after) / RECORD)
        try:
            return self._cached(chain)
        except (Damaged, KeyError, ValidationError):
            shared = self.rebuild(after)
            self.cache(shared, chain)
            return shared

    def rebuild(self, after: int) -> Shared:
        """The union of the deltas of tasks 1 to `after`.

        Raises:
            Damaged: naming the file that is damaged or missing.
        """
        return deque(self.history(after), maxlen=1).pop()

    def history(self, after: int) -> Iterator[Shared]:
        """The shared weights before task 1, and as each of tasks 1 to `after` left them at its freeze.

        Raises:
            Damaged: as `rebuild`.
        """
        shared = empty_shared(self.run.shapes(1.0))
        yield shared
        for index in range(1, after + 1):
            record = self.run.record(index)
            shared = self.add(shared, record, self.run.delta(index, record))
            yield shared

    def add(self, shared: Shared, record: TaskRecord, added: Delta) -> Shared:
        """The shared weights after a frozen task, from those before it: widened if it grew, with its own added.

        Where tasks are independent they are the task's own model, whatever was before.
        """
        return delta.apply(self.before(shared, record), added, record.index, overwrites=self.overwrites)

    def before(self, shared: Shared, record: TaskRecord) -> Shared:
        """What a frozen task was added to: the shared weights before it, at its width; none where it is independent."""
        if self.independent:
            shared = empty_shared(self.run.shapes(1.0))
        if record.budget_x != shared.budget_x:
            shared = widened(shared, record.budget_x, self.run.shapes(record.budget_x))
        return shared

    def base(self, shared: Shared, record: TaskRecord, added: Delta) -> Shared:
        """The weights that a frozen task is recalled from: the shared ones, or those of its independent network."""
        return self.add(shared, record, added) if self.independent else shared

    def weights(self, shared: Shared, record: TaskRecord, added: Delta) -> Layers:
        """The weights that a frozen task computes with, of its own width, from the current shared weights."""
        return delta.recalled(self.base(shared, record, added), added, record.index, overwrites=self.overwrites)

    def recallable(self, index: int) -> tuple[TaskRecord, Delta]:
        """What recalling task `index` needs besides the shared weights.

        It is kept once it was read, but for independent networks, which are too large to keep.
        """
        if self.independent:
            record = self.run.record(index)
            return record, self.run.delta(index, record)
        return self.run.recallable(index)

    def cache(self, shared: Shared, chain: str) -> None:
        """Keep the union beside the work in progress, if it can be, so that a stage need not read every delta.

        Independent networks have none.
        """
        if self.independent:
            return
        file = self.run.work / "shared.safetensors"
        tensors = flatten({"weight": shared.weight, "owner": shared.owner})
        with suppress(CpgError):  # where nothing can be written, runs may be read all the same
            content = {"chain": chain, "budget_x": shared.budget_x, "sha256": write_tensors(file, tensors, sync=False)}
            write_json(file.with_suffix(".json"), content, sync=False)

    def _cached(self, chain: str) -> Shared:
        file = self.run.work / "shared.safetensors"
        content = read_json(file.with_suffix(".json"))
        if content["chain"] != chain:
            raise Damaged(f"{file}: of another point in the run")
        weight, owner = unflatten(read_tensors(file, content["sha256"]), "weight", "owner")
        # Files list their tensors in an order of their own; layers are in the order of the backbone.
        names = self.run.shapes(content["budget_x"])
        return Shared(
            budget_x=content["budget_x"],
            weight={name: weight[name] for name in names},
            owner={name: owner[name] for name in names},
        )
