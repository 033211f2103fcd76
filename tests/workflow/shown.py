"""What the Prefect API shows of a flow run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from prefect import Flow


@dataclass(frozen=True)
class ShownTask:
    """A Prefect task run, and the run whose result it was given."""

    id: UUID
    name: str
    state: str
    after: UUID | None


def run_flow(flow: Flow[..., Any], parameters: dict[str, Any]) -> UUID:
    """Run a flow, whether it fails or not; the id of its run."""
    state = flow(**parameters, return_state=True)
    return state.state_details.flow_run_id


def shown(flow_run: UUID) -> dict[str, list[ShownTask]]:
    """The stages shown in each subflow, in the order in which they ran. Prefect records them a little later."""
    deadline = time.monotonic() + 60
    while True:
        found = _read(flow_run)
        states = [task.state for tasks in found.values() for task in tasks]
        settled = all(found.values()) and not {"Pending", "Running"} & set(states)
        if settled or time.monotonic() > deadline:
            return found
        time.sleep(0.3)


def names(flow_run: UUID) -> list[str]:
    return [task.name for tasks in shown(flow_run).values() for task in tasks]


def states(flow_run: UUID) -> list[str]:
    return [task.state for tasks in shown(flow_run).values() for task in tasks]


def _read(flow_run: UUID) -> dict[str, list[ShownTask]]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterParentFlowRunId

    with get_client(sync_client=True) as client:
        parent = FlowRunFilterParentFlowRunId(any_=[flow_run])
        subflows = client.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=parent))
        found = {}
        for subflow in sorted(subflows, key=lambda run: run.start_time):
            tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[subflow.id])))
            ordered = sorted(tasks, key=lambda run: run.start_time or run.expected_start_time)
            found[subflow.name] = [
                ShownTask(run.id, run.name, run.state.name, next((x.id for x in run.task_inputs["previous"]), None))
                for run in ordered
            ]
        return found
