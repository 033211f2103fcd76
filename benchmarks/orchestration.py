"""What orchestration costs: a sequence under Prefect, MLflow and DVC over the same one by the plain runner.

    python benchmarks/orchestration.py            two tasks of about a minute, twice each way, under ten minutes
    python benchmarks/orchestration.py --quick    two tasks of some seconds, once each way, under a minute

Each run is a process of its own with an empty folder; the two ways take turns, and the first of a pair is the other
one every time. `learning` is the time from the beginning of the first stage to the end of the last task, with
everything that is shown and recorded meanwhile; what lies before and after it, such as imports and the server's start
and end, does not depend on how much is learned. The bytes of the checkpoints are compared too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import pandas as pd
from output import show

from cpg_core.storage.run import Run
from cpg_core.training.reporter import Reporter, Silent
from flows.cli import launch
from flows.console.signals import Stop
from flows.request import SequenceRequest, run_of_request

PROJECT = Path(__file__).parents[1]
TASKS = 2
FULL_WIDTH, QUICK_WIDTH = 16.0, 1.0
"""Of a network that learns a task in about a minute, and of one that learns it in seconds, on one core."""


@dataclass(frozen=True)
class Seconds:
    """What one run took: its process, and the learning in it."""

    process: float
    learning: float


class Clock(Silent):
    """When the first stage began, and when everything was learned, shown and recorded."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.ended: float | None = None

    def stage_begins(self, task: str, stage: str, epochs: int) -> None:
        """The clock starts at the first."""
        self.began = self.began or time.monotonic()


def asked(width: float) -> SequenceRequest:
    """The sequence that is learned."""
    return SequenceRequest("digits-5", tasks=f"1-{TASKS}", overrides=(f"base_width={width}",), run="measured")


def learn(root: Path, width: float, *, orchestrated: bool) -> float:
    """Learn the sequence as `cpg run` does, in this process; the seconds of the learning."""
    clock, request = Clock(), asked(width)
    run = run_of_request(request, root)

    @contextmanager
    def listen(run: Run, stop: Stop) -> Iterator[Reporter]:  # noqa: ARG001  (as a Listen is called)
        yield clock
        clock.ended = time.monotonic()

    given = {**asdict(request), "overrides": list(request.overrides)}
    launch.learn("sequence", run, given, root, plain=not orchestrated, track=orchestrated, listen=listen)
    assert clock.began is not None and clock.ended is not None and run.frozen() == TASKS
    return clock.ended - clock.began


def measure(root: Path, width: float, *, orchestrated: bool) -> Seconds:
    """Learn the sequence in a process of its own."""
    root.mkdir()
    if orchestrated:
        command = [sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"]
        subprocess.run(command, cwd=root, check=True)
    way = "orchestrated" if orchestrated else "plain"
    began = time.monotonic()
    words = [sys.executable, __file__, "--width", str(width), "--one", way, str(root)]
    done = subprocess.run(words, cwd=PROJECT, check=True, capture_output=True, text=True)
    return Seconds(time.monotonic() - began, float(done.stdout.splitlines()[-1]))


def frozen(root: Path) -> dict[str, bytes]:
    """What the tasks are, on disk: everything but clock times."""
    files = (root / "checkpoints").glob("*/*/*")
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in files if file.name != "seconds.json"}


def compare(folder: Path, width: float, pairs: int) -> tuple[list[tuple[Seconds, Seconds]], bool]:
    """Pairs of a plain and an orchestrated run, and whether all came to the same bytes."""
    found, same = [], True
    for number in range(pairs):
        pair: dict[bool, Seconds] = {}
        for orchestrated in (False, True) if number % 2 == 0 else (True, False):
            root = folder / f"{number}-{orchestrated}"
            pair[orchestrated] = measure(root, width, orchestrated=orchestrated)
        plain, other = (frozen(folder / f"{number}-{orchestrated}") for orchestrated in (False, True))
        same &= bool(plain) and all(other.get(name) == content for name, content in plain.items())
        found.append((pair[False], pair[True]))
    return found, same


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tasks of some seconds, once each way")
    parser.add_argument("--width", type=float, default=FULL_WIDTH, help=f"of the network [default: {FULL_WIDTH}]")
    parser.add_argument("--pairs", type=int, default=2, help="of runs, one each way [default: 2]")
    parser.add_argument(
        "--one", nargs=2, metavar=("WAY", "FOLDER"), help="one run, here: its seconds are the last line"
    )
    given = parser.parse_args()
    if given.one:
        way, root = given.one
        print(learn(Path(root), given.width, orchestrated=way == "orchestrated"))
        return
    width, pairs = (QUICK_WIDTH, 1) if given.quick else (given.width, given.pairs)
    with tempfile.TemporaryDirectory() as folder:
        found, same = compare(Path(folder), width, pairs)
    rows = [
        {
            "plain s": round(plain.learning, 2),
            "orchestrated s": round(other.learning, 2),
            "ratio": round(other.learning / plain.learning, 3),
            "more s a task": round((other.learning - plain.learning) / TASKS, 2),
            "plain start and end s": round(plain.process - plain.learning, 1),
            "orchestrated start and end s": round(other.process - other.learning, 1),
        }
        for plain, other in found
    ]
    frame = pd.DataFrame(rows)
    figures: dict[str, object] = {
        "tasks": TASKS,
        "plain_seconds_a_task": round(median(frame["plain s"]) / TASKS, 2),
        "ratio": round(median(frame["ratio"]), 3),
        "more_seconds_a_task": round(median(frame["more s a task"]), 2),
        "plain_start_and_end_seconds": round(median(frame["plain start and end s"]), 1),
        "orchestrated_start_and_end_seconds": round(median(frame["orchestrated start and end s"]), 1),
        "same_bytes": same,
    }
    show(f"{TASKS} tasks, a row a pair of runs", frame, figures)


if __name__ == "__main__":
    main()
