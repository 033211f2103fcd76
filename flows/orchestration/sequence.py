"""The Prefect flows: `cpg` learns a sequence (deployed as `cpg/sequence`), `cpg-add` adds a task to a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from prefect import Flow, State, flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Crashed, Failed

from cpg_core.errors import CpgError
from cpg_core.recall.metrics import summary
from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.training.reporter import Interrupted
from flows.console.reporters import Listen
from flows.console.signals import Stop
from flows.environment import prepare
from flows.orchestration import parameters as form
from flows.orchestration.liveness import alive
from flows.orchestration.outage import server_answers
from flows.orchestration.reap import settle_crashed
from flows.orchestration.run_log import in_logs
from flows.orchestration.task import Tasks
from flows.persist import Persist
from flows.request import SequenceRequest, added, begun, resolve

Summary = dict[str, float]
T = TypeVar("T")


def sequence_flow(listen: Listen = in_logs, persist: Persist | None = None) -> Flow[..., State[Summary]]:
    """The flow `cpg`, reporting to `listen`; kept by `persist`, else by one made of the parameters."""

    @flow(name="cpg", flow_run_name=_run_name, persist_result=False, on_crashed=[settle_crashed])
    def cpg(
        sequence: form.Sequence,
        method: form.Method = "cpg",
        goal: form.Goal = None,
        profile: form.Profile = None,
        ordering: form.Ordering = 0,
        tasks: form.Tasks = None,
        seed: form.Seed = 1,
        run: form.RunName = None,
        overrides: form.Overrides = (),
        root: form.Root = ".",
        track: form.Track = True,
    ) -> State[Summary]:
        """Learn a sequence of tasks into one network. The same parameters again go on with the same run."""
        request = SequenceRequest(sequence, method, goal, profile, ordering, tasks, seed, run, overrides)
        return told(lambda: _learn(begun(request, Path(root)), listen, persist, track=track))

    return cpg


def add_flow(listen: Listen = in_logs, persist: Persist | None = None) -> Flow[..., State[Summary]]:
    """The flow `cpg-add`, with the same arguments."""

    @flow(name="cpg-add", flow_run_name="{run} + {task}", persist_result=False, on_crashed=[settle_crashed])
    def add(
        run: form.LearnedRun,
        task: form.TaskFile,
        goal: form.Goal = None,
        root: form.Root = ".",
        track: form.Track = True,
    ) -> State[Summary]:
        """Learn one more task at the end of a run; every task before it stays as it is, bit for bit."""
        return told(lambda: _learn(added(Path(root), run, Path(task), goal), listen, persist, track=track))

    return add


def completed(data: T, unrecorded: str | None) -> State[T]:
    """That all is learned; its message says if MLflow refused to record it."""
    if unrecorded is None:
        return Completed(data=data)
    return Completed(name="NotRecorded", message=f"learned, but not recorded in MLflow: {unrecorded}", data=data)


def told(learn: Callable[[], State[T]]) -> State[T]:
    """How learning ended, with a message of ours; that of Prefect would come with a stack."""
    try:
        return learn()
    except (CpgError, Interrupted) as error:
        if not server_answers():
            raise
        if isinstance(error, CpgError):
            return Failed(message=str(error), data=error)
        message = "stopped by a signal with its state saved; it goes on from there"
        return (Cancelled if _cancelling() else Crashed)(message=message, data=error)


def _learn(run: Run, listen: Listen, persist: Persist | None, *, track: bool) -> State[Summary]:
    """Learn the tasks of a run that are not frozen yet, after showing those that are."""
    prepare(run.root)
    stop, persist = Stop(), persist or Persist(run.root, track=track)
    with alive(run.root, flow_run.id), stop.listening(), listen(run, stop) as reporter:
        persist(run, reporter.note)  # what is refused is told before hours of learning
        tasks = Tasks(run, reporter, stop, persist)
        for index in range(1, run.frozen() + 1):
            tasks.show(index)
        learn_sequence(run, reporter, tasks.learn)
        persist(run, reporter.note)
        tasks.finish()
    return completed(summary(run), persist.unrecorded)


def _cancelling() -> bool:
    """Whether the server was asked to cancel this flow run, which is why the signal came."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(flow_run.id)).state
    return state is not None and state.is_cancelling()


def _run_name() -> str:
    """The name of the run that the parameters of the flow mean; of the sequence, if they are wrong."""
    given: dict[str, Any] = dict(flow_run.get_parameters())
    root = Path(given.pop("root"))
    given.pop("track")
    given["overrides"] = tuple(given["overrides"] or ())
    try:
        return resolve(SequenceRequest(**given), root).name
    except CpgError:
        return str(given["sequence"])


cpg = sequence_flow()
