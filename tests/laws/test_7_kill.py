"""Law 7, the hard way: a process that is killed outright at random moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from core.tiny import ROOT, frozen_bytes

from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from cpg_core.training.reporter import Silent

KILLS = 3
SLOW = {"tasks": "1-4", "overrides": ("pick_train.epochs=12", "pick_train.score_freeze_epoch=8")}
CHILD = '''
import os, sys
import torch._dynamo
from pathlib import Path
from cpg_core.training.reporter import Silent
from cpg_core.storage.runs import open_run
from cpg_core.runner import learn_sequence

class Tells(Silent):
    """At each batch a line so long that the pipe holds sixteen: the learner never gets far ahead of its reader."""
    def batch_done(self, share):
        print("batch".ljust(4095), flush=True)

for line in sys.stdin:
    learner = os.fork()
    if learner == 0:
        learn_sequence(open_run(Path(line.strip()), "tiny"), Tells())
        os._exit(0)
    print(learner, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(learner, 0)[1]), flush=True)
'''
"""Starts a learner for each line; the imports, which take most of the time, are done once."""


def kill_after(starter: subprocess.Popen[str], root: Path, batches: int) -> bool:
    """Learn in a process of its own and kill it somewhere behind that batch; whether it was still learning."""
    assert starter.stdin is not None
    assert starter.stdout is not None
    print(root, file=starter.stdin, flush=True)
    learner = int(next(line for line in starter.stdout if not line.startswith("batch")))
    for _ in range(batches):
        starter.stdout.readline()
    os.kill(learner, signal.SIGKILL)
    return int(next(line for line in starter.stdout if not line.startswith("batch"))) == -signal.SIGKILL


def test_killed_at_random_moments(learned: Callable[..., Run], new_run: Callable[..., Run]) -> None:
    dice, run = random.Random(7), new_run(**SLOW)
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as starter:
        killed = [kill_after(starter, run.root, dice.randint(20, 150)) for _ in range(KILLS)]
        starter.stdin.close()  # type: ignore[union-attr]
    assert killed == [True] * KILLS, "a learner was done before it was killed: nothing was put to the test"
    assert run.frozen() < 4
    learn_sequence(open_run(run.root, run.spec.name), Silent())
    assert frozen_bytes(run) == frozen_bytes(learned(**SLOW))
