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
from cpg_core.storage.lock import locked
from cpg_core.storage.run import Run
from cpg_core.storage.run_spec import RunSpec
from cpg_core.training.reporter import Interrupted
from flows.console.failures import described
from flows.console.reporters import Listen
from flows.console.signals import Stop
from flows.environment import prepare
from flows.orchestration import parameters as form
from flows.orchestration.liveness import liveness_lock, still_alive
from flows.orchestration.outage import server_answers
from flows.orchestration.reap import settle_crashed
from flows.orchestration.run_log import to_run_log
from flows.orchestration.task import Tasks
from flows.parameters import with_home
from flows.persist import Persist
from flows.request import SequenceRequest, resolve, run_of_request, run_with_added_task
from flows.versioning.dvc_pointers import open_or_new_checked

Summary = dict[str, float]
T = TypeVar("T")


class ResolvedRun:
    """The run that the parameters of a flow mean, resolved once: by the command line, or for the flow run's name."""

    def __init__(self, run: Run | None) -> None:
        self._run = run
        self._specs: dict[str, RunSpec] = {}

    def name(self) -> str:
        """The name of the flow run: the run's, or the sequence's if the parameters are wrong."""
        if self._run is not None:
            return self._run.spec.name
        given: dict[str, Any] = dict(flow_run.get_parameters())
        root, _ = given.pop("root"), given.pop("track")
        given["overrides"] = tuple(given["overrides"] or ())
        try:
            spec = self._specs[flow_run.id] = resolve(SequenceRequest(**given), with_home(root))
        except CpgError:
            return str(given["sequence"])
        return spec.name

    def begin(self, request: SequenceRequest, root: Path) -> Run:
        """The run, new or gone on with.

        Raises:
            CpgError: as `begun` does.
        """
        if self._run is not None:
            return self._run
        spec = self._specs.pop(flow_run.id, None)
        return run_of_request(request, root) if spec is None else open_or_new_checked(root, spec)


def sequence_flow(
    listen: Listen = to_run_log, run: Run | None = None, persist: Persist | None = None
) -> Flow[..., State[Summary]]:
    """The flow `cpg`.

    Args:
        listen: who is told how it goes.
        run: what its parameters mean, if that is known; None: the flow resolves them.
        persist: what persists it; None: one made of the parameters.
    """
    resolved = ResolvedRun(run)

    @flow(name="cpg", flow_run_name=resolved.name, persist_result=False, on_crashed=[settle_crashed])
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
        home = Path(root)
        return as_prefect_state(
            lambda: _learn(_found(home, lambda: resolved.begin(request, home)), listen, persist, track=track)
        )

    return cpg


def add_flow(
    listen: Listen = to_run_log, extended: Run | None = None, persist: Persist | None = None
) -> Flow[..., State[Summary]]:
    """The flow `cpg-add`.

    Args:
        listen: who is told how it goes.
        extended: the run with its new task, if that is known; None: the flow resolves its parameters.
        persist: what persists it; None: one made of the parameters.
    """

    @flow(name="cpg-add", flow_run_name="{run} + {task}", persist_result=False, on_crashed=[settle_crashed])
    def add(
        run: form.LearnedRun,
        task: form.TaskFile,
        goal: form.Goal = None,
        root: form.Root = ".",
        track: form.Track = True,
    ) -> State[Summary]:
        """Learn one more task at the end of a run; every task before it stays as it is, bit for bit."""
        return as_prefect_state(
            lambda: _learn(
                extended or _found(Path(root), lambda: run_with_added_task(Path(root), run, Path(task), goal)),
                listen,
                persist,
                track=track,
            )
        )

    return add


def completed(data: T, unrecorded: str | None) -> State[T]:
    """That all is learned; its message says if MLflow refused to record it."""
    if unrecorded is None:
        return Completed(data=data)
    return Completed(name="NotRecorded", message=f"learned, but not recorded in MLflow: {unrecorded}", data=data)


def as_prefect_state(learn: Callable[[], State[T]]) -> State[T]:
    """How learning ended, with a message of ours; that of Prefect would come with a stack.

    Raises:
        Exception: a fault of this program; or whatever ended learning, while the server is away.
    """
    try:
        return learn()
    except (Exception, Interrupted) as error:
        message = described(error)
        if not server_answers() or (message is None and not isinstance(error, Interrupted)):
            raise
        if message is not None:
            return Failed(message=message, data=error)
        stopped = "stopped by a signal with its state saved; it goes on from there"
        return (Cancelled if _cancelling() else Crashed)(message=stopped, data=error)


def _found(root: Path, begin: Callable[[], Run]) -> Run:
    """The run of this flow run, which `cpg reap` takes for alive meanwhile: images that have moved are compared."""
    with still_alive(root, flow_run.id):
        return begin()


def _learn(run: Run, listen: Listen, persist: Persist | None, *, track: bool) -> State[Summary]:
    """Learn the tasks of a run that are not frozen yet, after showing those that are."""
    prepare(run.root)
    stop, persist = Stop(), persist or Persist(run.root, track=track)
    with liveness_lock(run.root, flow_run.id), stop.listening(), listen(run, stop) as reporter:
        with locked(run.work):  # what is refused is told before hours of learning
            persist(run, reporter.note)
        tasks = Tasks(run, reporter, stop, persist)
        for index in range(1, run.frozen() + 1):
            tasks.show(index)
        learn_sequence(run, reporter, tasks.learn)
        with locked(run.work):
            persist(run, reporter.note)
        tasks.finish()
    return completed(summary(run), persist.unrecorded)


def _cancelling() -> bool:
    """Whether the server was asked to cancel this flow run, which is why the signal came."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(flow_run.id)).state
    return state is not None and state.is_cancelling()


cpg = sequence_flow()
