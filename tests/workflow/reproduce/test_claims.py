"""What is said of the results: verdicts from differences and intervals, and facts that are counted."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from flows.reproduce.claims import claims, unforgetting, verdict
from flows.reproduce.intervals import Difference, paired_difference
from flows.reproduce.report.forest import forest
from flows.reproduce.result import RunResult

WORDS = "CPG avg is more accurate than PAE"


def learned_again(result: RunResult, key: str, seeds: Sequence[float]) -> dict[str, RunResult]:
    """The result with its accuracies shifted by so much in each seed; tasks are 0.02 apart, one above the other."""
    runs = {}
    for seed, shift in enumerate(seeds, 1):
        tasks = tuple(
            task.model_copy(update={"final_accuracy": 0.5 + 0.02 * place + shift})
            for place, task in enumerate(result.tasks)
        )
        average = float(np.mean([task.final_accuracy for task in tasks]))
        summary = result.summary | {"average_accuracy": average}
        runs[f"{key}-{seed}"] = result.model_copy(update={"seed": seed, "tasks": tasks, "summary": summary})
    return runs


def asked(results: dict[str, RunResult], cpg: Sequence[float], pae: Sequence[float]) -> str:
    pair = learned_again(results["cpg-avg"], "cpg-avg", cpg) | learned_again(results["pae"], "pae", pae)
    return next(claim.verdict for claim in claims(pair) if claim.statement == WORDS)


def test_a_claim_is_decided_only_by_an_interval_on_one_side(results: dict[str, RunResult]) -> None:
    near = (0.0, 0.001, -0.001)
    assert asked(results, (0.1, 0.101, 0.099), near) == "holds"
    assert asked(results, near, (0.1, 0.101, 0.099)) == "does not hold"
    assert asked(results, (0.03, -0.02, 0.0), near) == "undecided"
    assert asked(results, near, near) == "undecided"


def test_one_seed_decides_nothing(results: dict[str, RunResult]) -> None:
    assert asked(results, (0.1,), (0.0, 0.001, -0.001)) == "undecided"


def test_a_target_must_be_exceeded_by_the_whole_interval() -> None:
    assert verdict(Difference(2.5, 2.1, 2.9, (3, 3)), 2.0) == "holds"
    assert verdict(Difference(2.5, 1.9, 3.1, (3, 3)), 2.0) == "undecided"
    assert verdict(Difference(1.0, 0.5, 1.5, (3, 3)), 2.0) == "does not hold"


def test_tasks_that_differ_alike_on_both_sides_widen_nothing() -> None:
    """Paired by task: a task that is hard for both says nothing about the difference."""
    tasks = np.array([10.0, 50.0, 90.0])
    found = paired_difference(np.array([tasks + 1, tasks + 1]), np.array([tasks, tasks]))
    assert (found.low, found.mean, found.high) == pytest.approx((1, 1, 1))
    shuffled = paired_difference(np.array([tasks + 1, tasks + 1]), np.array([tasks[::-1], tasks[::-1]]))
    assert shuffled.low < -20 < 20 < shuffled.high


def test_seeds_widen_the_interval_by_what_they_spread() -> None:
    """Three seeds 0, 3, 6 above: the mean of three draws is 0 or 6 once in 27 each, so both lie in a 95 % interval."""
    ours = np.array([[50.0], [53.0], [56.0]]).repeat(4, axis=1)
    found = paired_difference(ours, np.full((2, 4), 50.0))
    assert (found.low, found.mean, found.high, found.n) == (
        pytest.approx(0),
        pytest.approx(3),
        pytest.approx(6),
        (3, 2),
    )


def test_other_tasks_are_not_compared(results: dict[str, RunResult]) -> None:
    with pytest.raises(ValueError, match="2 tasks against 3"):
        paired_difference(np.zeros((2, 2)), np.zeros((2, 3)))
    shorter = results["pae"].model_copy(update={"tasks": results["pae"].tasks[:-1]})
    assert WORDS not in [claim.statement for claim in claims({"cpg": results["cpg-avg"], "pae": shorter})]


def test_models_apart_have_nothing_to_forget(results: dict[str, RunResult]) -> None:
    shared = results["cpg-avg"]
    apart = {method: shared.model_copy(update={"method": method}) for method in ("scratch", "finetune")}
    assert unforgetting(apart) is None
    found = unforgetting({**apart, "cpg-avg": shared})
    assert found is not None and found.n == (1,)


def test_a_control_is_compared_with_the_runs_that_it_controls(results: dict[str, RunResult]) -> None:
    varied = results["cpg-avg"].model_copy(update={"variant": "random picks"})
    control = learned_again(varied, "random", (0.0, 0.001, -0.001))
    pair = learned_again(results["cpg-avg"], "cpg-avg", (0.1, 0.101, 0.099)) | control
    found = {claim.statement: claim.verdict for claim in claims(pair)}
    assert found["CPG avg is more accurate than CPG avg with random picks"] == "holds"
    assert "CPG avg is more accurate than CPG avg with all picked" not in found


def test_how_far_above_fine_tuned_models_the_paper_is_decides(results: dict[str, RunResult]) -> None:
    """Table 2: goal avg 2.3 points above fine-Avg."""
    seeds = (0.0, 0.001, -0.001)
    fine = results["scratch"].model_copy(update={"method": "finetune"})
    words = "CPG avg is at least 2.3 points above fine-Avg (Table 2)"
    for above, expected in ((0.03, "holds"), (0.023, "undecided"), (0.015, "does not hold")):
        ours = learned_again(results["cpg-avg"], "cpg-avg", [above + seed for seed in seeds])
        runs = ours | learned_again(fine, "finetune", seeds)
        assert [claim.verdict for claim in claims(runs) if claim.statement == words] == [expected]


def test_picks_are_judged_on_later_tasks_too(results: dict[str, RunResult]) -> None:
    """Random picks that are as good on the first of two tasks and far behind on the second."""
    seeds = (0.0, 0.001, -0.001)
    runs = learned_again(results["cpg-avg"], "cpg-avg", seeds)
    for key, run in learned_again(results["cpg-avg"], "random", seeds).items():
        half = len(run.tasks) // 2
        later = [task.model_copy(update={"final_accuracy": task.final_accuracy - 0.3}) for task in run.tasks[half:]]
        runs[key] = run.model_copy(update={"tasks": (*run.tasks[:half], *later), "variant": "random picks"})
    last = len(results["cpg-avg"].tasks)
    words = f"CPG avg is more accurate than CPG avg with random picks over tasks {last // 2 + 1} to {last}"
    (late,) = (claim for claim in claims(runs) if claim.statement == words)
    assert late.verdict == "holds"
    assert late.difference is not None
    assert late.difference.mean == pytest.approx(30)


def test_what_a_program_reads_is_what_the_page_shows(results: dict[str, RunResult]) -> None:
    found = claims(results)
    for line, claim in zip(json.loads(json.dumps([claim.as_json() for claim in found])), found, strict=True):
        assert list(line) == ["claim", "verdict", "difference", "low", "high", "n"]
        assert (line["claim"], line["verdict"]) == (claim.statement, claim.verdict)
        if claim.difference is not None:
            assert line["low"] <= line["difference"] <= line["high"]


def test_the_forest_has_a_row_a_difference(results: dict[str, RunResult]) -> None:
    found = claims(results)
    drawn = forest(found)
    assert drawn is not None
    rows = [label.get_text().replace("\n", " ") for label in drawn.axes[0].get_yticklabels()]
    assert rows == [claim.statement for claim in found if claim.difference]
    assert forest([claim for claim in found if claim.difference is None]) is None


def test_a_changed_bit_is_told(results: dict[str, RunResult]) -> None:
    first, *rest = results["pae"].tasks
    broken = results["pae"].model_copy(update={"tasks": (first.model_copy(update={"changed_by": 1}), *rest)})
    verdicts = [
        claim.verdict for run in (results["pae"], broken) for claim in claims({"pae": run}) if "bit" in claim.statement
    ]
    assert verdicts == ["holds", "does not hold"]


def test_forgetting_methods_are_caught(results: dict[str, RunResult]) -> None:
    forgetful = {key: results[key] for key in ("sequential", "den", "ewc", "lwf")}
    assert [claim.verdict for claim in claims(forgetful)] == ["holds"]
    kept = [task.model_copy(update={"changed_by": 0}) for task in results["ewc"].tasks]
    forgetful["ewc"] = results["ewc"].model_copy(update={"tasks": tuple(kept)})
    assert [claim.verdict for claim in claims(forgetful)] == ["does not hold"]


@pytest.mark.parametrize(("left", "expected"), [(0.25, "holds"), (0.0, "does not hold")])
def test_room_that_is_left_is_told(results: dict[str, RunResult], left: float, expected: str) -> None:
    run = results["cpg-avg"].model_copy(update={"summary": results["cpg-avg"].summary | {"redundancy_x": left}})
    assert [claim.verdict for claim in claims({"cpg": run}) if "redundancy" in claim.statement] == [expected]
