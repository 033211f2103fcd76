"""Every kind of file of a run, cut in half and with a bit flipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from faults_rows import HARMS, MISTAKE, Bench, Harm, Row, told
from faults_sequence import RUN, content

from cpg_core.storage.runs import open_run

REFUSED = {
    "run.json": "run.json",
    "record.json": "001-*/record.json",
    "delta.safetensors": "001-*/delta.safetensors",
}
"""Of what is frozen: nothing can be learned on top of these."""

NAMED = {"recall.json": "001-*/recall.json"}
"""Of what is frozen: nothing rests on it, so learning goes on, and what reads it names it."""

LOST = {"seconds.json": "001-*/seconds.json"}
"""Of what is frozen: no result rests on it, so the command ends well, says that they are lost, and audit names it."""

ANEW = {
    "stage state": "*/01-pick_train/state.safetensors",
    "stage record": "*/02-check/record.json",
    "stage seconds": "*/03-grow/seconds.json",
    "snapshot": "*/*-retrain/at-*.safetensors",
    "snapshot entry": "*/*-retrain/at-*.json",
    "shared weights": "shared.safetensors",
    "entry of the shared weights": "shared.json",
}
"""Of the work in progress: learned or computed again."""

SILENT = ("shared weights", "entry of the shared weights")
"""A cache: nothing is learned again."""


def damage(bench: Bench) -> Iterator[Row]:
    """A row a file and harm."""
    for how, harm in HARMS.items():
        for where, pattern in {**REFUSED, **NAMED, **LOST}.items():
            yield _frozen(bench, where, pattern, how, harm)
        for where, pattern in ANEW.items():
            yield _work(bench, where, pattern, how, harm)


def _frozen(bench: Bench, where: str, pattern: str, how: str, harm: Harm) -> Row:
    run = bench.copy(bench.stopped, "damaged")
    path = _find(run.folder, pattern)
    sound, before = path.read_bytes(), content(run).keys()
    harm(path)
    name = str(path.relative_to(run.root / "checkpoints"))
    audited = bench.start.run(run.root, ["audit", RUN, "--root", str(run.root)])
    attempt = bench.again(run)
    if where in LOST:
        told_of = attempt.code == 0 and "they are lost" in attempt.said
    else:
        told_of = attempt.code == MISTAKE and name in attempt.said and "Traceback" not in attempt.said
    learned = len(list(run.folder.glob("*/record.json")))
    kept = learned == (1 if where in REFUSED else 3) and before <= content(run).keys()
    path.write_bytes(sound)
    mended = bench.again(run)
    ok = told_of and audited.code != 0 and name in audited.said and kept and mended.code == 0 and bench.same(run)
    expected = (
        "refused and named; brought back, it goes on"
        if where in REFUSED
        else "named; the rest is learned; brought back, all is well"
    )
    return Row(how, where, expected, f"{told(attempt)}; then {'the same bytes' if bench.same(run) else 'OTHERS'}", ok)


def _work(bench: Bench, where: str, pattern: str, how: str, harm: Harm) -> Row:
    run = bench.copy(bench.stopped, "damaged")
    harm(_find(run.work, pattern))
    attempt = bench.again(run)
    same = attempt.code == 0 and bench.same(open_run(run.root, RUN))
    ok = same and (where in SILENT or "anew, " in attempt.said)
    return Row(
        how,
        where,
        "read from the deltas" if where in SILENT else "anew, and says so",
        f"{told(attempt)}, {'the same bytes' if same else 'OTHER BYTES'}",
        ok,
    )


def _find(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise RuntimeError(f"{folder}: nothing there is called {pattern}")
    return found[-1]
