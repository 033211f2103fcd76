"""A task's delta on disk, rounded as the settings ask and judged as it is read back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from cpg_core import objectives
from cpg_core.config.store import Store
from cpg_core.data.reading.reading import Progress
from cpg_core.data.task import TaskData
from cpg_core.model.network import Network
from cpg_core.model.state import Shared, TaskState
from cpg_core.stages.freezing.recalled_network import probe_of, recalled_network
from cpg_core.stages.freezing.split_evaluation import split_accuracy
from cpg_core.storage import delta as deltas
from cpg_core.storage.assembly import Assembly
from cpg_core.storage.codecs import codec_for
from cpg_core.storage.delta import Delta
from cpg_core.storage.files import Damaged
from cpg_core.storage.records import Stored


@dataclass(frozen=True)
class Written:
    """A delta that is on disk.

    Attributes:
        delta: as it was read back.
        sha256: of its file.
        after: the shared weights with the task's own.
        network: the task's, as it will be recalled.
        accuracy: of that, on the split that decides.
        stored: how it is written, and whether it was rounded in vain.
    """

    delta: Delta
    sha256: str
    after: Shared
    network: Network
    accuracy: float
    stored: Stored


def write_delta(
    path: Path,
    *,
    assembly: Assembly,
    before: Shared,
    state: TaskState,
    index: int,
    data: TaskData,
    exact_accuracy: float,
    required_accuracy: float,
    progress: Progress,
    accuracy_is_current: bool = True,
) -> Written:
    """Write the delta of a state as the run's settings ask; exactly where the rounded model misses the goal.

    Args:
        path: the file.
        assembly: of the run.
        before: the shared weights before the task, at its width.
        state: of the task.
        index: its place in the run, from 1.
        data: its images.
        exact_accuracy: of the state on the split that decides, as it was before anything was rounded.
        required_accuracy: what meets the goal.
        progress: told as images are read.
        accuracy_is_current: False where an earlier task that it picks from was rounded: the accuracy is measured again.
    """
    settings = assembly.run.spec.settings

    def written(store: Store) -> Written:
        delta = deltas.make(before, state, index, overwrites=assembly.overwrites, codec=codec_for(store))
        after = deltas.apply(before, delta, index, overwrites=assembly.overwrites)
        shape = before.budget_x, len(data.classes), objectives.of(data.spec)
        network = recalled_network(assembly, after, delta, index, *shape)
        delta = replace(delta, probe=probe_of(assembly.run, network))
        sha256, accuracy = deltas.write(path, delta), exact_accuracy
        if not deltas.same(delta, deltas.read(path, sha256)):
            raise Damaged(f"{path}: what is read back is not what was written; give the same command again")
        if rounds(store) or not accuracy_is_current:
            decides = data.deciding(settings.goal_split)
            accuracy = split_accuracy(assembly.run, network, decides, data.mean, data.std, progress)
        return Written(delta, sha256, after, network, accuracy, Stored(**store.model_dump(), missed=None))

    found = written(settings.store)
    if exact_accuracy >= required_accuracy > found.accuracy:
        exactly = written(Store(values="float32", private="float32", masks=settings.store.masks))
        found = replace(exactly, stored=exactly.stored.model_copy(update={"missed": found.accuracy}))
    return found


def rounds(store: Store) -> bool:
    """Whether what is read back is another model."""
    return (store.values, store.private) != ("float32", "float32")
