"""What the paper claims of Tables 6 and 7: of each task, beside the fine-tuned model that is its goal, and of all."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from flows.reproduce.by_task import LAYOUTS
from flows.reproduce.claims import FINE_AVG, PACKNET, Claim, Side, claims, compared, fact, unforgetting
from flows.reproduce.result import RunResult

CPG, PIGGYBACK = Side("CPG", "cpg"), Side("Piggyback", "piggyback")


def claims_of(results: Mapping[str, RunResult]) -> list[Claim]:
    """The claims about the sequence that the results are of, as far as there are results."""
    layout = LAYOUTS.get(next((result.sequence for result in results.values()), ""))
    if layout is None:
        return claims(results)
    found: list[Claim | None] = []
    if layout.counted:
        names = f"{', '.join(layout.counted[:-1])} and {layout.counted[-1]}"
        found.append(_reaches_fine_tuned(results, layout.counted))
        found += [
            compared(CPG, other, f"CPG is more accurate than {other.name} over {names}", 0.0, results, layout.counted)
            for other in (PACKNET, PIGGYBACK)
        ]
    if layout.within:
        found += [_stays_near_fine_tuned(results, layout.within), _is_above_somewhere(results, layout.within)]
    return [claim for claim in [*found, unforgetting(results)] if claim]


def _reaches_fine_tuned(results: Mapping[str, RunResult], counted: Collection[str]) -> Claim | None:
    """The paper has 4 of 5 (Table 6)."""
    gained = _gained(results, counted)
    reached = [name for name, points in gained.items() if points >= 0]
    statement = "CPG is at or above the fine-tuned model on more than half of the tasks that count"
    told = f"on {len(reached)} of {len(gained)}" + (f": {', '.join(reached)}" if reached else "")
    return _about(results, gained, statement, 2 * len(reached) > len(gained), told)


def _stays_near_fine_tuned(results: Mapping[str, RunResult], within: Mapping[str, float]) -> Claim | None:
    gained = _gained(results, within)
    allowed = ", ".join(f"{name} {within[name]:g}" for name in gained)
    statement = f"CPG is not further below the fine-tuned model than so many points: {allowed}"
    told = ", ".join(f"{name} {points:+.1f}" for name, points in gained.items())
    return _about(results, gained, statement, all(points >= -within[name] for name, points in gained.items()), told)


def _is_above_somewhere(results: Mapping[str, RunResult], names: Collection[str]) -> Claim | None:
    """The paper has 2 of 4 (Table 7)."""
    gained = _gained(results, names)
    above = [name for name, points in gained.items() if points > 0]
    statement = "CPG is above the fine-tuned model on at least one task"
    return _about(results, gained, statement, bool(above), f"on {', '.join(above)}" if above else "on none")


def _about(
    results: Mapping[str, RunResult], gained: Mapping[str, float], statement: str, holds: bool, told: str
) -> Claim | None:
    """None where not all of the tasks were learned by both; undecided, as every claim about accuracy, by one seed."""
    if not gained:
        return None
    runs = [len(side.runs(results)) for side in (CPG, FINE_AVG)]
    counted = fact(statement, holds, told, *runs)
    return counted if min(runs) > 1 else replace(counted, verdict="undecided")


def _gained(results: Mapping[str, RunResult], names: Collection[str]) -> dict[str, float]:
    """By how many points CPG is above the fine-tuned model on each task, by the means over seeds.

    Nothing where one of them has not learned all of these tasks: the statements are about all.
    """
    ours, theirs = (_means(side.runs(results)) for side in (CPG, FINE_AVG))
    if not set(names) <= ours.keys() & theirs.keys():
        return {}
    return {name: round(100 * (ours[name] - theirs[name]), 2) for name in names}


def _means(runs: list[RunResult]) -> dict[str, float]:
    names = [task.name for task in runs[0].tasks] if runs else []
    found = {name: [task.final_accuracy for run in runs for task in run.tasks if task.name == name] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items()}
