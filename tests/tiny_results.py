"""Results of tiny runs that stand for those of a whole `dvc repro`, learned in seconds."""

from __future__ import annotations

from collections.abc import Callable

from core.tiny import GROWS, ROOT

from cpg_core.storage.run import Run
from flows.reproduce.plan import Plan, read_plan
from flows.reproduce.result import RunResult, TaskResult, result_of

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


def made(method: str, accuracies: list[float], *, goal: str = "avg", ordering: str = "0", seed: int = 1) -> RunResult:
    """A result by hand. Tasks a, b, ...; validation accuracy is 0.1 below that of the test."""
    tasks = tuple(
        TaskResult(
            name=chr(ord("a") + place), goal=0.5, goal_met=True, accuracy=accuracy - 0.1, test_accuracy=accuracy,
            final_accuracy=accuracy, changed_by=0, budget_x=1.0, sparsity=0.0, picked=None, picked_of=(), delta_bytes=1,
            stages=(),
        )
        for place, accuracy in enumerate(accuracies)
    )  # fmt: skip
    names = ("backward_transfer", "forgetting", "goals_met", "model_mb", "seconds")
    summary = {"average_accuracy": sum(accuracies) / len(accuracies), "expansion_x": 1.5, "redundancy_x": 0.25}
    return RunResult(
        run=method, sequence="cifar100-20", profile="p", method=method, goal=goal, ordering=ordering, seed=seed,
        goal_split="val", git_commit=None, tasks=tasks, owned={},
        matrix=tuple(tuple(accuracies[: place + 1]) for place in range(len(accuracies))),
        summary=summary | dict.fromkeys(names, 0.0),
    )  # fmt: skip
