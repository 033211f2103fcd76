"""What the paper claims, asked of the results at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from cpg_core.methods import find
from flows.reproduce.result import RunResult, averages, sd

LARGEST_X = 1.5
"""The expansion of the paper's CPG on CIFAR-100 (Tables 1 and 2)."""
ONE_NETWORK = ("cpg", "pae", "packnet", "piggyback")


@dataclass(frozen=True)
class Claim:
    """A statement, whether the results bear it out, and the figures that say so."""

    statement: str
    holds: bool
    figures: str


def claims(results: Mapping[str, RunResult]) -> list[Claim]:
    """The claims for which there are results."""
    found = [_compared(*pair, results) for pair in PAIRS]
    return [claim for claim in [*found, _unforgetting(results), _forgetting(results), _expansion(results)] if claim]


def _runs(results: Mapping[str, RunResult], method: str, goal: str | None) -> list[RunResult]:
    """Its runs in the sequence's own order, of all seeds."""
    return [
        result
        for result in results.values()
        if (result.method, result.ordering) == (method, "0") and goal in (None, result.goal)
    ]


def _said(found: list[float]) -> str:
    spread = sd(found)
    return f"{np.mean(found):.1f} %" + (f" (sd {spread:.1f}, n {len(found)})" if spread is not None else "")


Side = tuple[str, str, str | None]
"""A name, a method, and a goal if it matters."""

CPG_AVG: Side = ("CPG avg", "cpg", "avg")
CPG_TOP: Side = ("CPG top", "cpg", "top")
PAE: Side = ("PAE", "pae", None)
PACKNET: Side = ("PackNet", "packnet", None)
FINE_AVG: Side = ("fine-Avg", "finetune", None)
SCRATCH: Side = ("scratch", "scratch", None)

PAIRS: tuple[tuple[Side, Side, Callable[[float, float], bool], str], ...] = (
    (CPG_AVG, PAE, float.__gt__, "is more accurate than"),
    (PAE, PACKNET, float.__gt__, "is more accurate than"),
    (CPG_TOP, CPG_AVG, float.__ge__, "is at least as accurate as"),
    (CPG_AVG, FINE_AVG, float.__ge__, "is at least as accurate as"),
    (CPG_AVG, SCRATCH, float.__ge__, "is at least as accurate as"),
)


def _compared(
    left: Side, right: Side, order: Callable[[float, float], bool], words: str, results: Mapping[str, RunResult]
) -> Claim | None:
    ours, theirs = _runs(results, *left[1:]), _runs(results, *right[1:])
    if not ours or not theirs:
        return None
    one, other = averages(ours), averages(theirs)
    holds = order(float(np.mean(one)), float(np.mean(other)))
    return Claim(f"{left[0]} {words} {right[0]}", holds, f"{_said(one)} against {_said(other)}")


def _changed(results: list[RunResult]) -> int:
    return sum(task.changed_by > 0 for result in results for task in result.tasks)


def _unforgetting(results: Mapping[str, RunResult]) -> Claim | None:
    keeping = [result for result in results.values() if not find(result.method).overwrites]
    if not keeping:
        return None
    changed = _changed(keeping)
    statement = "No bit of an earlier task changes, whatever is learned after it, under the methods that do not forget"
    return Claim(statement, changed == 0, f"{changed} tasks changed in {len(keeping)} runs")


def _forgetting(results: Mapping[str, RunResult]) -> Claim | None:
    forgetful = [result for result in results.values() if find(result.method).overwrites]
    if not forgetful:
        return None
    caught = [result for result in forgetful if _changed([result]) == len(result.tasks) - 1]
    statement = "The same check finds every earlier task changed under the methods that forget"
    return Claim(statement, len(caught) == len(forgetful), f"in {len(caught)} of {len(forgetful)} runs")


def _expansion(results: Mapping[str, RunResult]) -> Claim | None:
    compact = [result for result in results.values() if result.method in ONE_NETWORK]
    if not compact:
        return None
    largest = max(result.summary["expansion_x"] for result in compact)
    statement = f"CPG, PAE, PackNet and Piggyback stay within {LARGEST_X:g} times the weights of one network"
    return Claim(statement, round(largest, 2) <= LARGEST_X, f"at the most {largest:.2f} times")
