"""The Prefect flows: `cpg` learns a sequence (deployed as `cpg/sequence`), `cpg-add` adds a task to a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from prefect import Flow, flow
from prefect.runtime import flow_run

from cpg_core.report import summary
from cpg_core.run import Run
from cpg_core.runner import learn_sequence
from flows.logs import in_logs
from flows.reporters import Listen
from flows.request import SequenceRequest, added, begun, resolve
from flows.stopping import Stop
from flows.task import Tasks
from flows.tracking import choose_track

Method = Literal["cpg", "pae", "packnet", "piggyback", "scratch", "finetune", "sequential"]
Summary = dict[str, float]


def sequence_flow(listen: Listen = in_logs) -> Flow[..., Summary]:
    """The flow `cpg`, reporting to `listen`."""

    @flow(name="cpg", flow_run_name=_run_name, persist_result=False)
    def cpg(
        sequence: str,
        method: Method = "cpg",
        goal: float | str | None = None,
        profile: str | None = None,
        ordering: str = "0",
        tasks: str | None = None,
        seed: int = 1,
        run: str | None = None,
        overrides: list[str] | None = None,
        root: str = ".",
        track: bool = True,
    ) -> Summary:
        """Learn a sequence of tasks into one network. The same parameters again go on with the same run.

        Args:
            sequence: a sequence's name in data/, or the path of its YAML file.
            method: what learns it.
            goal: the accuracy that each task must reach, in [0, 1], or a file with one a task; else the profile's.
            profile: a profile of params.yaml; else the sequence's.
            ordering: the name of an ordering of the sequence; 0 is the order as written.
            tasks: which positions of that order to learn, such as 1-3 or 1,4,7-9; else all.
            seed: of everything random.
            run: the run's name; else it is made of the above.
            overrides: settings that differ from the profile's, such as prune.lr=0.001.
            root: the folder that holds checkpoints/, work/ and mlflow.db.
            track: record the run in MLflow.
        """
        request = SequenceRequest(sequence, method, goal, profile, ordering, tasks, seed, run, tuple(overrides or ()))
        return _learn(begun(request, Path(root)), listen, track=track)

    return cpg


def add_flow(listen: Listen = in_logs) -> Flow[..., Summary]:
    """The flow `cpg-add`, reporting to `listen`."""

    @flow(name="cpg-add", flow_run_name="{run} + {task}", persist_result=False)
    def add(run: str, task: str, goal: float | str | None = None, root: str = ".", track: bool = True) -> Summary:
        """Learn one more task at the end of a run; every task before it stays as it is, bit for bit.

        Args:
            run: the run's name.
            task: the path of the task's YAML file.
            goal: the accuracy that it must reach, in [0, 1]; else that of the run's settings.
            root: the folder that holds checkpoints/, work/ and mlflow.db.
            track: record the run in MLflow.
        """
        return _learn(added(Path(root), run, Path(task), goal), listen, track=track)

    return add


def _learn(run: Run, listen: Listen, *, track: bool) -> Summary:
    """Learn the tasks of a run that are not frozen yet, after showing those that are."""
    stop, tracked = Stop(), choose_track(track)
    with stop.listening(), listen(run, stop) as reporter:
        tasks = Tasks(run, reporter, stop, tracked)
        for index in range(1, run.frozen() + 1):
            tasks.show(index)
        learn_sequence(run, reporter, tasks.learn)
        tracked(run, reporter.note)
        tasks.finish()
    return summary(run)


def _run_name() -> str:
    """The name of the run that the parameters of the flow mean."""
    given: dict[str, Any] = dict(flow_run.get_parameters())
    root = Path(given.pop("root"))
    given.pop("track")
    given["overrides"] = tuple(given["overrides"] or ())
    return resolve(SequenceRequest(**given), root).name


cpg = sequence_flow()
