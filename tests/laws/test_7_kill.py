"""Law 7, the hard way: a process that is killed outright at random moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from core.tiny import ROOT, frozen_bytes

from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from cpg_core.training.reporter import Silent

KILLS = 3
SLOW = {"tasks": "1-4", "overrides": ("pick_train.epochs=12", "pick_train.score_freeze_epoch=8")}
CHILD = """
import os, sys
import sklearn.datasets
from pathlib import Path
from cpg_core.training.reporter import Silent
from cpg_core.storage.runs import open_run
from cpg_core.runner import learn_sequence
for line in sys.stdin:
    learner = os.fork()
    if learner == 0:
        learn_sequence(open_run(Path(line.strip()), "tiny"), Silent())
        os._exit(0)
    print(learner, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(learner, 0)[1]), flush=True)
"""
"""Starts a learner for each line; the imports, which take most of the time, are done once."""


def kill_after(starter: subprocess.Popen[str], root: Path, seconds: float) -> bool:
    """Learn in a process of its own and kill it; whether it was still learning."""
    assert starter.stdin is not None
    assert starter.stdout is not None
    print(root, file=starter.stdin, flush=True)
    learner = int(starter.stdout.readline())
    time.sleep(seconds)
    os.kill(learner, signal.SIGKILL)
    return int(starter.stdout.readline()) == -signal.SIGKILL


def test_killed_at_random_moments(learned: Callable[..., Run], new_run: Callable[..., Run]) -> None:
    dice, run = random.Random(7), new_run(**SLOW)
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as starter:
        killed = [kill_after(starter, run.root, dice.uniform(0.1, 0.6)) for _ in range(KILLS)]
        starter.stdin.close()  # type: ignore[union-attr]
    assert killed == [True] * KILLS, "a learner was done before it was killed: nothing was put to the test"
    assert run.frozen() < 4
    learn_sequence(open_run(run.root, run.spec.name), Silent())
    assert frozen_bytes(run) == frozen_bytes(learned(**SLOW))
