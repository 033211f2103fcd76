"""What MLflow holds of a forgotten task: runs with their artifacts, and registered models whose files hold the task."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection

from mlflow.entities import LifecycleStage, ViewType
from mlflow.entities import Run as MlflowRun

from cpg_core.storage.run import Run
from cpg_core.storage.runs import names
from flows.tracking.address import VARIABLE
from flows.tracking.place import delete_artifacts
from flows.tracking.store import RECORD, Store


def erase(run: Run, records: Collection[str], origin: str | None) -> list[str] | None:
    """Delete all that holds a forgotten task. What is kept of the run is recorded anew by the next `sync`.

    MLflow marks runs as deleted; their rows go with `mlflow gc`. Those that are marked already are looked at too: their
    artifacts stay, as where a task that was half written was written again, or a process was killed at this.

    Args:
        run: as it is now.
        records: SHA-256 of the records of the old chain, from the forgotten task on.
        origin: SHA-256 of the record of the task that was the first.

    Returns:
        What is deleted now, a line each; None: MLflow never had any of it.

    Raises:
        Exception: as `flows.tracking.refusal.judge` takes them apart.
    """
    store, here = Store(run), set(names(run.root))

    def of_this_run(found: MlflowRun) -> bool:
        """By the run's name; in the root's own database also by one that no run has now, as before it was renamed."""
        name = found.data.tags.get("run")
        return name == run.folder.name or not (os.environ.get(VARIABLE) or name in here)

    models = [line for record in records for line in _models(store, record, of_this_run)]
    tasks = [found for record in records for found in _found(store, RECORD, record) if of_this_run(found)]
    parents = [] if origin is None else [one for one in _found(store, "cpg.origin", origin) if of_this_run(one)]
    for parent in parents:
        tasks += _found(store, "mlflow.parentRunId", parent.info.run_id)  # written again below its new run
    runs = list({one.info.run_id: one for one in (*tasks, *parents)}.values())
    deleted = [line for one in runs for line in _delete_run(store, one)]
    return models + deleted if models or runs else None


def _found(store: Store, tag: str, value: str) -> list[MlflowRun]:
    wanted = f"tags.`{tag}` = '{value}'"
    return list(store.client.search_runs([store.experiment], wanted, ViewType.ALL, max_results=1000))


def _models(store: Store, record: str, of_this_run: Callable[[MlflowRun], bool]) -> list[str]:
    """Delete the models of a run that are of this record, their files first, and their versions in the registry."""
    client, deleted, wanted = store.client, list[str](), f"tags.`{RECORD}` = '{record}'"
    for version in client.search_model_versions(wanted):
        if not of_this_run(client.get_run(str(version.run_id))):
            continue
        client.delete_model_version(version.name, str(version.version))
        if not client.search_model_versions(f"name = '{version.name}'"):
            client.delete_registered_model(version.name)
        deleted.append(f"model {version.name}, version {version.version}")
    for model in client.search_logged_models([store.experiment], wanted):
        if not of_this_run(client.get_run(str(model.source_run_id))):
            continue
        delete_artifacts(str(model.artifact_location))
        client.delete_logged_model(model.model_id)
    return deleted


def _delete_run(store: Store, run: MlflowRun) -> list[str]:
    """Delete a run with its files; nothing is told of one that is marked as deleted already."""
    delete_artifacts(str(run.info.artifact_uri))
    if run.info.lifecycle_stage == LifecycleStage.DELETED:
        return []
    store.delete(run)
    return [f"run {run.info.run_name}"]
