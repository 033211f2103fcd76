"""What the paper claims, asked of the results at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cpg_core.methods import find
from flows.reproduce.intervals import Difference, paired_difference
from flows.reproduce.result import RunResult, sd

LARGEST_X = 1.5
"""The expansion of the paper's CPG on CIFAR-100 (Tables 1 and 2)."""
ONE_NETWORK = ("cpg", "pae", "packnet", "piggyback")

Verdict = Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True)
class Claim:
    """A statement, what the results say of it, and the figures that say so.

    Attributes:
        difference: that the statement is about, in points of accuracy; None where it is about something else.
        least: what the difference must exceed.
        n: runs that it rests on: of each side, or of all.
    """

    statement: str
    verdict: Verdict
    figures: str
    n: tuple[int, ...]
    difference: Difference | None = None
    least: float = 0.0

    def as_json(self) -> dict[str, object]:
        """What `claims.json` says of it."""
        found = self.difference
        return {
            "claim": self.statement,
            "verdict": self.verdict,
            "difference": None if found is None else round(found.mean, 2),
            "low": None if found is None else round(found.low, 2),
            "high": None if found is None else round(found.high, 2),
            "n": list(self.n),
        }


@dataclass(frozen=True)
class Side:
    """The runs of a method in the sequence's own order: with one goal, or with whichever they had; one variant."""

    name: str
    method: str
    goal: str | None = None
    variant: str = ""

    def runs(self, results: Mapping[str, RunResult]) -> list[RunResult]:
        """Those of all seeds."""
        return [
            result
            for result in results.values()
            if (result.method, result.ordering, result.variant) == (self.method, "0", self.variant)
            and self.goal in (None, result.goal)
        ]


CPG_AVG, CPG_TOP = Side("CPG avg", "cpg", "avg"), Side("CPG top", "cpg", "top")
PAE, PACKNET = Side("PAE", "pae"), Side("PackNet", "packnet")
FINE_AVG, SCRATCH = Side("fine-Avg", "finetune"), Side("scratch", "scratch")

PAIRS = (
    (CPG_TOP, FINE_AVG),
    (CPG_AVG, FINE_AVG),
    (CPG_AVG, SCRATCH),
    (CPG_TOP, CPG_AVG),
    (CPG_AVG, PAE),
    (FINE_AVG, PAE),
    (PAE, PACKNET),
    (CPG_AVG, PACKNET),
)
"""The first is the more accurate one in the paper (Tables 1 and 2)."""
PICKING = (
    (CPG_AVG, Side("CPG avg with random picks", "cpg", "avg", "random picks")),
    (CPG_AVG, Side("CPG avg with all picked", "cpg", "avg", "all picked")),
)
"""What learned picks are worth."""
LONGER = ((CPG_AVG, Side("fine-Avg of as many epochs", "finetune", variant="as many epochs")),)
"""Whether the method is more than training for longer."""
PUBLISHED = ((CPG_AVG, FINE_AVG, 2.3), (CPG_TOP, FINE_AVG, 3.1))
"""By how many points (Table 2)."""


def claims(results: Mapping[str, RunResult]) -> list[Claim]:
    """The claims for which there are results."""
    found = [
        compared(one, other, f"{one.name} is more accurate than {other.name}", 0.0, results)
        for one, other in (*PAIRS, *PICKING, *LONGER)
    ]
    found += _picking_late(results)
    found += [
        compared(one, other, f"{one.name} is at least {least:g} points above {other.name} (Table 2)", least, results)
        for one, other, least in PUBLISHED
    ]
    facts = [unforgetting(results), _forgetting(results), _expansion(results), _redundancy(results)]
    return [claim for claim in [*found, *facts] if claim]


def _picking_late(results: Mapping[str, RunResult]) -> list[Claim | None]:
    """What learned picks are worth to the second half of the tasks, where older weights are most of the network."""
    names = [task.name for run in CPG_AVG.runs(results)[:1] for task in run.tasks]
    half = len(names) // 2
    where = f"over tasks {half + 1} to {len(names)}"
    return [
        compared(one, other, f"{one.name} is more accurate than {other.name} {where}", 0.0, results, names[half:])
        for one, other in PICKING
    ]


def verdict(difference: Difference, least: float) -> Verdict:
    """Decided where the whole interval lies on one side of `least`, and both sides were learned more than once."""
    if min(difference.n) < 2 or difference.low <= least <= difference.high:
        return "undecided"
    return "holds" if difference.low > least else "does not hold"


