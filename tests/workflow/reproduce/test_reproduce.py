"""The paper's tables from results made by hand, and the plan that says which runs they are of."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from core.tiny import ROOT, learn, spec

from cpg_core.data.spec import load_sequence
from cpg_core.errors import CpgError
from cpg_core.storage.files import read_json, write_json
from cpg_core.storage.run import Run
from flows.reproduce.frames import frames
from flows.reproduce.goals import goals_of
from flows.reproduce.plan import Plan, begun, read_baselines, read_plan, read_results, write_result, write_settings
from flows.reproduce.result import RunResult, TaskResult, result_of
from flows.reproduce.sizes import base_network, table_3
from flows.reproduce.stored_sizes import Network
from flows.reproduce.tables import ROWS, comparison, table, with_differences
from flows.versioning.prepare import manifest

PUBLISHED = ROOT / "results" / "published"


def made(method: str, accuracies: list[float], *, goal: str = "avg", ordering: str = "0", seed: int = 1) -> RunResult:
    """Tasks a, b, ...; validation accuracy is 0.1 below that of the test."""
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


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A root with a plan of its own."""
    shutil.copytree(ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("raw"))
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["profile"] = "smoke"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    return tmp_path


def edit(project: Path, change: dict[str, Any]) -> None:
    values = yaml.safe_load((project / "params.yaml").read_text())
    (project / "params.yaml").write_text(yaml.safe_dump(values | change))


def test_every_planned_run_can_be_made_once_its_goals_are_there(project: Path) -> None:
    plan = read_plan(project)
    for key in plan.baselines:
        begun(plan, key, project)
    goals = project / plan.folder / "goals"
    goals.mkdir(parents=True)
    names = ("zero-one", "two-three", "four-five", "six-seven", "eight-nine")
    for name in ("avg", "max", "top"):
        (goals / f"{name}.json").write_text(str(dict.fromkeys(names, 0.9)).replace("'", '"'))
    assert len({begun(plan, key, project).spec.name for key in plan.runs}) == len(plan.runs)


def test_a_run_waits_for_its_goal_file(project: Path) -> None:
    with pytest.raises(CpgError, match="dvc repro"):
        begun(read_plan(project), "cpg-avg", project)


def test_another_setting_makes_another_run_and_the_same_one_goes_on(project: Path) -> None:
    first = begun(read_plan(project), "scratch", project)
    assert begun(read_plan(project), "scratch", project).spec.name == first.spec.name
    profiles = yaml.safe_load((project / "params.yaml").read_text())["profiles"]
    profiles["smoke"]["pick_train"]["epochs"] = 5
    edit(project, {"profiles": profiles})
    assert begun(read_plan(project), "scratch", project).spec.name != first.spec.name


def test_a_run_depends_on_the_settings_of_its_own_method_alone(project: Path) -> None:
    def written() -> dict[str, str]:
        plan = read_plan(project)
        return {path.stem: path.read_text() for path in write_settings(plan, project)}

    before, name = written(), begun(read_plan(project), "scratch", project).spec.name
    profiles = yaml.safe_load((project / "params.yaml").read_text())["profiles"]
    profiles["paper"]["ewc"]["strength"] = 3.0
    profiles["small"]["base_width"] = 0.5  # `smoke` says another
    edit(project, {"profiles": profiles})
    after = written()
    assert [method for method in before if before[method] != after[method]] == ["ewc"]
    assert begun(read_plan(project), "scratch", project).spec.name == name


def test_a_run_may_have_settings_of_its_own(project: Path) -> None:
    own = {"pick_train": {"epochs": 5, "picks": {"kind": "random", "share": 0.5}}}
    item = {"method": "packnet", "goal": None, "variant": "random picks", "settings": own}
    edit(project, {"runs": {"plain": {"method": "packnet"}, "varied": item}})
    plan = read_plan(project)
    plain, varied = begun(plan, "plain", project), begun(plan, "varied", project)
    assert varied.spec.settings.pick_train.picks.model_dump() == own["pick_train"]["picks"]
    assert varied.spec.settings.pick_train.epochs == 5
    assert plain.spec.settings.pick_train.epochs == 6
    assert plain.spec.name != varied.spec.name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"runs": {"cpg": {"method": "cpg", "settings": {"seeds": "shared"}}}}, ["runs > cpg", "variant"]),
        ({"runs": {"cpg": {"method": "cpg", "variant": "longer"}}}, ["runs > cpg", "variant"]),
        ({"profile": "smok"}, ["smok", "did you mean 'smoke'"]),
        ({"runs": {"cpg": {"method": "cpg", "gaol": "avg"}}}, ["runs > cpg > gaol", "goal"]),
        ({"runs": {"cpg": {"method": "cpg", "goal": "average"}}}, ["runs > cpg > goal", "average"]),
        ({"baselines": None}, ["baselines"]),
        (
            {"runs": {"one": {"method": "cpg", "first_tasks": 2}, "two": {"method": "cpg", "seed": 2}}},
            ["one and two", "first_tasks"],
        ),
        ({"reproduce": None}, ["reproduce.sequences"]),
        ({"reproduce": {"sequences": {"smoke": "digits-5"}, "plans": [1]}}, ["plans"]),
        ({"reproduce": {"sequences": {"smoke": "digits-5"}, "plans": {"smoke": {"run": {}}}}}, ["plans.smoke", "run"]),
    ],
)
def test_a_wrong_plan_is_told(project: Path, change: dict[str, Any], words: list[str]) -> None:
    edit(project, change)
    with pytest.raises(CpgError) as error:
        read_plan(project)
    assert [word for word in words if word not in str(error.value)] == []


