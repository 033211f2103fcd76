"""Gather what the stages of a task read."""

from __future__ import annotations

from cpg_core.stages.context import Method, TaskContext
from cpg_core.stages.source_hash import code_of
from cpg_core.storage.files import sha256
from cpg_core.storage.kept_blocks import KeptBlocks
from cpg_core.storage.run import RECORD, Run
from cpg_core.training.ranks import SINGLE_PROCESS, Ranks
from cpg_core.training.reporter import Reporter, reading_progress

IMAGES = "images"
"""The folder, in a task's work in progress, of what was read of its images."""


def open_task(run: Run, method: Method, index: int, reporter: Reporter, ranks: Ranks = SINGLE_PROCESS) -> TaskContext:
    """Everything that the stages of task `index` need; tasks before it must be frozen.

    Raises:
        CpgError: its images are missing, wrong or broken.
        Interrupted: the reporter asks to stop while they are read.
    """
    spec, task = run.spec, run.spec.tasks[index - 1]
    # All code that trains: where it has changed the stages are done anew as well.
    keep = KeptBlocks(run.task_work(index) / IMAGES, code_of(spec, task.kind))
    assembly = method.assembly(run)
    before = assembly.shared()
    earlier = None if index == 1 else method.init_from(spec, index)
    added = None if earlier is None else run.delta(earlier)
    return TaskContext(
        run=run,
        method=method,
        index=index,
        data=run.data(index, reading_progress(reporter, task.name), keep),
        before=before,
        start=before if earlier is None or added is None else assembly.base(before, run.record(earlier), added),
        previous=None if added is None else added.private,
        parent=None if index == 1 else sha256(run.task_folder(index - 1) / RECORD),
        reporter=reporter,
        ranks=ranks,
    )
