"""Runs that are stopped at a batch, as Ctrl-C does, and go on in another attempt."""

from __future__ import annotations

from pathlib import Path

from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from cpg_core.training.reporter import Interrupted, Silent

TWO_TASKS = {"tasks": "1-2"}
EPOCH = 9  # batches


class StopsAfter(Silent):
    """Asks to stop at one batch, counted from 0 over all that is trained in this attempt."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def stop_requested(self) -> bool:
        self.left -= 1
        return self.left < 0


def attempt(run: Run, batches: int) -> bool:
    """Learn until that batch, everything read from disk; whether it was stopped before the end."""
    try:
        learn_sequence(open_run(run.root, run.spec.name), StopsAfter(batches))
    except Interrupted:
        return True
    return False


def attempts(run: Run, batches: int) -> int:
    """How many attempts of so many batches the run takes."""
    for number in range(1, 300):
        if not attempt(run, batches):
            return number
    raise AssertionError("the run does not get on")


def newest(folder: Path, pattern: str) -> Path:
    return sorted(folder.rglob(pattern))[-1]
