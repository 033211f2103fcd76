"""MLflow as a mirror of what is on disk: `sync` sends what is not there yet, whenever and however often it is called.

A run is an MLflow run, found again by its name and the hash of its first task's record; each task is one nested in
it, found by the hash of its own record and written once. Training knows nothing of this, and goes on when the server
is away.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cpg_core.recall.metrics import matrix, summary, table
from cpg_core.storage.files import sha256
from cpg_core.storage.run import RECORD, Run
from flows.environment import prepare_mlflow

if TYPE_CHECKING:
    from flows.tracking.store import Store

LAST = "tasks"
"""The metric that is sent last: a step that it has is there whole."""

Note = Callable[[str], None]
Track = Callable[[Run, Note], None]
"""Records a run as far as it is on disk; tells a person what goes wrong, and never raises."""


def choose_track(track: bool) -> Track:
    """To track, or its null twin."""
    return tracked if track else untracked


def untracked(run: Run, note: Note) -> None:
    """Nothing."""


def tracked(run: Run, note: Note) -> None:
    """`sync`; what cannot be sent now is sent by the next one."""
    try:
        sync(run)
    except Exception as error:  # whatever ails the tracking server, the run is on disk and learning goes on
        why = str(error).strip().splitlines() or [type(error).__name__]
        note(f"MLflow cannot be reached ({why[0][:200]}); learning goes on, and the next time sends everything")


def open_store(run: Run) -> None:
    """Import MLflow and make its database ahead of the first `sync`, which takes seconds."""
    with suppress(Exception):  # the first `sync` tells
        from flows.tracking.store import Store

        Store(run)


def sync(run: Run) -> None:
    """Send what is on disk and not in MLflow yet. Nothing happens before the first task is frozen."""
    if run.frozen() == 0:
        return
    prepare_mlflow()
    from flows.tracking.registry import register
    from flows.tracking.store import Store
    from flows.tracking.task_run import write_task

    store = Store(run)
    identity = {"run": run.spec.name, "cpg.origin": _identity(run, 1)}
    found = store.find(identity)
    parent = str(found.info.run_id) if found else store.create({**_tags(run), **identity}, run.spec.name)
    store.params(parent, _params(run))
    written = store.finished(parent)
    for index in range(1, run.frozen() + 1):
        if (record := _identity(run, index)) not in written:
            write_task(store, run, index, parent, record)
    _curves(store, run, parent)
    store.text(parent, "accuracy_matrix.csv", matrix(run).to_csv(float_format="%.6f"))
    store.text(parent, "results.csv", table(run).to_csv(index=False))
    store.text(parent, "run.json", run.spec.model_dump_json(indent=1))
    finished = run.frozen() == len(run.spec.tasks)
    if finished:
        register(store, run, parent, _identity(run, run.frozen()))
    store.status(parent, finished=finished)


def _identity(run: Run, index: int) -> str:
    return sha256(run.task_folder(index) / RECORD)


def _tags(run: Run) -> dict[str, str]:
    """What runs are filtered by."""
    return {**_choices(run), "cpg.kind": "sequence", "mlflow.source.git.commit": run.spec.git_commit or ""}


def _params(run: Run) -> dict[str, str]:
    """What runs are compared by: what was chosen, and every setting by its dotted name."""
    settings = _flat(run.spec.settings.model_dump(mode="json"))
    return {name: str(value) for name, value in settings.items()} | _choices(run)


def _choices(run: Run) -> dict[str, str]:
    """What tells the runs of a sequence apart. A goal is a number, or the name of the file that holds one a task."""
    spec = run.spec
    goal = spec.settings.goal
    return {
        "sequence": spec.sequence,
        "method": spec.method,
        "ordering": spec.ordering,
        "goal": Path(goal).stem if isinstance(goal, str) else f"{goal:g}",
        "profile": spec.profile,
        "seed": str(spec.seed),
        "backbone": spec.backbone,
    }


def _flat(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    out: dict[str, object] = {}
    for name, value in values.items():
        out |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return out


def _curves(store: Store, run: Run, parent: str) -> None:
    """The figures of the run after each task, and the accuracy of each task since it was learned."""
    points: dict[str, dict[int, float]] = {}
    for step in range(store.last_step(parent, LAST) + 1, run.frozen() + 1):
        so_far = Run(run.root, run.spec.model_copy(update={"tasks": run.spec.tasks[:step]}))
        for name, value in summary(so_far).items():
            points.setdefault(name, {})[step] = value
        after = matrix(so_far).iloc[-1]
        for task, accuracy in after.items():
            points.setdefault(f"recall/{task}", {})[step] = float(accuracy)
    last = points.pop(LAST, {})
    store.curves(parent, points)
    store.curves(parent, {LAST: last})
