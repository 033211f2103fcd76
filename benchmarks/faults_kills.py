"""Kill a run again and again, start it with the same command, and compare how it ends with an unbroken run.

Half of the kills come at a random time; the others just before one of the operations on files of a kind chosen at
random, so that the short moments in which something is written are hit as often as the long ones.
"""

from __future__ import annotations

import random
import re
import shutil
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from faults_sequence import RUN, Starter, arguments, content, unbroken

from cpg_core.storage.run import RECORD, Run
from cpg_core.storage.run import RUN as RUN_FILE
from cpg_core.storage.runs import open_run

KINDS = {
    "checkpoints/run.json": 3,
    "checkpoints/delta.safetensors": 2,
    "checkpoints/recall.json": 3,
    "checkpoints/seconds.json": 3,
    "checkpoints/record.json": 3,
    "work/at.safetensors": 12,
    "work/at.json": 24,
    "work/state.safetensors": 4,
    "work/seconds.json": 12,
    "work/record.json": 12,
    "work/shared.safetensors": 2,
    "work/shared.json": 3,
    "removal": 40,
    "in check": 8,
    "in grow": 9,
    "in prune": 40,
    "in retrain": 40,
}
"""Kinds of files (`faults_starter.kinds_of`); up to the how manieth operation on one of them is an attempt's last."""

STAGES = ("pick_train", "check", "grow", "prune", "retrain", "freeze", "after the last freeze")
CLOCK_SHARE = 0.4
PREFECT_SHARE = 0.2
MOST_ATTEMPTS = 60

Thing = tuple[str, ...]
"""What can be finished: a task, one of its stages, or an epoch of one: `("001-fish", "03-prune", "0002")`."""


@dataclass
class Tally:
    """What the campaign found; each counter by the stage that a kill hit."""

    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    writing: Counter[str] = field(default_factory=Counter)
    prefect: Counter[str] = field(default_factory=Counter)
    resumes: Counter[str] = field(default_factory=Counter)
    differences: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)

    def rows(self) -> list[dict[str, object]]:
        """A row a stage, and their sum."""
        rows = [self._row(stage, [stage]) for stage in STAGES]
        return [*rows, self._row("all", list(STAGES))]

    def _row(self, name: str, stages: list[str]) -> dict[str, object]:
        columns = {
            "kills": self.kills,
            "while writing": self.writing,
            "under Prefect": self.prefect,
            "resumes": self.resumes,
            "differences": self.differences,
            "lost": self.lost,
        }
        counts = {column: sum(counter[stage] for stage in stages) for column, counter in columns.items()}
        return {"stage hit": name, **counts}


def campaign(
    plain: Starter,
    prefect: Starter | None,
    folder: Path,
    kills: int,
    seed: int,
    kinds: dict[str, int] = KINDS,
    clock_share: float = CLOCK_SHARE,
) -> Tally:
    """Kill until the number of kills is reached, and learn the last round to its end.

    Args:
        plain: starts `cpg run --plain`.
        prefect: starts some of the attempts under Prefect; None: none of them.
        folder: where the runs go.
        kills: how many.
        seed: decides the moments.
        kinds: of files, to choose from.
        clock_share: of the kills that come at a random time; 0: none, so that the seed alone decides what is hit.
    """
    dice, tally = random.Random(seed), Tally()
    began = monotonic()
    whole = unbroken(plain, folder / "unbroken")
    seconds = monotonic() - began
    while tally.kills.total() < kills:
        tally.rounds += 1
        root = folder / f"round-{tally.rounds}"
        Round(whole, root, dice, tally, seconds, kinds, clock_share).run(plain, prefect, kills)
        shutil.rmtree(root, ignore_errors=True)
    return tally


