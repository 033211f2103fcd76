"""A frozen run stored otherwise, as a run of its own: what is rounded is judged by the goal again, task by task."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from cpg_core.config.store import Store
from cpg_core.data.reading.reading import Progress, silent
from cpg_core.errors import CpgError
from cpg_core.machine import deterministic, device_at_hand, machine
from cpg_core.methods import assembly_of
from cpg_core.model.state import Shared
from cpg_core.recall.metrics import stage_seconds
from cpg_core.stages.freezing.recheck import recall_content, recheck
from cpg_core.stages.freezing.split_evaluation import tested
from cpg_core.stages.freezing.stored_delta import rounds, write_delta
from cpg_core.storage.assembly import Assembly
from cpg_core.storage.codecs import format_fields
from cpg_core.storage.delta import state_of
from cpg_core.storage.differences import OTHER_IMAGES
from cpg_core.storage.files import digest, disk_errors, sha256, write_json
from cpg_core.storage.forgotten import Left
from cpg_core.storage.leftovers import unfinished
from cpg_core.storage.lock import locked
from cpg_core.storage.records import TaskRecord
from cpg_core.storage.run import DELTA, RECALL, RECORD, RUN, SECONDS, Run
from cpg_core.storage.runs import checked_name


class Converted(NamedTuple):
    """A task before and after."""

    before: TaskRecord
    after: TaskRecord


def convert(run: Run, name: str, store: Store, progress: Progress = silent) -> list[Converted]:
    """Make the run `name` of the frozen tasks of a run, stored as `store` says; it is there once all of it is.

    Its tasks have their places, picks and histories; their values are rounded, later ones compute with rounded earlier
    ones, and the accuracies of each record are those of the converted model. A task that met its goal and would miss it
    is stored exactly.

    Raises:
        CpgError: nothing is frozen, that name is taken or being made, or images of a task are not at hand.
    """
    settings = run.spec.settings.model_copy(update={"store": store})
    forgotten = tuple(gone.model_copy(update={"left": Left()}) for gone in run.spec.forgotten)  # the run's own to erase
    changed = {"name": checked_name(name), "settings": settings, "base": (), "forgotten": forgotten}
    spec = run.spec.model_copy(update=changed)
    made, frozen = Run(run.root, spec), run.frozen()
    if frozen == 0:
        raise CpgError(f"run {run.spec.name}: no task is frozen yet, so there is nothing to convert")
    with locked(made.work), _aside(made) as aside:
        old, new = assembly_of(run), assembly_of(aside)
        shared = old.rebuild(0), new.rebuild(0)
        converted = []
        for index in range(1, frozen + 1):
            done, shared = _task(old, new, shared, index, progress)
            converted.append(done)
        write_json(aside.folder / RUN, spec.to_json(run.root))
    return converted


def _task(
    old: Assembly, new: Assembly, shared: tuple[Shared, Shared], index: int, progress: Progress
) -> tuple[Converted, tuple[Shared, Shared]]:
    """One task converted, and the shared weights of both runs after it."""
    run, record, folder = old.run, old.run.record(index), new.run.task_folder(index)
    delta, data = run.delta(index, record), run.data(index, progress)
    if data.digest != record.data_sha256:
        raise CpgError(f"task {record.name}: {OTHER_IMAGES}")
    state = state_of(old.before(shared[0], record), delta, index, overwrites=old.overwrites)
    required = run.required_accuracy(record.name)
    with deterministic(record.machine.threads):
        written = write_delta(
            folder / DELTA,
            assembly=new,
            before=new.before(shared[1], record),
            state=state,
            index=index,
            data=data,
            exact_accuracy=record.accuracy,
            required_accuracy=required,
            progress=progress,
            accuracy_is_current=index == 1 or not rounds(new.run.spec.settings.store),
        )
        test_accuracy, figures, drawn = tested(run, written.network, data, progress)
        earlier = recheck(new, written.after, index - 1, lambda _: progress)
        changed: dict[str, Any] = {
            "accuracy": written.accuracy,
            "goal_met": written.accuracy >= required,
            "test_accuracy": test_accuracy,
            "figures": figures,
            "delta_bytes": (folder / DELTA).stat().st_size,
            "delta_sha256": written.sha256,
            "probe_sha256": digest(written.delta.probe),
            "parent_sha256": sha256(new.run.task_folder(index - 1) / RECORD) if index > 1 else None,
            "machine": machine(device_at_hand(run.spec.settings.compute.device), torch.get_num_threads()),
            **format_fields(written.delta.codec, written.stored.missed),
        }
    after = record.model_copy(update=changed)
    write_json(folder / RECALL, recall_content(earlier, drawn))
    write_json(folder / SECONDS, stage_seconds(run, index))
    write_json(folder / RECORD, after.model_dump(mode="json"))
    return Converted(record, after), (old.add(shared[0], record, delta), written.after)


@contextmanager
def _aside(made: Run) -> Iterator[Run]:
    """The run under a hidden name, under which it is no run; it gets its own once it is whole, or is removed.

    Its lock must be held.

    Raises:
        CpgError: there is a run of its own name.
    """
    if made.folder.exists():
        raise CpgError(f"{made.folder} is there already; give the converted run another name")
    aside = Run(made.root, made.spec.model_copy(update={"name": unfinished(made.folder).name}))
    _delete(aside.folder)
    try:
        yield aside
        with disk_errors(made.folder):
            aside.folder.rename(made.folder)
    finally:
        _delete(aside.folder)


def _delete(folder: Path) -> None:
    with disk_errors(folder):
        if folder.exists():
            shutil.rmtree(folder)
