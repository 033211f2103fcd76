"""Results of tiny runs that stand for those of a whole `dvc repro`, learned in seconds."""

from __future__ import annotations

from collections.abc import Callable

from core.tiny import GROWS, ROOT

from cpg_core.storage.run import Run
from flows.reproduce.plan import Plan, read_plan
from flows.reproduce.result import RunResult, result_of

GOALS = {"avg": 0.6, "max": 0.7, "top": 0.99}
METHODS = ("scratch", "finetune", "packnet", "pae", "piggyback", "progressive", "sequential", "den", "ewc", "lwf")


def tiny_results(learned: Callable[..., Run]) -> dict[str, RunResult]:
    """A run a method, three of CPG with their goals, and one of these as if learned in another ordering."""
    results = {method: named(learned(method=method), goal="avg") for method in METHODS}
    for goal, accuracy in GOALS.items():
        results[f"cpg-{goal}"] = named(learned(goal=accuracy, overrides=GROWS), goal=goal)
    first = results["cpg-avg"]
    results["cpg-avg-o1"] = first.model_copy(update={"ordering": "1", "tasks": first.tasks[::-1]})
    return results


def named(run: Run, *, goal: str) -> RunResult:
    return result_of(run).model_copy(update={"goal": goal})


def tiny_plan() -> Plan:
    return read_plan(ROOT).model_copy(update={"profile": "smoke", "sequence": "digits-5"})
