"""A finished run in MLflow's model registry, under the run's name: a version each time that it is finished."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import save_model
from mlflow.types import ParamSchema, ParamSpec
from packaging.version import Version

import cpg_core
from cpg_core.storage.run import Run
from flows.tracking.store import Store

NEEDED = ("mlflow", "torch", "torchvision", "numpy", "pillow", "pydantic", "pyyaml", "safetensors", "pyarrow")
"""What a served run imports."""


def register(store: Store, run: Run, run_id: str, identity: str) -> None:
    """Register a finished run, unless it was registered as it is.

    Args:
        store: where the run is recorded.
        run: the run.
        run_id: of its MLflow run.
        identity: the hash of its last task's record, which names the whole model.
    """
    tasks = ", ".join(task.name for task in run.spec.tasks)
    store.register(run_id, run.spec.name, identity, f"Tasks: {tasks}", lambda folder, about: save(run, folder, about))


def save(run: Run, folder: Path, about: Model | None = None) -> None:
    """Save a run as an MLflow model that needs nothing of this checkout.

    Args:
        run: the run; its checkpoints are copied.
        folder: where to; must not be there yet.
        about: the description that MLflow keeps with the model; else a new one.
    """
    with tempfile.TemporaryDirectory() as staged, warnings.catch_warnings(record=True):
        # What MLflow warns of is that it has no type hints or example of an input, from which to make a schema.
        root = Path(staged, "root")
        shutil.copytree(run.folder, Run(root, run.spec).folder, ignore=shutil.ignore_patterns("*.dvc", ".*"))
        save_model(
            path=str(folder),
            mlflow_model=about,
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={"root": str(root)},
            code_paths=[str(Path(cpg_core.__file__).parent)],
            pip_requirements=requirements(),
            signature=ModelSignature(params=ParamSchema([ParamSpec("task", "string", "")])),
        )


def requirements() -> list[str]:
    """What pip must install to serve a run: the versions installed here, without what builds of one differ in."""
    return [f"{package}=={Version(version(package)).public}" for package in NEEDED]
