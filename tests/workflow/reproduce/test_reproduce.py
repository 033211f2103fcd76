"""The paper's tables from results made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from core.tiny import ROOT, learn, spec
from tiny_results import made

from cpg_core.errors import CpgError
from cpg_core.storage.run import Run
from flows.reproduce.frames import frames
from flows.reproduce.goals import goals_of
from flows.reproduce.plan import Plan
from flows.reproduce.result import RunResult, result_of
from flows.reproduce.sizes import table_3
from flows.reproduce.stored_sizes import Network
from flows.reproduce.tables import ROWS, comparison, table, with_differences

PUBLISHED = ROOT / "results" / "published"


BASELINES = {
    "scratch": made("scratch", [0.9, 0.6]),
    "finetune-1": made("finetune", [0.8, 0.6], seed=1),
    "finetune-2": made("finetune", [0.7, 0.9], seed=2),
}


def test_goals_are_mean_and_best_of_the_fine_tuned_on_the_split_that_decides() -> None:
    goals = goals_of(BASELINES, top_margin=0.02)
    assert goals["avg"] == pytest.approx({"a": 0.65, "b": 0.65})
    assert goals["max"] == pytest.approx({"a": 0.7, "b": 0.8})
    assert goals["top"] == pytest.approx({"a": 0.82, "b": 0.82})


def test_no_goal_exceeds_one() -> None:
    assert goals_of(BASELINES, top_margin=0.5)["top"] == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize("missing", ["scratch", "finetune"])
def test_goals_without_a_baseline_say_which(missing: str) -> None:
    there = {key: result for key, result in BASELINES.items() if result.method != missing}
    with pytest.raises(CpgError, match=missing):
        goals_of(there, 0.0)


def test_goals_of_baselines_with_different_tasks_are_refused() -> None:
    with pytest.raises(CpgError, match="different tasks"):
        goals_of({**BASELINES, "scratch": made("scratch", [0.5])}, 0.0)


def row(frame: pd.DataFrame, method: str, source: str = "reproduced") -> dict[str, Any]:
    found = frame[(frame["method"] == method) & (frame["source"] == source)]
    assert len(found) == 1
    return {str(name): value for name, value in found.iloc[0].items()}


def test_a_row_is_in_percent_and_beside_the_published_one() -> None:
    frame = table("table2", BASELINES, PUBLISHED)
    assert list(frame.columns[:2]) == ["method", "source"]
    average, best = row(frame, "fine-Avg"), row(frame, "fine-Max")
    assert (average["1"], average["2"], average["average"], average["n"]) == (75.0, 75.0, 75.0, 2)
    assert (best["1"], best["2"], best["average"]) == (80.0, 90.0, 85.0)
    assert average["sd"] == pytest.approx(7.1)  # of 70 and 80
    assert pd.isna(best["sd"])  # it is one number of all runs
    assert row(frame, "fine-Avg", "paper")["average"] == 78.6
    assert "CPG avg" not in set(frame[frame["source"] == "reproduced"]["method"])


def test_the_best_of_one_model_is_no_best() -> None:
    frame = table("table2", {"one": made("finetune", [0.5, 0.5])}, PUBLISHED)
    assert list(frame[frame["source"] == "reproduced"]["method"]) == ["fine-Avg"]


def test_runs_of_one_method_with_other_goals_or_orderings_do_not_mix() -> None:
    results = {
        "avg": made("cpg", [0.5, 0.5]),
        "top": made("cpg", [0.9, 0.9], goal="top"),
        "o1": made("cpg", [0.7, 0.7], ordering="1"),
    }
    assert row(table("table1", results, PUBLISHED), "CPG")["average"] == 50.0
    assert row(table("table2", results, PUBLISHED), "CPG top")["average"] == 90.0
    assert row(table("table8", results, PUBLISHED), "CPG-ord.1")["average"] == 70.0


def test_a_variant_stands_in_the_comparison_and_in_no_table_or_goal() -> None:
    varied = {
        "all": made("cpg", [0.9, 0.9]).model_copy(update={"variant": "all picked"}),
        "long": made("finetune", [0.9, 0.9]).model_copy(update={"variant": "as many epochs"}),
    }
    results = {"cpg": made("cpg", [0.5, 0.5]), **BASELINES, **varied}
    plan = Plan(profile="cpu", sequence="cifar100-20", top_margin=0.0, baselines={}, runs={})
    tables = frames(plan, results, ROOT)
    assert row(tables["table1"], "CPG")["average"] == 50.0
    assert row(tables["table2"], "CPG avg")["average"] == 50.0
    compared = tables["comparison"].set_index(["method", "variant"])["average"]
    assert (compared["cpg", ""], compared["cpg", "all picked"]) == (50.0, 90.0)
    assert goals_of(results, 0.0) == goals_of(BASELINES, 0.0)


def test_the_difference_is_reproduced_minus_paper() -> None:
    frame = with_differences(table("table1", {"pae": made("pae", [0.672] * 20)}, PUBLISHED))
    assert row(frame, "PAE", "difference")["1"] == pytest.approx(0.0)
    assert row(frame, "PAE", "difference")["average"] == pytest.approx(67.2 - 77.1)
    assert list(frame[frame["method"] == "PAE"]["source"]) == ["paper", "reproduced", "difference"]
    assert list(frame.columns[:5]) == ["method", "source", "average", "expansion", "redundancy"]


def test_averages_of_other_tasks_have_no_difference() -> None:
    frame = with_differences(table("table1", {"pae": made("pae", [0.672] * 6)}, PUBLISHED))
    found = row(frame, "PAE", "difference")
    assert found["1"] == pytest.approx(0.0)
    assert all(pd.isna(found[name]) for name in ("20", "average", "expansion", "redundancy"))


@pytest.mark.parametrize("name", ROWS)
def test_a_table_without_results_is_the_published_one(name: str) -> None:
    assert set(table(name, {}, PUBLISHED)["source"]) == {"paper"}


def test_other_tasks_than_the_papers_stand_alone() -> None:
    digits = made("pae", [0.9, 0.9]).model_copy(update={"sequence": "digits-5"})
    assert list(table("table1", {"pae": digits}, PUBLISHED)["source"]) == ["reproduced"]


def test_sizes_counted_as_the_paper_counts_come_near_the_papers() -> None:
    """33.6 million weights, 1.5 times as many from task 2 on, a bit of each for each later task."""
    base = 33_618_624
    grown = made("cpg", [0.5] * 20, goal="top")
    tasks = (grown.tasks[0], *(task.model_copy(update={"budget_x": 1.5}) for task in grown.tasks[1:]))
    results = {"top": grown.model_copy(update={"tasks": tasks}), "scratch": made("scratch", [0.5] * 20)}
    results["scratch"].summary["expansion_x"] = 20.0
    frame = table_3(results, PUBLISHED, Network(base, width=1.0))
    for method, slack in (("VGG16-BN", 0.01), ("Individual Models", 0.01), ("CPG top", 0.02)):
        assert row(frame, method)["mb"] == pytest.approx(row(frame, method, "paper")["mb"], rel=slack)
    assert row(frame, "Individual Models")["mb_on_disk"] == 0.0  # what the summary says
    assert list(frame[frame["method"] == "CPG avg"]["source"]) == ["paper"]


def test_the_comparison_takes_the_mean_over_seeds_and_forward_transfer_over_independent_models() -> None:
    results = {
        "scratch": made("scratch", [0.9, 0.6]),
        "cpg-1": made("cpg", [0.8, 0.7], seed=1),
        "cpg-2": made("cpg", [0.8, 0.9], seed=2),
    }
    frame = comparison(results).set_index("method")
    assert (frame.loc["cpg", "n"], frame.loc["cpg", "average"]) == (2, 80.0)
    assert frame.loc["cpg", "forward_transfer"] == pytest.approx(20.0)  # task b: 70 and 90 over 60
    assert frame.loc["scratch", "forward_transfer"] == 0.0


def test_runs_of_different_lengths_are_compared_where_all_have_been() -> None:
    results = {"cpg": made("cpg", [0.8, 0.6, 0.1]), "den": made("den", [0.5, 0.3])}
    frame = comparison(results).set_index("method")
    assert frame["tasks"].to_dict() == {"cpg": 3, "den": 2}
    assert frame["average_after_2"].to_dict() == {"cpg": 70.0, "den": 40.0}
    first, *others = results["cpg"].tasks
    imported = results["cpg"].model_copy(update={"tasks": (first.model_copy(update={"agreement": True}), *others)})
    mixed = comparison({**results, "cpg": imported}).set_index("method")
    assert (mixed["average_after_2"]["cpg"], mixed["tasks"]["cpg"]) == (60.0, 2)


def test_a_result_holds_what_the_run_found(unbroken: Run) -> None:
    result = result_of(unbroken)
    records = unbroken.records()
    assert [task.test_accuracy for task in result.tasks] == [record.test_accuracy for record in records]
    assert [len(row) for row in result.matrix] == [1, 2]
    assert [task.changed_by for task in result.tasks] == [0, 0]
    assert RunResult.model_validate_json(result.model_dump_json()) == result


def test_two_runs_with_one_seed_give_the_same_tables_and_another_seed_gives_others(tmp_path: Path) -> None:
    def tables_of(folder: str, seed: int) -> list[str]:
        run = learn(tmp_path / folder, spec(overrides=("pick_train.epochs=1", "pick_train.lr=0.002"), seed=seed))
        result = result_of(run).model_copy(update={"goal": "avg"})
        compared = comparison({"cpg": result}).drop(columns="seconds")
        return [table("table1", {"cpg": result}, PUBLISHED).to_csv(), compared.to_csv()]

    assert tables_of("first", 1) == tables_of("again", 1)
    assert tables_of("first", 1) != tables_of("other", 2)
