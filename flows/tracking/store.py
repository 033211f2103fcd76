"""What tracking needs of MLflow: runs found again by their tags, and points that are never sent twice."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from filelock import FileLock
from mlflow.entities import DatasetInput, LoggedModelOutput, Metric, Param, Run, ViewType
from mlflow.models import Model
from mlflow.tracking import MlflowClient

from cpg_core.storage.run import Run as CpgRun

RECORD = "cpg.record"
"""The tag that holds the hash of a task's record."""

BATCH = 900
"""Points a request; MLflow takes 1000 items."""

SQLITE = "sqlite:///"


class Store:
    """The experiment of a run's sequence: in MLFLOW_TRACKING_URI, or in `mlflow.db` and `mlartifacts/` at the root."""

    def __init__(self, run: CpgRun) -> None:
        root = run.root.resolve()
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"
        if uri.startswith(SQLITE):
            _make_whole(Path(uri.removeprefix(SQLITE)))
        # A server knows where its artifacts go; a database alone would have them wherever this was started.
        artifacts = None if uri.startswith("http") else (root / "mlartifacts").as_uri()
        self._client = MlflowClient(tracking_uri=uri)
        self._experiment = self._find_experiment(run.spec.sequence, artifacts)

    def find(self, tags: Mapping[str, str]) -> Run | None:
        """The newest run with these tags."""
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        found = self._client.search_runs([self._experiment], wanted, ViewType.ACTIVE_ONLY, max_results=1)
        return found[0] if found else None

    def finished(self, parent: str) -> set[str]:
        """The records of the tasks that are written whole below a run."""
        wanted = f"tags.`mlflow.parentRunId` = '{parent}' and attributes.status = 'FINISHED'"
        found: set[str] = set()
        page: str | None = None
        while True:
            runs = self._client.search_runs([self._experiment], wanted, max_results=1000, page_token=page)
            found |= {run.data.tags[RECORD] for run in runs if RECORD in run.data.tags}
            page = runs.token
            if not page:
                return found

    def create(self, tags: Mapping[str, str], name: str) -> str:
        """The id of a new run. It has its tags from the start, so that one that breaks off is found again."""
        created = self._client.create_run(self._experiment, tags=dict(tags), run_name=name)
        return str(created.info.run_id)

    def params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Send params; the same again change nothing."""
        self._client.log_batch(run_id, params=[Param(key, value) for key, value in params.items()])

    def delete(self, run: Run) -> None:
        """Delete a run that broke off."""
        self._client.delete_run(run.info.run_id)

    def metrics(self, run_id: str, points: Sequence[tuple[str, int, float]]) -> None:
        """Send points: name, step, value."""
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, step, value in points]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + BATCH])

    def curves(self, run_id: str, points: Mapping[str, Mapping[int, float]]) -> None:
        """Send the points that are not there yet, or are there with another value."""
        known = self._client.get_run(run_id).data.metrics
        missing = []
        for name, curve in points.items():
            history = self._client.get_metric_history(run_id, name) if name in known else []
            there = {metric.step: metric.value for metric in history}
            missing += [(name, step, value) for step, value in curve.items() if there.get(step) != value]
        self.metrics(run_id, missing)

    def last_step(self, run_id: str, name: str) -> int:
        """The last step that a metric was sent for; 0 before the first."""
        if name not in self._client.get_run(run_id).data.metrics:
            return 0
        return max(metric.step for metric in self._client.get_metric_history(run_id, name))

    def data(self, run_id: str, data: DatasetInput) -> None:
        """Name the data that a run learned from."""
        self._client.log_inputs(run_id, datasets=[data])

    def text(self, run_id: str, file: str, text: str) -> None:
        """Write a text artifact, over what was there."""
        self._client.log_text(run_id, text, file)

    def register(
        self, run_id: str, name: str, identity: str, description: str, save: Callable[[Path, Model], None]
    ) -> None:
        """Make what `save` writes the next version of the model `name`, unless a version has this identity."""
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)
        known = self._client.search_model_versions(f"name = '{name}'")
        if any(version.tags.get(RECORD) == identity for version in known):
            return
        model = self._client.create_logged_model(self._experiment, "model", run_id, tags={RECORD: identity})
        with tempfile.TemporaryDirectory() as folder:
            about = Model(artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id)
            save(Path(folder, "model"), about)
            self._client.log_model_artifacts(model.model_id, str(Path(folder, "model")))
        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        self._client.create_model_version(
            name, model.artifact_location, run_id, {RECORD: identity}, description=description, model_id=model.model_id
        )

    def status(self, run_id: str, *, finished: bool) -> None:
        """Say whether a run is finished."""
        if finished:
            self._client.set_terminated(run_id, "FINISHED")
        else:
            self._client.update_run(run_id, "RUNNING")

    def _find_experiment(self, name: str, artifacts: str | None) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            return str(self._client.create_experiment(name, artifact_location=artifacts))
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)


def _make_whole(database: Path) -> None:
    """Make a database that is not there yet aside, and put it in its place when it is whole.

    MLflow takes seconds to make its tables. A process killed meanwhile would leave some of them, which no later one
    can add to.
    """
    if database.exists():
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.with_name(f".{database.name}.lock")):
        if not database.exists():
            aside = database.with_name(f".{database.name}.part")
            aside.unlink(missing_ok=True)
            MlflowClient(tracking_uri=f"{SQLITE}{aside}").search_experiments(max_results=1)
            aside.replace(database)
