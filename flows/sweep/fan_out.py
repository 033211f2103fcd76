"""Hand runs to workers, each worker one at a time, until all are done or somebody asks to stop."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from uuid import uuid4

from flows.console.signals import Stop
from flows.sweep.comparison import Planned
from flows.sweep.job import Job, Outcome
from flows.sweep.slot import Pending, Slot, Worker

LOOK_AGAIN = 0.5
"""Seconds after which to look whether somebody asks to stop."""

KILLED = "its process was killed (by hand, or because memory ran out)"


def fan_out(
    planned: Sequence[Planned],
    root: Path,
    workers: int,
    worker: Worker,
    done: Callable[[Planned, Outcome], None],
    stop: Stop,
    *,
    track: bool,
) -> dict[str, Outcome]:
    """Learn the runs of a plan, so many at a time; a signal or an error here stops them all with their state saved.

    Args:
        planned: the runs.
        root: the folder of results.
        workers: how many at a time.
        worker: opens one of them.
        done: told of each as it ends.
        stop: takes the signals.
        track: recorded in MLflow.

    Returns:
        How each came out, by its name.
    """
    asked = root.resolve() / "work" / f".stop-{uuid4().hex}"
    asked.parent.mkdir(parents=True, exist_ok=True)
    ended: SimpleQueue[tuple[Slot, Planned, Pending]] = SimpleQueue()
    waiting, outcomes = deque(planned), {one.spec.name: Outcome("not begun") for one in planned}
    busy = 0

    def wait_for_jobs() -> None:
        for _ in range(busy):
            ended.get()

    with ExitStack() as open_slots, stop.listening():
        open_slots.callback(asked.unlink, missing_ok=True)
        open_slots.callback(wait_for_jobs)  # after an error; a slot of a cluster closes though its run goes on
        idle = [Slot(worker) for _ in range(min(workers, len(planned)))]
        for slot in idle:
            open_slots.callback(slot.close)
        open_slots.push(lambda error, *_: asked.touch() if error else None)
        while busy or (waiting and not stop.requested):
            while waiting and idle and not stop.requested:
                one = waiting.popleft()
                _submit(Job(asked.parents[1], one.spec, track, asked), one, idle.pop(), ended)
                busy += 1
            if stop.requested:
                asked.touch()
            with suppress(Empty):
                slot, one, pending = ended.get(timeout=LOOK_AGAIN)
                busy -= 1
                outcomes[one.spec.name] = _outcome(slot, pending)
                idle.append(slot)
                done(one, outcomes[one.spec.name])
    return outcomes


def _submit(job: Job, one: Planned, slot: Slot, ended: SimpleQueue[tuple[Slot, Planned, Pending]]) -> None:
    pending = slot.submit(job)
    pending.add_done_callback(lambda _: ended.put((slot, one, pending)))


def _outcome(slot: Slot, pending: Pending) -> Outcome:
    """How a job came out; a fault of ours or a killed worker costs that job alone."""
    try:
        return pending.result()
    except BrokenExecutor:
        slot.renew()
        return Outcome("failed", KILLED)
    except Exception as error:
        return Outcome("failed", f"{type(error).__name__}: {error}", ("".join(traceback.format_exception(error)),))
