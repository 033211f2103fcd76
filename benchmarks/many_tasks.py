"""Does the three-hundredth task cost what the tenth did? A sequence of tiny tasks, learned, frozen and audited.

    python benchmarks/many_tasks.py            300 tasks, about seven minutes
    python benchmarks/many_tasks.py --quick    30 tasks, under a minute

The tasks are two digits of scikit-learn's each, over and over. The last five tasks are learned in turn with the tasks
around the tenth, on a copy of the run as it was then, so that a busy machine slows both alike; the median of the five
ratios is the result. Memory is what is resident once the tenth and once the last task is frozen.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median

import pandas as pd
import psutil
from output import show

from cpg_core.config.settings import load_settings
from cpg_core.data.sources.digits import DigitsSource
from cpg_core.data.spec import TaskSpec
from cpg_core.machine import deterministic, versions
from cpg_core.methods import find
from cpg_core.recall.audit import audit
from cpg_core.runner import learn_task
from cpg_core.stages.open_task import open_task
from cpg_core.storage.records import TaskRecord
from cpg_core.storage.run import Run
from cpg_core.storage.run_spec import RunSpec
from cpg_core.storage.runs import open_or_new
from cpg_core.training.reporter import Silent

PARAMS = Path(__file__).parents[1] / "params.yaml"
MEGABYTE = 2**20
TENTH = 10
TURNS = 5


class Meter(Silent):
    """Notes the resident memory at each freeze."""

    def __init__(self) -> None:
        self.rss_mb: list[float] = []

    def task_done(self, record: TaskRecord) -> None:
        """A task is frozen."""
        self.rss_mb.append(psutil.Process().memory_info().rss / MEGABYTE)


def spec_of(count: int) -> RunSpec:
    """A run of `count` tiny tasks."""
    settings = load_settings(
        PARAMS, "digits", ("prune.targets=[0.5, 0.8, 0.9, 0.95, 0.98]", "prune.misses_allowed=null")
    )
    pairs = [(str(a), str(b)) for a in range(10) for b in range(10) if a != b]
    source = DigitsSource(kind="digits")
    tasks = tuple(
        TaskSpec(name=f"pair-{place:03d}", source=source, classes=pairs[place % len(pairs)]) for place in range(count)
    )
    return RunSpec(
        name="many", sequence="many", ordering="0", method="cpg", backbone="digits_cnn", profile="digits", seed=1,
        goals={task.name: 0.0 for task in tasks}, settings=settings, tasks=tasks, versions=versions(), git_commit=None,
    )  # fmt: skip


def learn(run: Run, tasks: Iterable[int], meter: Meter) -> list[float]:
    """Learn tasks of a run: the seconds that each took."""
    seconds = []
    with deterministic(run.spec.settings.compute.threads):
        for index in tasks:
            began = time.monotonic()
            learn_task(open_task(run, find(run.spec.method), index, meter))
            seconds.append(time.monotonic() - began)
    return seconds


def copied(run: Run, count: int, to: Path) -> Run:
    """The run as it was after `count` tasks, in another place."""
    copy = open_or_new(to, run.spec)
    for index in range(1, count + 1):
        shutil.copytree(run.task_folder(index), copy.task_folder(index))
    return copy


def compare(root: Path, count: int) -> tuple[list[float], list[float], Meter, bool]:
    """Seconds of five tasks around the tenth and of the last five, taken in turn; memory; whether the audit passes."""
    meter = Meter()
    run = open_or_new(root / "whole", spec_of(count))
    learn(run, range(1, count - TURNS + 1), meter)
    early = copied(run, TENTH - 1 - TURNS // 2, root / "early")
    tenth: list[float] = []
    last: list[float] = []
    for turn in range(TURNS):
        tenth += learn(early, [early.frozen() + 1], Meter())
        last += learn(run, [count - TURNS + 1 + turn], meter)
    return tenth, last, meter, all(finding.ok for finding in audit(run))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="30 tasks")
    count = 30 if parser.parse_args().quick else 300
    with tempfile.TemporaryDirectory() as folder:
        tenth, last, meter, sound = compare(Path(folder), count)
    ratios = [late / early for early, late in zip(tenth, last, strict=True)]
    tenth_mb, last_mb = meter.rss_mb[TENTH - 1], meter.rss_mb[-1]
    figures: dict[str, object] = {
        "tasks": count,
        "audit": sound,
        "tenth_seconds": round(median(tenth), 3),
        "last_seconds": round(median(last), 3),
        "time_ratio": round(median(ratios), 3),
        "tenth_mb": round(tenth_mb, 1),
        "last_mb": round(last_mb, 1),
        "memory_ratio": round(last_mb / tenth_mb, 3),
    }
    show(f"{count} tiny tasks", pd.DataFrame(figures.items(), columns=["figure", "value"]), figures)


if __name__ == "__main__":
    main()
