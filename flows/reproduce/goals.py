"""The goals that methods are held to, computed from independent and fine-tuned models (Table 2)."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from cpg_core.errors import CpgError
from flows.reproduce.result import RunResult, as_in_the_profile

Goals = dict[str, dict[str, float]]
"""For `avg`, `max` and `top`: the accuracy in [0, 1] that each task must reach."""


def goals_of(results: Mapping[str, RunResult], top_margin: float) -> Goals:
    """`avg` and `max`: mean and best of the fine-tuned models; `top`: `top_margin` above the best of all.

    Args:
        results: those of the methods `scratch` and `finetune`; accuracies are those on the split that decides. Variants
            do not count.
        top_margin: as a share of 1.

    Raises:
        CpgError: there is no such run, or they are of different tasks.
    """
    rows = as_in_the_profile(results)
    scratch, tuned = (_by_task(rows, method) for method in ("scratch", "finetune"))
    if set(scratch) != set(tuned):
        raise CpgError("goals: the independent and the fine-tuned models are of different tasks; learn them anew")
    return {
        "avg": {task: fmean(found) for task, found in tuned.items()},
        "max": {task: max(found) for task, found in tuned.items()},
        "top": {task: min(1.0, max(*found, *scratch[task]) + top_margin) for task, found in tuned.items()},
    }


def _by_task(results: Mapping[str, RunResult], method: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for result in results.values():
        if result.method == method:
            for task in result.tasks:
                found.setdefault(task.name, []).append(task.accuracy)
    if not found:
        raise CpgError(f"goals: no baseline of the plan is of method {method}; they come from scratch and finetune")
    return found
