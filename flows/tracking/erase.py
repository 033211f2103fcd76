"""What MLflow holds of a forgotten task: runs with their artifacts, and registered models whose files hold the task."""

from __future__ import annotations

import os
from collections.abc import Collection

from mlflow.entities import Run as MlflowRun

from cpg_core.storage.run import Run
from cpg_core.storage.runs import names
from flows.tracking.address import VARIABLE
from flows.tracking.place import delete_artifacts
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
    deleted = [line for record in records for line in _models(store, record)]
    others = set(names(run.root)) - {run.folder.name}  # a name that no run has: this one, before it was renamed
    for record in records:
        deleted += [_delete_run(store, found) for found in _found(store, RECORD, record, others)]
    parents = [] if origin is None else _found(store, "cpg.origin", origin, others)
    if os.environ.get(VARIABLE):  # a server, where somebody else may record the very same run under another name
        parents = [one for one in parents if one.data.tags.get("run") == run.folder.name]
    for found in parents:
        deleted += [_delete_run(store, task) for task in _tasks(store, found)]
        deleted.append(_delete_run(store, found))
    return deleted


def _found(store: Store, tag: str, value: str, others: Collection[str]) -> list[MlflowRun]:
    """Runs with a tag, but for those of other runs that are on disk."""
    found = store.client.search_runs([store.experiment], f"tags.`{tag}` = '{value}'", max_results=1000)
    return [one for one in found if one.data.tags.get("run") not in others]


def _tasks(store: Store, parent: MlflowRun) -> list[MlflowRun]:
    """The runs of tasks below a run, which are written again below its new one."""
    wanted = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    return list(store.client.search_runs([store.experiment], wanted, max_results=1000))


def _models(store: Store, record: str) -> list[str]:
    """Delete the models that are of this record, their files first, and their versions in the registry."""
    client, deleted, wanted = store.client, list[str](), f"tags.`{RECORD}` = '{record}'"
    for version in client.search_model_versions(wanted):
        client.delete_model_version(version.name, str(version.version))
        if not client.search_model_versions(f"name = '{version.name}'"):
            client.delete_registered_model(version.name)
        deleted.append(f"model {version.name}, version {version.version}")
    for model in client.search_logged_models([store.experiment], wanted):
        delete_artifacts(str(model.artifact_location))
        client.delete_logged_model(model.model_id)
    return deleted


def _delete_run(store: Store, run: MlflowRun) -> str:
    delete_artifacts(str(run.info.artifact_uri))
    store.delete(run)
    return f"run {run.info.run_name}"
