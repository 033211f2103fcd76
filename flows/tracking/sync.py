"""MLflow as a mirror of what is on disk: `sync` sends what is not there yet, whenever and however often it is called.

A run is an MLflow run, found again by its name and the hash of its first task's record; each task is one nested in
it, found by the hash of its own record and written once. Training knows nothing of this, and goes on when the server
is away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cpg_core.recall.metrics import matrix, summary, table
from cpg_core.storage.files import sha256
from cpg_core.storage.run import RECORD, Run
from flows.environment import prepare_mlflow
from flows.tracking.address import tracking_address
from flows.tracking.flat import flat
from flows.tracking.refusal import Outage, Refusal, judge

if TYPE_CHECKING:
    from flows.tracking.store import Store

LAST = "tasks"
"""The metric that is sent last: a step that it has is there whole."""

Note = Callable[[str], None]


class Tracker:
    """Records a run in MLflow as far as it is on disk, whenever it is called. It never raises.

    Attributes:
        refusal: why MLflow did not record when it was asked last, if that will not pass by itself.
    """

    def __init__(self) -> None:
        self.refusal: Refusal | None = None
        self._told: set[str] = set()

    def __call__(self, run: Run, note: Note) -> None:
        """`sync`; a person is told once of each trouble, and of a refusal at once: before anything is learned."""
        try:
            self.refusal = None
            if (moved_from := sync(run)) is not None:
                note(f"MLflow's artifacts were in {moved_from} before the project was moved; now they go with it")
        except Exception as error:  # whatever ails MLflow, the run is on disk and learning goes on
            trouble = _judged(run, error)
            self.refusal = trouble if isinstance(trouble, Refusal) else None
            self._tell(trouble, note)

    def _tell(self, trouble: Refusal | Outage, note: Note) -> None:
        if isinstance(trouble, Refusal):
            text = _told(trouble)
        else:
            text = f"MLflow cannot be reached ({trouble.why}); learning goes on, and the next time sends everything"
        if text not in self._told:
            note(text)
        self._told.add(text)


def open_store(run: Run) -> str | None:
    """Import MLflow and make its database ahead of the first `sync`, which takes seconds.

    Returns:
        What the first `sync` would tell of a refusal; None if there is none.
    """
    try:
        prepare_mlflow()
        from flows.tracking.store import Store

        Store(run)
    except Exception as error:
        trouble = _judged(run, error)
        return _told(trouble) if isinstance(trouble, Refusal) else None
    return None


def sync(run: Run) -> Path | None:
    """Send what is on disk and not in MLflow yet.

    Returns:
        Where artifacts were kept before the project was moved, if that was noticed now.

    Raises:
        Exception: as `flows.tracking.refusal.judge` takes them apart.
    """
    prepare_mlflow()
    from flows.tracking.store import Store

    store = Store(run)
    if run.frozen() > 0:
        _send(store, run)
    return store.moved_from


def _send(store: Store, run: Run) -> None:
    from flows.tracking.registry import register
    from flows.tracking.task_run import write_task

    chain = [_identity(run, index) for index in range(1, run.frozen() + 1)]
    identity = {"run": run.folder.name, "cpg.origin": chain[0]}
    recorded = {str(found.info.run_id): store.finished(str(found.info.run_id)) for found in store.find(identity)}
    # Another run of this name may have begun alike: one learned before, or a copy that goes on elsewhere.
    ours = [parent for parent, records in recorded.items() if records <= set(chain)]
    parent = max(ours, key=lambda one: len(recorded[one]), default=None)  # of equals the newest
    if parent is None:
        parent = store.create({**_tags(run), **identity}, run.folder.name)
    written = recorded.get(parent, set())
    store.params(parent, _params(run))
    for index, record in enumerate(chain, 1):
        if record not in written:
            write_task(store, run, index, parent, record)
    _curves(store, run, parent)
    store.text(parent, "accuracy_matrix.csv", matrix(run).to_csv(float_format="%.6f"))
    store.text(parent, "results.csv", table(run).to_csv(index=False))
    store.text(parent, "run.json", run.spec.model_dump_json(indent=1))
    finished = run.frozen() == len(run.spec.tasks)
    if finished:
        register(store, run, parent, chain[-1])
    store.status(parent, finished=finished)


def _told(refusal: Refusal) -> str:
    return f"MLflow refuses, so nothing is recorded; learning goes on. {refusal}"


def _judged(run: Run, error: Exception) -> Refusal | Outage:
    try:
        address = tracking_address(run.root)
    except UnicodeEncodeError:
        address = "mlflow.db"
    return judge(error, address)


def _identity(run: Run, index: int) -> str:
    return sha256(run.task_folder(index) / RECORD)


def _tags(run: Run) -> dict[str, str]:
    """What runs are filtered by."""
    return {**_choices(run), "cpg.kind": "sequence", "mlflow.source.git.commit": run.spec.git_commit or ""}


def _params(run: Run) -> dict[str, str]:
    """What runs are compared by: what was chosen, and every setting by its dotted name."""
    settings = flat(run.spec.settings.model_dump(mode="json"))
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
        "backbone": str(spec.backbone),
    }


def _curves(store: Store, run: Run, parent: str) -> None:
    """The figures of the run after each task, and the accuracy of each task since it was learned."""
    points: dict[str, dict[int, float]] = {}
    for step in range(store.last_step(parent, LAST) + 1, run.frozen() + 1):
        so_far = replace(run, spec=run.spec.model_copy(update={"tasks": run.spec.tasks[:step]}))
        for name, value in summary(so_far).items():
            points.setdefault(name, {})[step] = value
        after = matrix(so_far).iloc[-1]
        for task, accuracy in after.items():
            points.setdefault(f"recall/{task}", {})[step] = float(accuracy)
    last = points.pop(LAST, {})
    store.curves(parent, points)
    store.curves(parent, {LAST: last})
