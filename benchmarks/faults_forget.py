"""A task is forgotten and the process killed just before each of its operations on files in turn."""

from __future__ import annotations

from collections.abc import Iterator

from faults_rows import Bench, Row
from faults_sequence import RUN, content
from faults_starter import EVERY

from cpg_core.storage.run import RUN as RUN_FILE
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run

TASK = "two-three"
MOST_KILLS = 500


def killed_forgetting(bench: Bench) -> Iterator[Row]:
    """A row: after each kill an audit opens the run, which is whole with the task or without; then it is forgotten."""
    done = bench.copy(bench.whole, "forgotten")
    words = ["forget", RUN, "--task", TASK, "--yes", "--root"]
    if bench.start.run(done.root, [*words, str(done.root)]).code != 0:
        raise RuntimeError("the task could not be forgotten without a kill")
    before, after = _bytes(bench.whole), _bytes(open_run(done.root, RUN))
    kills = differences = lost = completed = 0
    for count in range(1, MOST_KILLS):
        run = bench.copy(bench.whole, "killed")
        attempt = bench.start.run(run.root, [*words, str(run.root)], moment={"kind": EVERY, "count": count})
        if not attempt.killed:
            break
        kills += 1
        audited = bench.start.run(run.root, ["audit", RUN, "--root", str(run.root)])
        found = _bytes(open_run(run.root, RUN))
        found = {name: held for name, held in found.items() if not name.endswith(".part")}  # the next command sweeps
        differences += found not in (before, after)
        lost += audited.code != 0
        completed += found == after
        again = bench.start.run(run.root, [*words, str(run.root)])
        differences += again.code != 0 or _bytes(open_run(run.root, RUN)) != after
    happened = f"{kills} kills, {completed} of them after it took effect: {differences} differences, {lost} lost"
    ok = kills > 0 and completed not in (0, kills) and not differences and not lost
    yield Row(
        "kill", "cpg forget, before each operation on files", "all or nothing; again: the same bytes", happened, ok
    )


def _bytes(run: Run) -> dict[str, bytes]:
    """Of `run.json` only its tasks: it says when a task was forgotten."""
    tasks = ",".join(task.name for task in run.spec.tasks).encode()
    return content(run) | {RUN_FILE: tasks}
