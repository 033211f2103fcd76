"""What the paper claims of its Table 6: of each task, beside the fine-tuned model that is its goal, and on average."""

from __future__ import annotations

from collections.abc import Mapping

from flows.reproduce.by_task import LAYOUTS
from flows.reproduce.claims import FINE_AVG, PACKNET, Claim, Side, claims, compared, fact, unforgetting
from flows.reproduce.result import RunResult

CPG, PIGGYBACK = Side("CPG", "cpg"), Side("Piggyback", "piggyback")


def claims_of(results: Mapping[str, RunResult]) -> list[Claim]:
    """The claims about the sequence that the results are of, as far as there are results."""
    layout = LAYOUTS.get(next((result.sequence for result in results.values()), ""))
    if layout is None or not layout.counted:
        return claims(results)
    found = [_reaches_fine_tuned(results, layout.counted)]
    found += [
        compared(CPG, other, f"CPG is more accurate than {other.name} on average", 0.0, results, layout.counted)
        for other in (PACKNET, PIGGYBACK)
    ]
    return [claim for claim in [*found, unforgetting(results)] if claim]


def _reaches_fine_tuned(results: Mapping[str, RunResult], counted: tuple[str, ...]) -> Claim | None:
    """The mean over seeds of each task; the paper has 4 of 5."""
    ours, theirs = (_means(side.runs(results)) for side in (CPG, FINE_AVG))
    both = [name for name in counted if name in ours and name in theirs]
    if not both:
        return None
    reached = [name for name in both if ours[name] >= theirs[name]]
    statement = "CPG is at or above the fine-tuned model on more than half of the tasks that count"
    told = f"on {len(reached)} of {len(both)}" + (f": {', '.join(reached)}" if reached else "")
    return fact(statement, 2 * len(reached) > len(both), told, len(CPG.runs(results)))


def _means(runs: list[RunResult]) -> dict[str, float]:
    names = [task.name for task in runs[0].tasks] if runs else []
    found = {name: [task.final_accuracy for run in runs for task in run.tasks if task.name == name] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items()}