def compared(
    one: Side,
    other: Side,
    statement: str,
    least: float,
    results: Mapping[str, RunResult],
    counted: Sequence[str] | None = None,
) -> Claim | None:
    """A claim about the difference of two sides' mean accuracy.

    Args:
        one: the one that is said to be more accurate than `other`.
        statement: what is claimed.
        least: by how many points.
        results: all results of a profile.
        counted: the tasks that it is about; None: all.

    Returns:
        None where a side has no runs, or has not learned these tasks.
    """
    ours, theirs = ([_only(run, counted) for run in side.runs(results)] for side in (one, other))
    if not ours or not theirs or not ours[0].tasks:
        return None
    names = [task.name for task in ours[0].tasks]
    tables = [_accuracies(runs, names) for runs in (ours, theirs)]
    if tables[0] is None or tables[1] is None:
        return None
    difference = paired_difference(tables[0], tables[1])
    figures = " against ".join(_said(table.mean(axis=1).tolist()) for table in (tables[0], tables[1]))
    return Claim(statement, verdict(difference, least), figures, difference.n, difference, least)


def _only(run: RunResult, counted: Sequence[str] | None) -> RunResult:
    """The run as if it had learned these tasks alone."""
    kept = tuple(task for task in run.tasks if counted is None or task.name in counted)
    return run.model_copy(update={"tasks": kept})


def _accuracies(runs: list[RunResult], names: list[str]) -> np.ndarray | None:
    """`[seeds, tasks]` in percent; None where a run has not learned just these tasks."""
    rows = [{task.name: 100 * task.final_accuracy for task in run.tasks} for run in runs]
    if any(set(row) != set(names) for row in rows):
        return None
    return np.array([[row[name] for name in names] for row in rows])


def _said(found: list[float]) -> str:
    spread = sd(found)
    return f"{np.mean(found):.1f} %" + (f" (sd {spread:.1f}, n {len(found)})" if spread is not None else " (n 1)")


def fact(statement: str, holds: bool, figures: str, *runs: int) -> Claim:
    """A claim about something that is counted in so many runs, of each side where it is about two."""
    return Claim(statement, "holds" if holds else "does not hold", figures, runs)


def _changed(results: list[RunResult]) -> int:
    return sum(task.changed_by > 0 for result in results for task in result.tasks)


def unforgetting(results: Mapping[str, RunResult]) -> Claim | None:
    """That no task has changed in a network that tasks share and do not overwrite; None where there is none."""
    methods = {name: find(name) for name in {result.method for result in results.values()}}
    shared = {name for name, method in methods.items() if not method.overwrites and not method.independent}
    keeping = [result for result in results.values() if result.method in shared]
    if not keeping:
        return None
    changed = _changed(keeping)
    statement = "No bit of an earlier task changes, whatever is learned after it, under the methods that do not forget"
    return fact(statement, changed == 0, f"{changed} tasks changed in {len(keeping)} runs", len(keeping))


def _forgetting(results: Mapping[str, RunResult]) -> Claim | None:
    forgetful = [result for result in results.values() if find(result.method).overwrites]
    if not forgetful:
        return None
    caught = [result for result in forgetful if _changed([result]) == len(result.tasks) - 1]
    statement = "The same check finds every earlier task changed under the methods that forget"
    figures = f"in {len(caught)} of {len(forgetful)} runs"
    return fact(statement, len(caught) == len(forgetful), figures, len(forgetful))


def _expansion(results: Mapping[str, RunResult]) -> Claim | None:
    compact = [result for result in results.values() if result.method in ONE_NETWORK]
    if not compact:
        return None
    largest = max(result.summary["expansion_x"] for result in compact)
    statement = f"CPG, PAE, PackNet and Piggyback stay within {LARGEST_X:g} times the weights of one network"
    return fact(statement, round(largest, 2) <= LARGEST_X, f"at the most {largest:.2f} times", len(compact))


def _redundancy(results: Mapping[str, RunResult]) -> Claim | None:
    runs = CPG_AVG.runs(results)
    if not runs:
        return None
    least = min(result.summary["redundancy_x"] for result in runs)
    statement = "Weights are left for more tasks after the last one under CPG avg (redundancy above 0)"
    return fact(statement, least > 0, f"at the least {least:.2f} times the weights of one network", len(runs))
