"""What MLflow holds of a forgotten task: runs with their artifacts, and registered models whose files hold the task."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from mlflow.entities import Run as MlflowRun
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from cpg_core.storage.run import Run
from flows.tracking.address import local_folder
from flows.tracking.store import RECORD, Store


def erase(run: Run, records: Collection[str], origin: str | None) -> list[str]:
    """Delete all that holds a forgotten task. What is kept of the run is recorded anew by the next `sync`.

    MLflow marks runs as deleted; their rows go with `mlflow gc`.

    Args:
        run: as it is now.
        records: SHA-256 of the records of the old chain, from the forgotten task on.
        origin: SHA-256 of the record of the task that was the first.

    Returns:
        What was deleted, a line each.

    Raises:
        Exception: as `flows.tracking.refusal.judge` takes them apart.
    """
    store = Store(run)
    deleted = [line for record in records for line in _models(store.client, record)]
    for record in records:
        while (found := store.find({RECORD: record})) is not None:
            deleted.append(_delete_run(store, found))
    if origin is not None:
        while (found := store.find({"run": run.folder.name, "cpg.origin": origin})) is not None:
            for task in _tasks(store, found):
                deleted.append(_delete_run(store, task))
            deleted.append(_delete_run(store, found))
    return deleted


def _tasks(store: Store, parent: MlflowRun) -> list[MlflowRun]:
    """The runs of tasks below a run, which are written again below its new one."""
    wanted = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    return list(store.client.search_runs([store.experiment], wanted, max_results=1000))


def _models(client: MlflowClient, record: str) -> list[str]:
    """Delete the versions of registered models that are of this record, their files first."""
    deleted = []
    for version in client.search_model_versions(f"tags.`{RECORD}` = '{record}'"):
        if version.source:
            _delete_files(version.source if version.model_id is None else _place(client, version.model_id))
        client.delete_model_version(version.name, str(version.version))
        if version.model_id is not None:
            with suppress(Exception):
                client.delete_logged_model(version.model_id)
        if not client.search_model_versions(f"name = '{version.name}'"):
            client.delete_registered_model(version.name)
        deleted.append(f"model {version.name}, version {version.version}")
    return deleted


def _place(client: MlflowClient, model_id: str) -> str:
    return str(client.get_logged_model(model_id).artifact_location)


def _delete_run(store: Store, run: MlflowRun) -> str:
    _delete_files(str(run.info.artifact_uri))
    store.delete(run)
    return f"run {run.info.run_name}"


def _delete_files(place: str) -> None:
    """Delete a folder of artifacts; one that is not there is no fault."""
    folder = local_folder(place)
    if folder is not None:  # MLflow would decode its name twice
        if Path(folder).exists():
            shutil.rmtree(folder)
    else:
        get_artifact_repository(place).delete_artifacts()  # type: ignore[no-untyped-call]
