"""Where artifacts lie: in `mlartifacts/` at the root, also after the project was moved."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from flows.tracking.address import VARIABLE, local_folder
from flows.tracking.database import artifacts_moved
from flows.tracking.refusal import Refused

FOLDER = "mlartifacts"


def artifact_place(root: Path) -> str:
    """The address of the root's folder of artifacts.

    Raises:
        UnicodeEncodeError: the root's name is no UTF-8, which MLflow would write otherwise.
    """
    folder = root.resolve() / FOLDER
    str(folder).encode()
    return folder.as_uri()


def follow_move(root: Path, location: str) -> Path | None:
    """Bring the artifacts' place up to date if the root has moved with its own database.

    Args:
        root: the folder of results as it is called now.
        location: where an experiment keeps its artifacts.

    Returns:
        The folder that they were kept in before the move; None if there was none.

    Raises:
        Refused: the place is not there, and not the root's own: MLflow would make it anew.
    """
    folder, now = local_folder(location), root.resolve() / FOLDER
    if folder is None or folder == now:
        return None
    copied = (folder.parent / "mlflow.db").exists()  # else another root recorded in this database
    if not os.environ.get(VARIABLE) and folder.name == FOLDER and (copied or not folder.exists()):
        artifacts_moved(root.resolve() / "mlflow.db", location, artifact_place(root))
        return folder
    if not folder.exists() and not folder.parent.exists():
        raise Refused(
            f"MLflow's artifacts belong in {folder}, and there is no folder {folder.parent}",
            "bring it back, or record in another database",
        )
    return None


def delete_artifacts(place: str) -> None:
    """Delete a folder of artifacts, given its address; one that is not there is no fault."""
    folder = local_folder(place)
    if folder is None:
        get_artifact_repository(place).delete_artifacts()  # type: ignore[no-untyped-call]
    elif folder.exists():  # MLflow would decode its name twice
        shutil.rmtree(folder)