class Round:
    """One run, killed until it is finished or there are enough kills."""

    def __init__(
        self,
        whole: Run,
        root: Path,
        dice: random.Random,
        tally: Tally,
        seconds: float,
        kinds: dict[str, int],
        clock_share: float,
    ) -> None:
        self._root, self._dice, self._tally, self._seconds = root, dice, tally, seconds
        self._kinds, self._clock_share = kinds, clock_share
        self._expected = content(whole)
        self._stages = [
            (whole.label(index), stage.label)
            for index, record in enumerate(whole.records(), 1)
            for stage in record.stages
        ]
        self._differing: set[str] = set()

    def run(self, plain: Starter, prefect: Starter | None, kills: int) -> None:
        """Learn the run, killing it until there are enough kills in all."""
        tally, hit = self._tally, STAGES[0]
        for attempt in range(MOST_ATTEMPTS):
            with_prefect = prefect if prefect is not None and self._dice.random() < PREFECT_SHARE else None
            words = arguments(self._root, "--no-track", *(() if with_prefect else ("--plain",)))
            how: dict[str, Any] = self._moment(with_prefect is not None) if tally.kills.total() < kills else {}
            before = finished(self._root)
            tried = (with_prefect or plain).run(self._root, words, **how)
            tally.resumes[hit] += attempt > 0
            after = finished(self._root)
            vanished = {thing for thing in before if not covered(thing, after)}
            twice = [thing for thing in map(thing_of, tried.written) if thing is not None and covered(thing, before)]
            tally.lost[hit] += len(vanished) + len(twice)
            self._compare(hit, whole=tried.code == 0)
            if not tried.killed:
                if tried.code != 0:
                    print(f"an attempt ended with exit code {tried.code}:\n{tried.said[-2000:]}", file=sys.stderr)
                    tally.lost[hit] += 1
                return
            hit = self._hit(after)
            tally.kills[hit] += 1
            tally.writing[hit] += not tried.by_clock
            tally.prefect[hit] += with_prefect is not None
        raise RuntimeError(f"the run in {self._root} does not get on")

    def _moment(self, with_prefect: bool) -> dict[str, Any]:
        start = 1.5 if with_prefect else 0.1
        if self._dice.random() < self._clock_share:
            return {"seconds": start + 0.8 * self._dice.random() * self._seconds}
        kind = self._dice.choice(list(self._kinds))
        moment = {"kind": kind, "count": self._dice.randint(1, self._kinds[kind])}
        if not self._clock_share:
            return {"moment": moment}
        # The moment may not come: the clock makes sure that a kill does.
        return {"moment": moment, "seconds": start + (0.4 + 0.5 * self._dice.random()) * self._seconds}

    def _hit(self, done: set[Thing]) -> str:
        """The stage that is next, or was going on."""
        left = (stage for label, stage in self._stages if not covered((label, stage), done))
        return next(left, f"00-{STAGES[-1]}")[3:]

    def _compare(self, hit: str, *, whole: bool) -> None:
        """Count the files that differ from the unbroken run's: all of them, or those of frozen tasks."""
        found = content(open_run(self._root, RUN)) if (self._root / "checkpoints" / RUN / RUN_FILE).exists() else {}
        if whole:
            names = self._expected.keys() | found.keys()
        else:
            frozen = {name.split("/")[0] for name in found if name.endswith(f"/{RECORD}")}
            names = {name for name in self._expected if name.split("/")[0] in frozen}
        differing = {name for name in names if found.get(name) != self._expected.get(name)}
        self._tally.differences[hit] += len(differing - self._differing)
        self._differing |= differing


def finished(root: Path) -> set[Thing]:
    """What of a run is finished, by what is on disk."""
    found: set[Thing] = {(path.parent.name,) for path in (root / "checkpoints" / RUN).glob(f"*/{RECORD}")}
    work = root / "work" / RUN
    found |= {(path.parent.parent.name, path.parent.name) for path in work.glob(f"*/*/{RECORD}")}
    for path in work.glob("*/*/at-*.json"):
        stage = path.parent.parent.name, path.parent.name
        found |= {(*stage, f"{epoch:04d}") for epoch in range(1, int(path.stem.split("-")[1]) + 1)}
    return found


def thing_of(path: str) -> Thing | None:
    """What is finished by putting a file in its place; None: nothing yet, or something that is no result."""
    parts = tuple(path.split("/")[2:])
    if parts[-1:] == (RECORD,):
        return parts[:-1]
    if snapshot := re.fullmatch(r"at-(\d+)-000000\.safetensors", parts[-1] if parts else ""):
        return (*parts[:-1], snapshot[1])
    return None


def covered(thing: Thing, done: set[Thing]) -> bool:
    """Whether a thing is finished, by itself or as part of a stage or task that is."""
    return any(thing[:length] in done for length in range(1, len(thing) + 1))
