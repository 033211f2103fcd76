"""The small sequence that faults befall, and the process that runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import Any

from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run

ROOT = Path(__file__).parents[1]
RUN = "tiny"
CPG = (sys.executable, "-c", "from flows.cli.app import main; main()")
"""The command line, in a process of its own."""
SETTINGS = (
    "compute.threads=1",
    "base_width=0.5",
    "pick_train.epochs=5",
    "pick_train.score_lr=0.002",
    "pick_train.score_freeze_epoch=3",
    "check.min_train_accuracy=1.0",
    "grow.first_task=false",
    "grow.max_x=1.5",
    "prune.targets=[0.5, 0.8]",
    "prune.epochs=3",
    "prune.prune_epochs=2",
    "retrain.epochs=3",
    "retrain.score_lr=0.002",
)
"""The check always fails, so that every task but the first grows; each stage takes a fraction of a second."""

PLAIN = "torch._dynamo,flows.cli.app,flows.cli.launch,flows.local_runner,flows.request"
"""Loaded before the forks; the first is what the first optimizer of a process would load, for a second."""
WITH_PREFECT = f"{PLAIN},flows.orchestration.sequence"


def arguments(root: Path, *more: str, sequence: str = "digits-5", tasks: str = "1-3") -> list[str]:
    """`cpg run` on the sequence, its results in `root`."""
    given = ["run", sequence, "--tasks", tasks, "--goal", "0.6", "--run", RUN, "--root", str(root)]
    return [*given, *(word for setting in SETTINGS for word in ("--set", setting)), *more]


def environment(**more: str) -> dict[str, str]:
    """One thread, and the code beside this file, whatever is installed."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}


def content(run: Run) -> dict[str, bytes]:
    """Every file of a run's checkpoints but the one that holds clock times."""
    files = (path for path in run.folder.rglob("*") if path.is_file() and path.name != "seconds.json")
    return {str(path.relative_to(run.folder)): path.read_bytes() for path in files}


@dataclass(frozen=True)
class Attempt:
    """How it went: the exit code, whether the clock killed it, the files that it put in place, and what it said."""

    code: int
    by_clock: bool
    written: list[str]
    said: str

    @property
    def killed(self) -> bool:
        """Whether it was killed."""
        return self.code == -SIGKILL


@dataclass
class Starter:
    """The process that starts and kills others; `code` is what each of them does first, to be broken by it."""

    process: subprocess.Popen[str]
    logs: Path
    code: str = ""

    def run(
        self,
        root: Path,
        words: list[str],
        *,
        seconds: float | None = None,
        moment: dict[str, Any] | None = None,
        largest_file_bytes: int | None = None,
    ) -> Attempt:
        """Run `cpg` to its end, or to its death after so many seconds or at a moment, whichever comes first."""
        place = self.logs / f"{len(list(self.logs.iterdir())):05d}"
        log, ledger = place.with_suffix(".log"), place.with_suffix(".ledger")
        request = {
            "root": str(root),
            "arguments": words,
            "code": self.code,
            "log": str(log),
            "ledger": str(ledger),
            "seconds": seconds,
            "moment": moment,
            "largest_file_bytes": largest_file_bytes,
        }
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        written = ledger.read_text().splitlines() if ledger.exists() else []
        return Attempt(answer["code"], answer["by_clock"], written, log.read_text())


@contextmanager
def starter(logs: Path, modules: str = PLAIN, **variables: str) -> Iterator[Starter]:
    """A starter for the time of the block."""
    logs.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(ROOT / "benchmarks" / "faults_starter.py"), modules]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment(**variables)
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the starter did not start")
        yield Starter(process, logs)
        process.stdin.close()


def unbroken(start: Starter, root: Path, *more: str, **fields: str) -> Run:
    """The run, learned in one go."""
    attempt = start.run(root, arguments(root, "--plain", "--no-track", *more, **fields))
    if attempt.code != 0:
        raise RuntimeError(f"the unbroken run ended with exit code {attempt.code}:\n{attempt.said}")
    return open_run(root, RUN)
