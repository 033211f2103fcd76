"""What Prefect, MLflow and DVC read from the environment while they are imported; what is set already stays."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

TELEMETRY = {
    "DO_NOT_TRACK": "1",  # Prefect's client; "true" would overrule MLflow's own switch
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
"""Off, unless the user turned it on; `telemetry.pth` holds the same for commands that do not come through here."""

MLFLOW = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A tracking server that is away must not hold up training: MLflow would try for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""Processes that are started from here do not import a `queue.py` that lies in the caller's folder."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def prepare(root: Path) -> None:
    """Turn telemetry off, keep Prefect's files in `<root>/.prefect`, and speak to this machine without a proxy.

    Call it before anything imports prefect or mlflow.
    """
    prepare_mlflow()
    _default(SAFE_PATH)
    _default({"PREFECT_HOME": str(root.resolve() / ".prefect")})
    direct = without_proxy(os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "")
    os.environ.update(no_proxy=direct, NO_PROXY=direct)
    # It warns of a missing GPU whenever a kernel is compiled for the processor.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


def prepare_mlflow() -> None:
    """Turn telemetry off and keep MLflow quiet and quick; for a worker too, which Prefect starts without `prepare`."""
    _default(TELEMETRY)
    _default(MLFLOW)


def without_proxy(given: str) -> str:
    """The hosts of `no_proxy`, and this machine by each of its names; `*` is every host already."""
    hosts = [host.strip() for host in given.split(",") if host.strip()]
    if "*" in hosts:
        return "*"
    return ",".join([*hosts, *(name for name in LOOPBACK if name not in hosts)])


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    return host in LOOPBACK or host.startswith("127.")


def quiet() -> None:
    """Keep what Prefect logs about runs in its UI and off the terminal, where a reporter speaks for them."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).propagate = False


def _default(values: Mapping[str, str]) -> None:
    for name, value in values.items():
        os.environ.setdefault(name, value)
