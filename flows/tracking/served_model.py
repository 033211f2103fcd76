"""A run as an MLflow model. MLflow keeps this file with the model, beside `cpg_core` and the run's checkpoints, and
runs it where the model is loaded: nothing else of the project is there.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from mlflow.pyfunc.utils.serving_data_parser import SUPPORTED_LLM_FORMATS
from mlflow.telemetry import set_telemetry_client

from cpg_core.errors import CpgError
from cpg_core.recall.predictor import Serving
from cpg_core.recall.recall import device_note
from cpg_core.storage.files import Damaged
from cpg_core.storage.run import RUN
from cpg_core.storage.runs import open_run


class Refused(MlflowException):
    """What is wrong, in words. MLflow's server puts the whole input before a message; this leaves it out."""

    def __init__(self, message: str, error_code: int = INVALID_PARAMETER_VALUE) -> None:
        super().__init__(message, error_code=error_code)
        self._said = message

    def serialize_as_json(self) -> str:
        """What the client reads."""
        return json.dumps({"error_code": self.error_code, "message": self._said})


class RunModel(PythonModel):
    """Answers for every task of a run: `predict(images, params={"task": "fish"})`."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the run's checkpoints."""
        # Nobody may have told the process that serves; it looks at the variable again when it is told to.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        set_telemetry_client()  # type: ignore[no-untyped-call]
        # MLflow's server passes a body on whole if one of these is a key of it; of any other it drops what it does
        # not know, which would be the task.
        SUPPORTED_LLM_FORMATS.add("task")
        root = Path(context.artifacts["root"])
        (found,) = (root / "checkpoints").glob(f"*/{RUN}")
        run = open_run(root, found.parent.name)
        if (note := device_note(run)) is not None:
            logging.getLogger(__name__).warning(note)
        self._serving = Serving(run)

    # MLflow would read a type of `model_input` as a schema, and it has two: a list, and a body that came whole.
    def predict(self, context, model_input, params: dict[str, Any] | None = None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, ARG002
        """What the task says of images, as `cpg_core.recall.predictor.read_images` takes them: classes and
        probabilities, or embeddings and whether two of them are of one person.

        Raises:
            Refused: there is no such task, or an image cannot be read.
        """
        task = (params or {}).get("task") or None
        if isinstance(model_input, Mapping):
            given, model_input = set(model_input), model_input.get("inputs")
            if given != {"inputs"}:
                raise Refused(f'expected {{"task": "...", "inputs": [...]}}, got the keys {sorted(given)} besides task')
        if task is None:
            raise Refused(f'which task? Give "task", one of: {", ".join(self._serving.tasks)}')
        try:
            answer = self._serving.answer(task, model_input)
        except Damaged as error:
            raise Refused(str(error), INTERNAL_ERROR) from error
        except CpgError as error:
            raise Refused(str(error)) from error
        return {"task": task, **answer.content}


set_model(RunModel())
