"""Does the three-hundredth task cost what the tenth did? A sequence of tiny tasks, learned, frozen and audited.

    python benchmarks/many_tasks.py            300 tasks, about ten minutes
    python benchmarks/many_tasks.py --quick    30 tasks, under a minute

The tasks are two digits of scikit-learn's each, over and over. What is compared is the median of the last five
tasks with that of the tasks around the tenth, in seconds and in the growth of resident memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import pandas as pd
import psutil
from output import show

from cpg_core.audit import audit
from cpg_core.config import load_settings
from cpg_core.data.fields import DigitsSource
from cpg_core.data.spec import TaskSpec
from cpg_core.machine import versions
from cpg_core.progress import Silent
from cpg_core.records import TaskRecord
from cpg_core.run import RunSpec, begin
from cpg_core.runner import learn_sequence

PARAMS = Path(__file__).parents[1] / "params.yaml"
MEGABYTE = 2**20


class Meter(Silent):
    """Notes the time and the resident memory at each freeze."""

    def __init__(self) -> None:
        self.at = [time.monotonic()]
        self.rss_mb: list[float] = []

    def task_done(self, record: TaskRecord) -> None:
        """A task is frozen."""
        self.at.append(time.monotonic())
        self.rss_mb.append(psutil.Process().memory_info().rss / MEGABYTE)


def learn(root: Path, count: int) -> tuple[Meter, bool]:
    """Learn and audit `count` tiny tasks."""
    settings = load_settings(
        PARAMS, "digits", ("prune.targets=[0.5, 0.8, 0.9, 0.95, 0.98]", "prune.misses_allowed=null")
    )
    pairs = [(str(a), str(b)) for a in range(10) for b in range(10) if a != b]
    source = DigitsSource(kind="digits")
    tasks = tuple(
        TaskSpec(name=f"pair-{place:03d}", source=source, classes=pairs[place % len(pairs)]) for place in range(count)
    )
    spec = RunSpec(
        name="many", sequence="many", ordering="0", method="cpg", backbone="digits_cnn", profile="digits", seed=1,
        goals={task.name: 0.0 for task in tasks}, settings=settings, tasks=tasks, versions=versions(), git_commit=None,
    )  # fmt: skip
    run, meter = begin(root, spec), Meter()
    learn_sequence(run, meter)
    return meter, all(finding.ok for finding in audit(run))


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="30 tasks")
    count = 30 if parser.parse_args().quick else 300
    with tempfile.TemporaryDirectory() as folder:
        meter, sound = learn(Path(folder), count)
    seconds = [after - before for before, after in zip(meter.at, meter.at[1:], strict=False)]
    tenth, last = median(seconds[7:12]), median(seconds[-5:])
    tenth_mb, last_mb = meter.rss_mb[9], meter.rss_mb[-1]
    figures: dict[str, object] = {
        "tasks": count,
        "audit": sound,
        "tenth_seconds": round(tenth, 3),
        "last_seconds": round(last, 3),
        "time_ratio": round(last / tenth, 3),
        "tenth_mb": round(tenth_mb, 1),
        "last_mb": round(last_mb, 1),
        "memory_ratio": round(last_mb / tenth_mb, 3),
    }
    show(f"{count} tiny tasks", pd.DataFrame(figures.items(), columns=["figure", "value"]), figures)


if __name__ == "__main__":
    main()
