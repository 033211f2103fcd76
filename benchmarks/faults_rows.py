"""What the faults other than kills have in common: a row for each, and the copies of runs that they befall."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from faults_sequence import RUN, Attempt, Starter, arguments, content

from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run

MISTAKE, STOPPED = 2, 130
Harm = Callable[[Path], None]


@dataclass(frozen=True)
class Row:
    """One fault, executed."""

    fault: str
    where: str
    expected: str
    happened: str
    ok: bool

    def cells(self) -> dict[str, object]:
        """The row of a table."""
        return {**asdict(self), "ok": "yes" if self.ok else "NO"}


@dataclass(frozen=True)
class Bench:
    """What faults are tried with.

    Attributes:
        start: starts and kills processes.
        folder: for the results of all of them.
        whole: the run as it ends without a fault.
        stopped: a copy of it, killed in the second task while the picks are learned again.
    """

    start: Starter
    folder: Path
    whole: Run
    stopped: Run

    def copy(self, run: Run, name: str) -> Run:
        """The same run in another place, to be harmed there."""
        root = self.folder / name
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(run.root, root)
        return open_run(root, RUN)

    def again(self, run: Run, *more: str, track: bool = False) -> Attempt:
        """The command of the run, given again."""
        return self.start.run(run.root, arguments(run.root, "--plain", *(() if track else ("--no-track",)), *more))

    def same(self, run: Run) -> bool:
        """Whether a run ended in the bytes of the whole one."""
        return content(run) == content(self.whole)


def bench(start: Starter, folder: Path, whole: Run) -> Bench:
    """Get everything ready."""
    root = folder / "stopped"
    words = arguments(root, "--plain", "--no-track")
    if not start.run(root, words, moment={"kind": "in retrain", "count": 10}).killed:
        raise RuntimeError("the run that was to be stopped in the middle was not")
    return Bench(start, folder, whole, open_run(root, RUN))


def flip(path: Path) -> None:
    """Flip one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Cut the file in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


HARMS: dict[str, Harm] = {"cut in half": cut, "a bit flipped": flip}


def told(attempt: Attempt) -> str:
    """The end of an attempt in a few words."""
    lines = [line for line in attempt.said.splitlines() if line.startswith(("error:", "note:", "stopped"))]
    said = re.sub(r"(?<![:/\w])/\S+/(\S+)", r"\1", lines[-1]) if lines else ""
    return f"exit {attempt.code}" + (f", {said[:70]}" if said else "")
