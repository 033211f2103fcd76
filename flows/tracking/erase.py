"""What MLflow holds of a forgotten task: runs with their artifacts, and registered models whose files hold the task."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection

from mlflow.entities import LifecycleStage, ViewType
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.uri import append_to_uri_path

from cpg_core.storage.run import Run
from cpg_core.storage.runs import names
from flows.tracking.address import VARIABLE
from flows.tracking.place import delete_artifacts
from flows.tracking.store import RECORD, Store

GONE = "RESOURCE_DOES_NOT_EXIST"
"""What MLflow says of what it does not have, or has marked as deleted."""


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

    def of_this_run(name: str | None) -> bool:
        """By the run's name; in the root's own database also by one that no run has now, as before it was renamed."""
        return name == run.folder.name or not (os.environ.get(VARIABLE) or name in here)

    def found(tag: str, value: str) -> list[MlflowRun]:
        return [one for one in store.find({tag: value}, ViewType.ALL) if of_this_run(one.data.tags.get("run"))]

    models = [line for record in records for line in _models(store, record, of_this_run)]
    tasks = [one for record in records for one in found(RECORD, record)]
    parents = [] if origin is None else found("cpg.origin", origin)
    for parent in parents:
        tasks += store.find({"mlflow.parentRunId": parent.info.run_id}, ViewType.ALL)  # written again below its new run
        _delete_files_of_deleted_models(store, parent)
    runs = list({one.info.run_id: one for one in (*tasks, *parents)}.values())
    deleted = [line for one in runs for line in _delete_run(store, one)]
    return models + deleted if models or runs else None


def _models(store: Store, record: str, of_this_run: Callable[[str | None], bool]) -> list[str]:
    """Delete the models of a run that are of this record, their files first, and then their versions in the registry.

    A version has the name of its run, which is what tells whose it is once `mlflow gc` has removed the MLflow run.
    """
    client, deleted, wanted = store.client, list[str](), f"tags.`{RECORD}` = '{record}'"
    versions = list(client.search_model_versions(wanted))
    registered = {version.model_id: version.name for version in versions}
    for model in client.search_logged_models([store.experiment], wanted):
        if of_this_run(_name_of_run(client, model.source_run_id) or registered.get(model.model_id)):
            delete_artifacts(str(model.artifact_location))
            client.delete_logged_model(model.model_id)
    for version in versions:
        if not of_this_run(_name_of_run(client, version.run_id) or version.name):
            continue
        client.delete_model_version(version.name, str(version.version))
        if not client.search_model_versions(f"name = '{version.name}'"):
            client.delete_registered_model(version.name)
        deleted.append(f"model {version.name}, version {version.version}")
    return deleted


def _name_of_run(client: MlflowClient, run_id: str | None) -> str | None:
    """The name of the run that an MLflow run is of; None if that is gone."""
    try:
        return client.get_run(str(run_id)).data.tags.get("run")
    except MlflowException as error:
        if error.error_code != GONE:
            raise
        return None


def _delete_files_of_deleted_models(store: Store, parent: MlflowRun) -> None:
    """Of models that were deleted in MLflow's page, which leaves their files: no search finds them, only their run."""
    place = store.client.get_experiment(store.experiment).artifact_location
    for output in parent.outputs.model_outputs if parent.outputs else ():
        try:
            store.client.get_logged_model(output.model_id)
        except MlflowException as error:
            if error.error_code != GONE:
                raise
            files = append_to_uri_path(place, "models", output.model_id, "artifacts")  # type: ignore[no-untyped-call]
            delete_artifacts(files)


def _delete_run(store: Store, run: MlflowRun) -> list[str]:
    """Delete a run with its files; nothing is told of one that is marked as deleted already."""
    delete_artifacts(str(run.info.artifact_uri))
    store.delete(run)
    return [] if run.info.lifecycle_stage == LifecycleStage.DELETED else [f"run {run.info.run_name}"]
