"""Learn the runs of a comparison side by side, tell of each as it ends, and sum them up in one table."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from cpg_core.errors import CpgError
from cpg_core.recall.metrics import percent, summary
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_or_new, open_run
from cpg_core.training.reporter import Interrupted
from flows.console.signals import Stop, to_stderr
from flows.console.tables import table_text
from flows.sweep.comparison import Comparison, Planned
from flows.sweep.fan_out import fan_out
from flows.sweep.job import Outcome
from flows.sweep.slot import Worker
from flows.sweep.worker_process import cores

Tell = Callable[[str], None]
SEEN_WITHIN = 60.0
"""Seconds after which a machine sees what another one has written: NFS keeps what it knows of a folder so long."""


@dataclass(frozen=True)
class WorkerPool:
    """The workers of a comparison.

    Attributes:
        workers: how many runs are learned at a time.
        share: the threads that each may take, so that together they take no more than the cores.
        worker: opens one of them.
        mistakes: what is wrong with the number that was asked for.
    """

    workers: int
    share: int
    worker: Worker
    mistakes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Results:
    """What came out, a row a run, the one error that says what is missing, and what MLflow refused to record."""

    frame: pd.DataFrame
    error: BaseException | None
    unrecorded: str | None = None


def local_pool(wanted: Comparison, workers: int | None, worker: Worker) -> WorkerPool:
    """Processes of this machine.

    Args:
        wanted: what to compare.
        workers: how many at a time; None: one a core.
        worker: opens one of them.
    """
    there = cores()
    if workers is not None and not 1 <= workers <= there:
        mistake = f"workers: {workers}: expected 1 to {there}, which is how many cores there are"
        return WorkerPool(there, 1, worker, (mistake,))
    count = max(1, min(workers or there, wanted.count))
    return WorkerPool(count, there // count, worker)


def compare(planned: list[Planned], root: Path, pool: WorkerPool, tell: Tell, *, track: bool) -> Results:
    """Learn what is left of every run of a comparison.

    Args:
        planned: its runs.
        root: the folder of results.
        pool: who learns.
        tell: is told the plan, a line a run as it ends, and the table.
        track: recorded in MLflow.
    """
    tell(_plan_line(planned, pool))
    noted: set[str] = set()
    if track:
        from flows.tracking.sync import open_store  # it needs the extra `workflow`, and learning without it does not

        # Before several processes would make the database at once; and what is refused is told at the start.
        refused = open_store(Run(root, planned[0].spec))
        if refused:
            tell(f"note: {refused}")
            noted.add(refused)
    stop, ended = Stop(to_stderr), dict[str, Outcome]()

    def done(one: Planned, outcome: Outcome) -> None:
        ended[one.spec.name] = outcome = _seen_from_here(root, one, outcome)
        for note in outcome.notes:
            if note not in noted:  # what ails MLflow ails it for every run
                tell(f"note: {one.spec.name}: {note}")
            noted.add(note)
        tell(f"{len(ended)}/{len(planned)} {_line(root, one, outcome)}")

    outcomes = fan_out(planned, root, pool.workers, pool.worker, done, stop, track=track) | ended
    frame = pd.DataFrame([_row(root, one, outcomes[one.spec.name]) for one in planned])
    tell(table_text(frame))
    return Results(frame, _error(outcomes, stopped=stop.requested), _unrecorded(outcomes))


def _seen_from_here(root: Path, one: Planned, outcome: Outcome) -> Outcome:
    """A worker on another machine may have finished a run in a folder of its own."""
    if outcome.state != "finished":
        return outcome
    try:
        run, until = open_or_new(root, one.spec), time.monotonic() + SEEN_WITHIN
        while run.frozen() < len(run.spec.tasks) and time.monotonic() < until:
            time.sleep(1)
            run = open_or_new(root, one.spec)
        there, of = run.frozen(), len(run.spec.tasks)
    except CpgError as error:
        return replace(outcome, state="failed", why=str(error))
    if there == of:
        return outcome
    where = f"its worker has finished it in another folder: {there} of {of} tasks are in {root.resolve()}"
    return replace(outcome, state="failed", why=f"{where}; start workers that share this folder")


def _plan_line(planned: list[Planned], pool: WorkerPool) -> str:
    """How many runs, and the threads that their records will tell."""
    each = sorted({one.spec.settings.compute.threads for one in planned})
    threads = " or ".join(map(str, each)) + (" thread" if each == [1] else " threads")
    return f"{len(planned)} runs, {pool.workers} at a time, {threads} each"


def _line(root: Path, one: Planned, outcome: Outcome) -> str:
    """How a run came out."""
    if outcome.state == "failed":
        return f"{one.spec.name}: FAILED: {outcome.why}\n  alone: {one.command(root)}"
    if outcome.state == "stopped":
        return f"{one.spec.name}: stopped; what was learned is saved"
    found = _figures(root, one)
    return f"{one.spec.name}: accuracy {found['accuracy %']} %, {found['seconds']} s"


def _row(root: Path, one: Planned, outcome: Outcome) -> dict[str, object]:
    return {"run": one.spec.name, **_figures(root, one), "state": outcome.state}


def _figures(root: Path, one: Planned) -> dict[str, object]:
    """What is on disk of a run, as tables have it."""
    found = None
    try:
        run = open_run(root, one.spec.name)
        found = summary(run) if run.frozen() else None
    except CpgError:  # told as the reason why the run failed
        pass
    if found is None:
        names = ("accuracy %", "expansion x", "redundancy x", "MB", "seconds")
        return {"tasks": f"0/{len(one.spec.tasks)}", **dict.fromkeys(names)}
    return {
        "tasks": f"{found['tasks']:.0f}/{len(one.spec.tasks)}",
        "accuracy %": percent(found["average_accuracy"]),
        "expansion x": round(found["expansion_x"], 2),
        "redundancy x": round(found["redundancy_x"], 2),
        "MB": round(found["model_mb"], 2),
        "seconds": round(found["seconds"], 1),
    }


def _unrecorded(outcomes: dict[str, Outcome]) -> str | None:
    """Which runs MLflow refused, and why."""
    reasons: dict[str, list[str]] = {}
    for name, outcome in outcomes.items():
        if outcome.unrecorded:
            reasons.setdefault(outcome.unrecorded, []).append(name)
    return "\n".join(f"{', '.join(names)}: {why}" for why, names in reasons.items()) or None


def _error(outcomes: dict[str, Outcome], *, stopped: bool) -> BaseException | None:
    missing = {name: outcome for name, outcome in outcomes.items() if outcome.state != "finished"}
    if not missing:
        return None
    if stopped:
        return Interrupted()
    told = "\n".join(f"  {name}: {outcome.why or outcome.state}" for name, outcome in missing.items())
    count = f"{len(missing)} of {len(outcomes)} runs are not finished"
    return CpgError(f"{count}; the same again goes on with them:\n{told}")
