"""The paper's tables, with what was reproduced beside what was published.

A row is a method and a source (`paper`, `reproduced`); its columns are the tasks, the average, the expansion and the
redundancy. Accuracies are percent, as the paper has them, and are those after the last task was learned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isnan, nan
from pathlib import Path

import numpy as np
import pandas as pd

from flows.reproduce.result import RunResult, averages, judged, labelled_matrix, sd

Combine = Callable[[np.ndarray], np.ndarray]
"""From `[runs, tasks]` to `[tasks]`."""
Select = Callable[[RunResult], bool]

PAPER_SEQUENCE = "cifar100-20"
FIGURES = ("average", "expansion", "redundancy")


def _mean(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.mean(axis=0))


def _max(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.max(axis=0))


def _is(method: str, goal: str | None = None, ordering: str = "0") -> Select:
    def select(result: RunResult) -> bool:
        return (result.method, result.ordering) == (method, ordering) and goal in (None, result.goal)

    return select


ROWS: dict[str, dict[str, tuple[Select, Combine]]] = {
    "table1": {
        "PackNet": (_is("packnet"), _mean),
        "PAE": (_is("pae"), _mean),
        "CPG": (_is("cpg", "avg"), _mean),
    },
    "table2": {
        "Scratch": (_is("scratch"), _mean),
        "fine-Avg": (_is("finetune"), _mean),
        "fine-Max": (_is("finetune"), _max),
        "CPG avg": (_is("cpg", "avg"), _mean),
        "CPG max": (_is("cpg", "max"), _mean),
        "CPG top": (_is("cpg", "top"), _mean),
    },
    "table8": {f"CPG-ord.{ordering}": (_is("cpg", "avg", str(ordering)), _mean) for ordering in range(4)},
}
"""Which runs a row is of, and how they are put together; tasks stand in the order in which they were learned."""


def table(name: str, results: Mapping[str, RunResult], published: Path) -> pd.DataFrame:
    """A table of the paper: a row a method and source, those that were not reproduced among them.

    The paper's rows stand in it only beside the paper's tasks. The best of several models needs two or more.

    Args:
        name: one of `ROWS`.
        results: all results of a profile.
        published: the folder with the paper's tables.
    """
    reproduced = []
    for method, (select, combine) in ROWS[name].items():
        chosen = [result for result in results.values() if select(result)]
        if len(chosen) >= (2 if combine is _max else 1):
            reproduced.append(_row(method, chosen, combine))
    return beside_published(reproduced, results, published / f"{name}.csv")


def beside_published(rows: list[dict[str, object]], results: Mapping[str, RunResult], paper_csv: Path) -> pd.DataFrame:
    """What was reproduced below what was published, method by method; alone where the tasks are not the paper's."""
    if any(result.sequence != PAPER_SEQUENCE for result in results.values()):
        return pd.DataFrame(rows)
    paper = pd.read_csv(paper_csv)
    whole = pd.concat([paper, pd.DataFrame(rows)], ignore_index=True)
    if "n" in whole:
        whole["n"] = whole["n"].astype("Int64")  # whole numbers, missing for the paper
    order = {method: place for place, method in enumerate(paper["method"])}
    return whole.sort_values("method", key=lambda column: column.map(order), kind="stable", ignore_index=True)


def _row(method: str, chosen: Sequence[RunResult], combine: Combine) -> dict[str, object]:
    accuracies = np.array([[task.final_accuracy for task in result.tasks] for result in chosen])
    combined = 100 * combine(accuracies)
    tasks = {str(place): round(float(value), 1) for place, value in enumerate(combined, 1)}
    figures = {name: float(np.mean([result.summary[f"{name}_x"] for result in chosen])) for name in FIGURES[1:]}
    figures = {name: round(value, 2) for name, value in figures.items()}
    return {
        "method": method,
        "source": "reproduced",
        **tasks,
        "average": round(float(combined.mean()), 1),
        **figures,
        "sd": None if combine is _max else _rounded(sd(averages(chosen))),
        "n": len(chosen),
    }


