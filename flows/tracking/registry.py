"""A finished run in MLflow's model registry, under the run's name: a version each time that it is finished."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from contextlib import suppress
from importlib.metadata import version as installed
from pathlib import Path

from mlflow.entities import LoggedModel, LoggedModelOutput
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import save_model
from mlflow.tracking import MlflowClient
from mlflow.types import ParamSchema, ParamSpec
from packaging.version import Version

import cpg_core
from cpg_core.storage.run import RUN, Run
from flows.tracking.place import delete_artifacts
from flows.tracking.store import RECORD, Store

NEEDED = (
    "mlflow",
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "pydantic",
    "pyyaml",
    "safetensors",
    "pyarrow",
    "constriction",
    "accelerate",
)
"""What a served run imports."""
MOST_TASKS = 64
"""Told in a description: a name has 64 characters at the most."""


def register(store: Store, run: Run, run_id: str, identity: str) -> None:
    """Register a finished run, unless it was registered as it is.

    Args:
        store: where the run is recorded.
        run: the run.
        run_id: of its MLflow run.
        identity: the hash of its last task's record, which names the whole model.

    Raises:
        Exception: MLflow's; then nothing is left of the new version, nor of a model without versions.
    """
    client, name = store.client, run.folder.name
    model = _find_model(store, run_id, identity)
    versions = client.search_model_versions(f"name = '{name}'")
    if all(version.tags.get(RECORD) != identity for version in versions):
        model = model or client.create_logged_model(store.experiment, "model", run_id, tags={RECORD: identity})
        try:
            _make_version(client, run, model, identity)
        except BaseException:
            _take_back(client, name, model)
            raise
    if model is not None and model.model_id not in _outputs(client, run_id):
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])


def _find_model(store: Store, run_id: str, identity: str) -> LoggedModel | None:
    """The model of this identity, whole or begun by a process that was killed."""
    wanted = f"tags.`{RECORD}` = '{identity}' AND source_run_id = '{run_id}'"
    found = store.client.search_logged_models([store.experiment], wanted, max_results=1)
    return found[0] if found else None


def _outputs(client: MlflowClient, run_id: str) -> list[str]:
    """The ids of the models that a run is said to have made."""
    outputs = client.get_run(run_id).outputs
    return [] if outputs is None else [output.model_id for output in outputs.model_outputs]


def _make_version(client: MlflowClient, run: Run, model: LoggedModel, identity: str) -> None:
    """Write a model's files and make it the next version of the name of its run."""
    name, place = run.folder.name, model.artifact_location
    with tempfile.TemporaryDirectory() as folder:
        about = Model(artifact_path=place, run_id=model.source_run_id, model_id=model.model_id)
        save(run, Path(folder, "model"), about)
        client.log_model_artifacts(model.model_id, str(Path(folder, "model")))
    client.finalize_logged_model(model.model_id, "READY")
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    about_it = described([task.name for task in run.spec.tasks])
    client.create_model_version(
        name, place, model.source_run_id, {RECORD: identity}, description=about_it, model_id=model.model_id
    )


def described(tasks: list[str]) -> str:
    """What the registry says of a version; a database takes 5000 characters, and of more a part and the number."""
    shown = tasks[:MOST_TASKS]
    left = len(tasks) - len(shown)
    return f"Tasks: {', '.join(shown)}" + (f" and {left} more; run.json of its run has all" if left else "")


def _take_back(client: MlflowClient, name: str, model: LoggedModel) -> None:
    """Delete what a registration that broke has left, as far as MLflow lets us."""
    with suppress(Exception):
        delete_artifacts(model.artifact_location)
    with suppress(Exception):
        client.delete_logged_model(model.model_id)
    with suppress(Exception):
        if not client.search_model_versions(f"name = '{name}'"):
            client.delete_registered_model(name)


def save(run: Run, folder: Path, about: Model) -> None:
    """Save a run as an MLflow model that needs nothing of this checkout.

    Args:
        run: the run; its checkpoints are copied.
        folder: where to; must not be there yet.
        about: the description that MLflow keeps with the model.
    """
    with tempfile.TemporaryDirectory() as staged, warnings.catch_warnings(record=True):
        # What MLflow warns of is that it has no type hints or example of an input, from which to make a schema.
        root = Path(staged, "root")
        copy_checkpoints(run, root)
        save_model(
            path=str(folder),
            mlflow_model=about,
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={"root": str(root)},
            code_paths=[str(Path(cpg_core.__file__).parent)],
            pip_requirements=requirements(),
            signature=ModelSignature(params=ParamSchema([ParamSpec("task", "string", "")])),
        )


def copy_checkpoints(run: Run, root: Path) -> None:
    """What recalling a run needs, below another root: its `run.json`, and its frozen tasks, also those of its bases."""
    for source in (run.folder / RUN, *(run.task_folder(index) for index in range(1, run.frozen() + 1))):
        target = root / source.relative_to(run.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*"))
        else:
            shutil.copy2(source, target)


def requirements() -> list[str]:
    """What pip must install to serve a run: the versions installed here, without what builds of one differ in."""
    return [f"{package}=={Version(installed(package)).public}" for package in NEEDED]
