"""What tracking needs of MLflow: runs found again by their tags, and points that are never sent twice."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlflow.entities import DatasetInput, Experiment, LifecycleStage, Metric, Param, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from cpg_core.storage.run import Run as CpgRun
from flows.tracking.address import database_url, tracking_address
from flows.tracking.database import make_whole, require_writable
from flows.tracking.place import artifact_place, follow_move

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECORD = "cpg.record"
"""The tag that holds the hash of a task's record."""

DELETED = "cpg.deleted"
"""The tag of a run that is to stay deleted: with an experiment, MLflow restores every run that ever was in it."""

BATCH = 900
"""Points a request; MLflow takes 1000 items."""


class Store:
    """The experiment of a run's sequence: in MLFLOW_TRACKING_URI, or in `mlflow.db` and `mlartifacts/` at the root.

    Attributes:
        client: MLflow's, for what only one caller needs.
        experiment: the id of the experiment.
        moved_from: where the artifacts were kept before the project was moved; None if it was not.
    """

    def __init__(self, run: CpgRun) -> None:
        """Connect, after making the database if there is none.

        Raises:
            Exception: as `flows.tracking.refusal.judge` takes them apart.
        """
        address = tracking_address(run.root)
        if (url := database_url(address)) is not None:
            make_whole(url)
            require_writable(url)
        # A server knows where its artifacts go; a database alone would have them wherever this was started.
        artifacts = None if url is None else artifact_place(run.root)
        self.client = MlflowClient(tracking_uri=address)
        found = self._find_experiment(run.spec.sequence, artifacts)
        self.experiment = str(found.experiment_id)
        self.moved_from = follow_move(run.root, str(found.artifact_location))
        for restored in self.find({DELETED: "true"}):
            self.client.delete_run(restored.info.run_id)

    def find(self, tags: Mapping[str, str], view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
        """The runs with these tags, the newest first."""
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        found: list[Run] = []
        page: str | None = None
        while True:
            runs = self.client.search_runs([self.experiment], wanted, view, max_results=1000, page_token=page)
            found += runs
            page = runs.token
            if not page:
                return found

    def finished(self, parent: str) -> set[str]:
        """The records of the tasks that are written whole below a run."""
        tasks = [task for task in self.find({"mlflow.parentRunId": parent}) if task.info.status == "FINISHED"]
        return {task.data.tags[RECORD] for task in tasks if RECORD in task.data.tags}

    def create(self, tags: Mapping[str, str], name: str) -> str:
        """The id of a new run. It has its tags from the start, so that one that breaks off is found again."""
        created = self.client.create_run(self.experiment, tags=dict(tags), run_name=name)
        return str(created.info.run_id)

    def params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Send params; the same again change nothing."""
        self.client.log_batch(run_id, params=[Param(key, value) for key, value in params.items()])

    def delete(self, run: Run) -> None:
        """Delete a run, so that it stays deleted; also one that somebody has deleted in MLflow's page."""
        if run.info.lifecycle_stage == LifecycleStage.DELETED:
            if DELETED in run.data.tags:
                return
            self.client.restore_run(run.info.run_id)  # MLflow tags active runs alone
        self.client.set_tag(run.info.run_id, DELETED, "true")
        self.client.delete_run(run.info.run_id)

    def metrics(self, run_id: str, points: Sequence[tuple[str, int, float]]) -> None:
        """Send points: name, step, value."""
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, step, value in points]
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + BATCH])

    def curves(self, run_id: str, points: Mapping[str, Mapping[int, float]]) -> None:
        """Send the points that are not there yet, or are there with another value."""
        known = self.client.get_run(run_id).data.metrics
        missing = []
        for name, curve in points.items():
            history = self.client.get_metric_history(run_id, name) if name in known else []
            there = {metric.step: metric.value for metric in history}
            missing += [(name, step, value) for step, value in curve.items() if there.get(step) != value]
        self.metrics(run_id, missing)

    def last_step(self, run_id: str, name: str) -> int:
        """The last step that a metric was sent for; 0 before the first."""
        if name not in self.client.get_run(run_id).data.metrics:
            return 0
        return max(metric.step for metric in self.client.get_metric_history(run_id, name))

    def data(self, run_id: str, data: DatasetInput) -> None:
        """Name the data that a run learned from."""
        self.client.log_inputs(run_id, datasets=[data])

    def text(self, run_id: str, file: str, text: str) -> None:
        """Write a text artifact, over what was there."""
        self.client.log_text(run_id, text, file)

    def figure(self, run_id: str, file: str, figure: Figure) -> None:
        """Write a picture as an artifact, over what was there."""
        self.client.log_figure(run_id, figure, file)

    def status(self, run_id: str, *, finished: bool) -> None:
        """Say whether a run is finished."""
        if finished:
            self.client.set_terminated(run_id, "FINISHED")
        else:
            self.client.update_run(run_id, "RUNNING")

    def _find_experiment(self, name: str, artifacts: str | None) -> Experiment:
        """An experiment, made or restored if need be, by this process or by another one at the same time."""
        found = self.client.get_experiment_by_name(name)
        try:
            if found is None:
                return self.client.get_experiment(self.client.create_experiment(name, artifact_location=artifacts))
            if found.lifecycle_stage == LifecycleStage.DELETED:
                self.client.restore_experiment(found.experiment_id)
        except MlflowException:
            found = self.client.get_experiment_by_name(name)
            if found is None or found.lifecycle_stage == LifecycleStage.DELETED:
                raise
        return found
