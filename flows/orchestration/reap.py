"""Flow runs whose process is gone are shown as crashed, with what they left open, so that they can be retried."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Crashed

from cpg_core.errors import CpgError
from flows.orchestration.liveness import remove_lock, without_process
from flows.orchestration.server import EXAMPLE, named

GONE = "The process is gone; a retry goes on from the last finished epoch"
WITH_PROCESS = [StateType.RUNNING, StateType.CANCELLING]
OPEN = [StateType.PENDING, *WITH_PROCESS]
LOOK_AGAIN = 3.0
"""Seconds in which a flow that begins has taken its lock, and one that ends has told the server."""


def reap(root: Path) -> list[FlowRun]:
    """End the flow runs in a folder of results whose processes are gone, and those that they had begun.

    Returns:
        Those that were still open.

    Raises:
        CpgError: no Prefect server is named, or none answers there that takes what we ask.
    """
    with temporary_settings({PREFECT_API_URL: _address()}), get_client(sync_client=True) as client:
        ended = [run for identity in sorted(without_process(root)) if (run := _open(client, root, identity))]
        if ended:
            time.sleep(LOOK_AGAIN)
        still = without_process(root)
        ended = [run for run in ended if run.id in still and _open(client, root, run.id)]
        for run in ended:
            settle(client, run.id)
            state: State[Any] = (
                Cancelled(message=GONE) if run.state and run.state.is_cancelling() else Crashed(message=GONE)
            )
            client.set_flow_run_state(run.id, state, force=True)
            remove_lock(root, run.id)
        return ended


def settle(client: SyncPrefectClient, flow_run: UUID) -> None:
    """End what a flow run that was killed had begun: its subflows, and its tasks and theirs."""
    parent = FlowRunFilter(
        parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=OPEN)),
    )
    for subflow in client.read_flow_runs(flow_run_filter=parent):
        settle(client, subflow.id)
        client.set_flow_run_state(subflow.id, Crashed(message=GONE), force=True)
    tasks = client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run])),
        task_run_filter=TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=OPEN))),
    )
    for task in tasks:
        client.set_task_run_state(task.id, Crashed(message=GONE), force=True)


def settle_crashed(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001  (a hook of Prefect)
    """The same, called by the worker for a flow run whose process it saw die."""
    with get_client(sync_client=True) as client:
        settle(client, flow_run.id)


def _open(client: SyncPrefectClient, root: Path, identity: UUID) -> FlowRun | None:
    """A flow run that should have a process; one that waits for a retry has none.

    The lock file of one that has ended is dropped; of one that this server does not know, another may.
    """
    try:
        run = client.read_flow_run(identity)
    except ObjectNotFound:
        return None
    if run.state is not None and run.state.type in WITH_PROCESS:
        return run
    if run.state is not None and run.state.is_final():
        remove_lock(root, identity)
    return None


def _address() -> str:
    """Of the server to ask; without one, Prefect's client would start a server of its own."""
    given: str | None = PREFECT_API_URL.value()
    if not given:
        raise CpgError(f"no Prefect server is named; give its address in PREFECT_API_URL, such as {EXAMPLE}")
    return named(given, "start it (prefect server start), or name another in PREFECT_API_URL")