def with_differences(frame: pd.DataFrame) -> pd.DataFrame:
    """The table for people: a row of reproduced minus paper below each pair, what sums it up before the tasks.

    One that has not a row a method and source is as it was, and so is one of sizes: those are of other widths.
    """
    if not {"method", "source"} <= set(frame) or "mb" in frame:
        return frame
    parts = []
    for _, pair in frame.groupby("method", sort=False):
        parts.append(pair)
        if sorted(pair["source"]) == ["paper", "reproduced"]:
            numbers = pair.set_index("source").drop(columns=["method", "sd", "n"], errors="ignore").astype(float)
            difference = (numbers.loc["reproduced"] - numbers.loc["paper"]).round(2)
            figures = [name for name in FIGURES if name in numbers]
            if difference.drop(figures).isna().any():
                difference.loc[figures] = np.nan  # they are of other tasks
            parts.append(pd.DataFrame([{"method": pair["method"].iloc[0], "source": "difference", **difference}]))
    tasks = [name for name in frame if str(name).isdecimal()]
    return pd.concat(parts, ignore_index=True)[[*frame.columns.difference(tasks, sort=False), *tasks]]


def as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """The table for people, with differences: numbers with the digits they were rounded to, nothing where none is."""
    return with_differences(frame).astype(object).map(lambda value: "" if pd.isna(value) else str(value))


def comparison(results: Mapping[str, RunResult]) -> pd.DataFrame:
    """Every method, goal, ordering and variant: mean and standard deviation over seeds, and all that it costs.

    Accuracies are in percent. Backward transfer and forgetting are as in `cpg_core.recall.metrics.summary`; forward
    transfer is the mean, over the tasks after the first, of test accuracy at freeze minus the independent models'.
    `average_after_N` compares runs of different lengths: the mean over tasks 1 to N once N are learned, as all did.
    """
    scratch = [result for result in results.values() if result.method == "scratch" and not result.variant]
    alone = {
        task.name: float(np.mean([t.test_accuracy for r in scratch for t in r.tasks if t.name == task.name]))
        for result in scratch[:1]
        for task in result.tasks
    }
    groups: dict[tuple[str, ...], list[RunResult]] = {}
    for result in results.values():
        groups.setdefault((result.method, result.goal, result.ordering, result.variant), []).append(result)
    common = min((len(result.tasks) for result in results.values()), default=0)
    return pd.DataFrame([_costs(key, group, alone, common) for key, group in groups.items()])


def _costs(key: tuple[str, ...], group: list[RunResult], alone: dict[str, float], common: int) -> dict[str, object]:
    def mean(name: str, scale: float = 1.0) -> float:
        return round(scale * float(np.mean([result.summary[name] for result in group])), 2)

    found = averages(group)
    forward = [
        task.test_accuracy - alone[task.name] for result in group for task in result.tasks[1:] if task.name in alone
    ]
    return {
        **dict(zip(("method", "goal", "ordering", "variant"), key, strict=True)),
        "n": len(group),
        "tasks": judged(group[0]),
        f"average_after_{common}": round(100 * float(np.mean([_average_after(common, result) for result in group])), 1),
        "average": round(float(np.mean(found)), 1),
        "sd": _rounded(sd(found)),
        "backward_transfer": mean("backward_transfer", 100),
        "forward_transfer": round(100 * float(np.mean(forward)), 2) if forward else None,
        "forgetting": mean("forgetting", 100),
        "changed_tasks": sum(task.changed_by > 0 for result in group for task in result.tasks),
        "goals_met": mean("goals_met"),
        "expansion": mean("expansion_x"),
        "redundancy": mean("redundancy_x"),
        "mb": mean("model_mb"),
        "seconds": round(mean("seconds")),
    }


def _average_after(count: int, result: RunResult) -> float:
    """Of the tasks whose accuracies are no agreement, once so many were learned; NaN where there are none."""
    found = [value for value in labelled_matrix(result)[count - 1] if not isnan(value)]
    return float(np.mean(found)) if found else nan


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
