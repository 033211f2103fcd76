"""What Prefect, MLflow and DVC read from the environment while they are imported."""

from __future__ import annotations

import logging
import os
from pathlib import Path


def prepare(root: Path) -> None:
    """Turn telemetry off and keep Prefect's files in `<root>/.prefect`; what is set already stays.

    Call it before anything imports prefect or mlflow.
    """
    values = {
        "DO_NOT_TRACK": "true",
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        # A tracking server that is away must not hold up training: MLflow would try for minutes.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        # Nor must a Prefect server: its client would try for a minute, twice.
        "PREFECT_CLIENT_MAX_RETRIES": "2",
        "PREFECT_HOME": str(root.resolve() / ".prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    for name, value in values.items():
        os.environ.setdefault(name, value)
    # It warns of a missing GPU whenever a kernel is compiled for the processor.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


def quiet() -> None:
    """Keep what Prefect logs about runs in its UI and off the terminal, where a reporter speaks for them.

    Nor need it tell of a server that is away: the run does, once.
    """
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).propagate = False
    for name in ("prefect.events.clients", "prefect._internal.concurrency", "EventsWorker", "APILogWorker"):
        # Prefect sets the levels of its loggers anew later on; it leaves filters alone.
        logging.getLogger(name).addFilter(lambda _: False)
    logging.raiseExceptions = False  # what stops Prefect from writing on the terminal that a log line is not sent