def test_a_profile_may_have_runs_of_its_own(project: Path) -> None:
    """Published: five fine-tuned models a task, PAE with goal max, DEN on all twenty tasks."""
    edit(project, {"profile": "paper"})
    paper = read_plan(project)
    edit(project, {"profile": "cpu"})
    cpu = read_plan(project)
    assert [item.seed for item in paper.baselines.values() if item.method == "finetune"] == [1, 2, 3, 4, 5]
    assert [item.seed for item in cpu.baselines.values() if item.method == "finetune"] == [1, 2, 3]
    assert {item.goal for item in paper.runs.values() if item.method == "pae"} == {"max"}
    assert {item.goal for item in cpu.runs.values() if item.method == "pae"} == {"avg"}
    assert (paper.runs["den"].first_tasks, cpu.runs["den"].first_tasks) == (None, 10)
    assert paper.runs["cpg-avg"] == cpu.runs["cpg-avg"]


def test_a_profile_may_have_settings_of_its_own_for_a_method(project: Path) -> None:
    edit(project, {"profile": "paper"})
    largest = {path.stem: read_json(path)["grow"]["max_x"] for path in write_settings(read_plan(project), project)}
    assert {method for method, max_x in largest.items() if max_x == 2.0} == {"pae"}
    profiles = yaml.safe_load((project / "params.yaml").read_text())["profiles"]
    profiles["paper"]["methods"]["pea"] = profiles["paper"]["methods"].pop("pae")
    edit(project, {"profiles": profiles})
    with pytest.raises(CpgError, match="did you mean 'pae'"):
        write_settings(read_plan(project), project)


def test_an_unknown_run_of_the_plan_is_told(project: Path) -> None:
    with pytest.raises(CpgError, match="did you mean 'scratch'"):
        read_plan(project).item("scrach")


def test_results_are_read_back(project: Path, unbroken: Run) -> None:
    plan, planned = read_plan(project), {"profile": "smoke", "sequence": "digits-5", "goal": "avg"}
    file = project / write_result(plan, "cpg-avg", unbroken, project)
    with pytest.raises(CpgError, match=r"cpg-avg\.json: learned with \w+ .*learn cpg-avg"):
        read_results(plan, project)
    result = result_of(unbroken).model_copy(update=planned)
    write_json(file, result.model_dump(mode="json"))
    assert read_results(plan, project) == {"cpg-avg": result}
    assert read_baselines(plan, project) == {}  # goals come from baselines alone, whatever was learned to meet them


@pytest.mark.parametrize("name", ["profile", "sequence", "method", "goal", "ordering", "seed", "variant"])
def test_a_result_of_another_run_than_the_plans_is_refused(project: Path, name: str) -> None:
    plan, file = read_plan(project), project / "results/smoke/runs/cpg-avg.json"
    planned = made("cpg", [0.9]).model_copy(update={"profile": "smoke", "sequence": "digits-5"})
    for value, refused in ((getattr(planned, name), False), (7 if name == "seed" else "other", True)):
        write_json(file, planned.model_copy(update={name: value}).model_dump(mode="json"))
        with pytest.raises(CpgError, match=f"learned with {name} ") if refused else nullcontext():
            assert list(read_results(plan, project)) == ["cpg-avg"]


def test_tables_are_made_where_the_images_are_not(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CPG_DATA", raising=False)
    plan = read_plan(project).model_copy(update={"profile": "photos", "sequence": "finegrained-6"})
    assert base_network(plan, project).weights > 3_000_000
    with pytest.raises(CpgError, match="CPG_DATA"):
        load_sequence("finegrained-6", project / "data")


def test_the_manifest_of_a_sequence_changes_with_its_images_alone(project: Path) -> None:
    definition = project / "data" / "digits-5.yaml"
    before = manifest("digits-5", project / "data", print)
    assert [len(before), before["zero-one"]["train"], before["zero-one"]["test"]] == [5, 288, 72]
    definition.write_text(definition.read_text().replace("learns in minutes", "learns fast"))
    assert manifest("digits-5", project / "data", print) == before
    definition.write_text(definition.read_text().replace('["0", "1"]', '["1", "0"]'))
    after = manifest("digits-5", project / "data", print)
    assert [task for task in before if before[task] != after[task]] == ["zero-one"]


def test_two_runs_with_one_seed_give_the_same_tables_and_another_seed_gives_others(tmp_path: Path) -> None:
    def tables_of(folder: str, seed: int) -> list[str]:
        run = learn(tmp_path / folder, spec(overrides=("pick_train.epochs=1", "pick_train.lr=0.002"), seed=seed))
        result = result_of(run).model_copy(update={"goal": "avg"})
        compared = comparison({"cpg": result}).drop(columns="seconds")
        return [table("table1", {"cpg": result}, PUBLISHED).to_csv(), compared.to_csv()]

    assert tables_of("first", 1) == tables_of("again", 1)
    assert tables_of("first", 1) != tables_of("other", 2)
