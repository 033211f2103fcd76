"""Hand runs to workers, each worker one at a time, until all are done or somebody asks to stop."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol
from uuid import uuid4

from flows.console.signals import Stop
from flows.sweep.comparison import Planned
from flows.sweep.job import Outcome, Unit

LOOK_AGAIN = 0.5
"""Seconds after which to look whether somebody asks to stop."""

KILLED = "its process was killed (by hand, or because memory ran out)"


class Handed(Protocol):
    """A unit in the hands of a worker: a future."""

    def add_done_callback(self, fn: Callable[..., object]) -> object:
        """Call it when the unit is done."""

    def result(self) -> Outcome:
        """How it came out; raises a fault of the worker."""
        ...


class Slot(Protocol):
    """A place for one unit at a time."""

    def submit(self, unit: Unit) -> Handed:
        """Hand the worker a unit."""
        ...

    def renew(self) -> None:
        """Take another worker, since this one is gone."""

    def close(self) -> None:
        """Let the worker go."""


def fan_out(
    planned: Sequence[Planned],
    root: Path,
    workers: int,
    open_slot: Callable[[], Slot],
    done: Callable[[Planned, Outcome], None],
    stop: Stop,
    *,
    track: bool,
) -> dict[str, Outcome]:
    """Learn the runs of a plan, so many at a time; a signal stops them all with their state saved.

    Args:
        planned: the runs.
        root: the folder of results.
        workers: how many at a time.
        open_slot: makes a place for one.
        done: told of each as it ends.
        stop: takes the signals.
        track: recorded in MLflow.

    Returns:
        How each came out, by its name.
    """
    asked = root.resolve() / "work" / f".stop-{uuid4().hex}"
    asked.parent.mkdir(parents=True, exist_ok=True)
    ended: SimpleQueue[tuple[Slot, Planned, Handed]] = SimpleQueue()
    waiting, outcomes = deque(planned), {one.spec.name: Outcome("not begun") for one in planned}
    with ExitStack() as open_slots, stop.listening():
        open_slots.callback(asked.unlink, missing_ok=True)
        idle = [open_slot() for _ in range(min(workers, len(planned)))]
        for slot in idle:
            open_slots.callback(slot.close)
        busy = 0
        while busy or (waiting and not stop.requested):
            while waiting and idle and not stop.requested:
                one = waiting.popleft()
                _hand(Unit(asked.parents[1], one.spec, track, asked), one, idle.pop(), ended)
                busy += 1
            if stop.requested:
                asked.touch()
            with suppress(Empty):
                slot, one, handed = ended.get(timeout=LOOK_AGAIN)
                busy -= 1
                outcomes[one.spec.name] = _outcome(slot, handed)
                idle.append(slot)
                done(one, outcomes[one.spec.name])
    return outcomes


def _hand(unit: Unit, one: Planned, slot: Slot, ended: SimpleQueue[tuple[Slot, Planned, Handed]]) -> None:
    handed = slot.submit(unit)
    handed.add_done_callback(lambda _: ended.put((slot, one, handed)))


def _outcome(slot: Slot, handed: Handed) -> Outcome:
    """How a unit came out; a fault of ours or a killed worker costs that unit alone."""
    try:
        return handed.result()
    except BrokenExecutor:
        slot.renew()
        return Outcome("failed", KILLED)
    except Exception as error:
        return Outcome("failed", f"{type(error).__name__}: {error}", ("".join(traceback.format_exception(error)),))
