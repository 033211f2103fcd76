"""One task of a sequence as a Prefect subflow, its stages as Prefect tasks.

Each stage is handed what the one before it returned, so that the graph shows the order in which they ran. A stage
finds its own finished output on disk, so Prefect caches nothing; one that was found shows as `Cached`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Completed

from cpg_core.runner import do_stage, learn_task
from cpg_core.stages.context import TaskContext
from cpg_core.stages.request import Request
from cpg_core.storage.records import StageRecord
from cpg_core.storage.run import Run
from cpg_core.training.reporter import Reporter
from flows.console.signals import Stop
from flows.console.stage_labels import check_result, stage_label
from flows.orchestration.artifacts import sequence_artifacts, task_artifact
from flows.orchestration.outage import RETRIES, Outage
from flows.persist import Persist

Json = dict[str, Any]
Found = tuple[StageRecord, bool]
"""A stage's record, and whether it was found finished."""


class Stages:
    """Runs the stages of one task as Prefect tasks, one after the other."""

    def __init__(self, run: Run, name: str, outage: Outage) -> None:
        self._name = name
        self._outage = outage
        self._least = run.required_accuracy(name)
        self._returned: Json | None = None
        self._record: StageRecord | None = None

    def execute(self, context: TaskContext, request: Request) -> StageRecord:
        """Do a stage, or find it done."""
        return self._as_task(request, lambda: do_stage(context, request))

    def found(self, record: StageRecord) -> None:
        """Show a stage that was done before."""
        self._as_task(record, lambda: (record, True))

    def _as_task(self, stage: Request | StageRecord, work: Callable[[], Found]) -> StageRecord:
        def wrapper(do: Callable[[], Found]) -> None:
            @task(
                name=stage.stage.replace("_", "-"),
                task_run_name=_without_fields(stage_label(self._name, stage, self._record)),
                cache_policy=NO_CACHE,
                persist_result=False,
            )
            def run(previous: Json | None) -> State[Json]:  # noqa: ARG001  (it makes the edge in the graph)
                record, found = do()
                if found_out := check_result(self._name, record, self._least):
                    _rename(found_out)
                data = record.model_dump(mode="json", exclude={"epochs"})
                return Completed(name="Cached", message="found finished", data=data) if found else Completed(data=data)

            # Prefect knows a result by its identity: an equal one would make no edge.
            data: Any = run(self._returned).data
            self._returned = data.result

        self._record, _ = self._outage.run_with_fallback(wrapper, work, fallback=work)
        return self._record


ATTEMPTS = 3
"""How often the server is asked, at the end of a run, to be shown what it missed."""


class Tasks:
    """Runs the tasks of one run as subflows, one after the other; those that the server missed, once it is back."""

    def __init__(self, run: Run, reporter: Reporter, stop: Stop, persist: Persist) -> None:
        self._run = run
        self._reporter = reporter
        self._stop = stop
        self._persist = persist
        self._outage = Outage(reporter.note)
        self._returned: Json | None = None
        self._missed: list[int] = []
        self._open: list[UUID] = []

    def learn(self, context: TaskContext) -> None:
        """Learn a task and persist it, without Prefect while its server is away."""
        if self.caught_up():
            self._subflow(
                context.index, lambda stages: learn_task(context, stages.execute), lambda: learn_task(context)
            )
        else:
            learn_task(context)
            self._missed.append(context.index)
        self._persist(self._run, self._reporter.note)

    def show(self, index: int) -> None:
        """Show the stages of a task that was frozen before."""
        self._missed.append(index)
        self.caught_up()

    def finish(self) -> None:
        """Show the results of the run, after tasks that a busy server could not be shown before: it is asked again."""
        if any(self.caught_up() for _ in range(ATTEMPTS)):
            self._outage.run_with_fallback(lambda _: sequence_artifacts(self._run), no_work, fallback=no_work)

    def caught_up(self) -> bool:
        """Whether the server shows every task that is frozen, after it was shown those that it missed."""
        for subflow in tuple(self._open):
            if self._outage.is_over():
                self._close(subflow)
        missed, self._missed = self._missed, []
        for place, index in enumerate(missed):
            if not self._outage.is_over():
                self._missed += missed[place:]
                break
            self._subflow(index, self._found(index), fallback=no_work)
        return self._outage.is_over() and not self._open and not self._missed

    def _found(self, index: int) -> Callable[[Stages], None]:
        def found(stages: Stages) -> None:
            for record in self._run.record(index).stages:
                stages.found(record)

        return found

    def _close(self, subflow: UUID) -> None:
        """Tell the server that a subflow has ended, which it could not be told when it did."""

        def wrapper(_: Callable[[], None]) -> None:
            # A server that has lost its database knows nothing of it.
            with get_client(sync_client=True) as client, suppress(ObjectNotFound):
                client.set_flow_run_state(subflow, Completed(), force=True)
            self._open.remove(subflow)

        self._outage.run_with_fallback(wrapper, no_work, fallback=no_work)

    def _subflow(self, index: int, learn: Callable[[Stages], None], fallback: Callable[[], None]) -> None:
        run, name = self._run, self._run.spec.tasks[index - 1].name
        begun: list[UUID] = []
        ended: list[Json] = []

        def wrapper(do: Callable[[], None]) -> None:
            @flow(name="task", flow_run_name=_without_fields(name), persist_result=False)
            def learn_one(number: int, goal: float, previous: Json | None) -> Json:  # noqa: ARG001  (shown in the UI)
                begun.append(_flow_run_id())
                with self._stop.listening():
                    do()
                record = run.record(index)
                task_artifact(run, record)
                return {"task": name, "test_accuracy": record.test_accuracy, "goal_met": record.goal_met}

            # The sequence's heartbeat tells for its tasks too; one of their own would cost each a second at its end.
            settings = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_CLIENT_MAX_RETRIES: RETRIES}
            with temporary_settings(updates=settings):
                ended.append(learn_one(index, run.spec.goals[name], self._returned))

        self._outage.run_with_fallback(wrapper, lambda: learn(Stages(run, name, self._outage)), fallback)
        if ended:
            self._returned = ended[0]
        elif begun:
            self._open += begun
        else:
            self._missed.append(index)


def no_work() -> None:
    """No work: only the server is told something."""


def _flow_run_id() -> UUID:
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    return context.flow_run.id


def _rename(name: str) -> None:
    """Give the running Prefect task another name: the event of its next state takes it to the server."""
    context = TaskRunContext.get()
    assert context is not None
    context.task_run.name = name


def _without_fields(name: str) -> str:
    """Prefect fills in braces in a name; ours hold none to fill in."""
    return name.replace("{", "{{").replace("}", "}}")
