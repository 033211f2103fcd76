"""A task is exported and the process killed just before each of its operations on files in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from faults_rows import Bench, Row
from faults_sequence import RUN, content
from faults_starter import EVERY

from cpg_core.recall.export.formats import FORMATS, format_of
from cpg_core.recall.export.task import MOST_APART, checked
from cpg_core.recall.recall import recalled
from cpg_core.storage.run import Run

TASK = "two-three"
EARLIER = b"what lay there before"
MOST_KILLS = 100


def killed_exporting(bench: Bench) -> Iterator[Row]:
    """Two rows a format: after each kill the file is whole or what was there before; then it is written, alone."""
    for end in FORMATS:
        for earlier in (None, EARLIER):
            yield _killed(bench, f"{TASK}{end}", earlier)


def _killed(bench: Bench, name: str, earlier: bytes | None) -> Row:
    kills = differences = lost = strays = 0
    for count in range(1, MOST_KILLS):
        run = bench.copy(bench.whole, "exported")
        file = run.root / "exported" / name
        if earlier is not None:
            file.parent.mkdir()
            file.write_bytes(earlier)
        words = ["export", RUN, "--task", TASK, "--to", str(file), "--root", str(run.root)]
        attempt = bench.start.run(run.root, words, moment={"kind": EVERY, "count": count})
        if not attempt.killed:
            break
        kills += 1
        found = file.read_bytes() if file.exists() else None
        lost += earlier is not None and found is None
        differences += found not in (None, earlier) and not _answers_as_recall(run, file)
        again = bench.start.run(run.root, words)
        differences += again.code != 0 or not _answers_as_recall(run, file) or content(run) != content(bench.whole)
        strays += [path.name for path in file.parent.iterdir()] != [name]
    where = f"cpg export to {name}, {'where there is none' if earlier is None else 'over an earlier one'}"
    happened = f"{kills} kills: {differences} differences, {lost} lost, {strays} leftovers"
    return Row(
        "kill",
        f"{where}, before each operation on files",
        "the whole file, or what was there; again: the file alone",
        happened,
        ok=kills > 0 and not attempt.killed and attempt.code == 0 and not differences and not lost and not strays,
    )


def _answers_as_recall(run: Run, file: Path) -> bool:
    """Whether a file can be read, and answers the task's test images as recall does."""
    record, network = recalled(run, TASK)
    try:
        found = checked(format_of(file).load(file), run, record, network)
    except Exception:  # whatever a reader says of a file that is not whole
        return False
    return found.apart <= MOST_APART and found.others == 0
