"""Law 7, the hard way: a process that is killed outright at random moments."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from core.tiny import ROOT, frozen_bytes
from cpg_core.progress import Silent
from cpg_core.run import Run, open_run
from cpg_core.runner import learn_sequence

KILLS = 3
SLOW = {"tasks": "1-3", "overrides": ("pick_train.epochs=12", "pick_train.score_freeze_epoch=8")}
CHILD = """
import sys
from pathlib import Path
from cpg_core.progress import Silent
from cpg_core.run import open_run
from cpg_core.runner import learn_sequence
run = open_run(Path(sys.argv[1]), "tiny")
print("ready", flush=True)
learn_sequence(run, Silent())
"""


def kill_after(root: Path, seconds: float) -> bool:
    """Learn in a process of its own and kill it; whether it was still learning."""
    with subprocess.Popen([sys.executable, "-c", CHILD, root], stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(seconds)
        child.kill()
    return child.returncode == -signal.SIGKILL


def test_killed_at_random_moments(learned: Callable[..., Run], new_run: Callable[..., Run]) -> None:
    dice, run = random.Random(7), new_run(**SLOW)
    killed = [kill_after(run.root, dice.uniform(0.2, 0.8)) for _ in range(KILLS)]
    assert any(killed), "every process finished first: nothing was put to the test"
    learn_sequence(open_run(run.root, run.spec.name), Silent())
    assert frozen_bytes(run) == frozen_bytes(learned(**SLOW))
