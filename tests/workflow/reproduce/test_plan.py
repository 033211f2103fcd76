"""The plan of the tables, the runs that it names, and the result files that are of these runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from core.tiny import ROOT
from tiny_results import made

from cpg_core.config.method_settings import settings_of
from cpg_core.config.settings import load_settings
from cpg_core.data.spec import load_sequence
from cpg_core.errors import CpgError
from cpg_core.storage.codecs import EXACT
from cpg_core.storage.files import read_json, write_json
from cpg_core.storage.run import Run
from flows.local_runner import learn
from flows.persist import Persist
from flows.reproduce.conversions import converted
from flows.reproduce.plan import read_plan, run_of_plan, write_settings
from flows.reproduce.result import result_of
from flows.reproduce.result_files import read_baselines, read_results, write_result
from flows.reproduce.sizes import base_network
from flows.versioning.prepare import manifest
from workflow.asking import cpg
from workflow.listeners import silently

EXPERIMENTS = ("overnight", "faces", "photos")
EXPERIMENT = Path("experiments/own/plan.yaml")
TOLD = "cpg reproduce"


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
        run_of_plan(plan, key, project)
    goals = project / plan.folder / "goals"
    goals.mkdir(parents=True)
    names = ("zero-one", "two-three", "four-five", "six-seven", "eight-nine")
    for name in ("avg", "max", "top"):
        (goals / f"{name}.json").write_text(str(dict.fromkeys(names, 0.9)).replace("'", '"'))
    assert len({run_of_plan(plan, key, project).spec.name for key in plan.runs}) == len(plan.runs)


def test_a_run_waits_for_its_goal_file(project: Path) -> None:
    with pytest.raises(CpgError, match="dvc repro"):
        run_of_plan(read_plan(project), "cpg-avg", project)


def test_another_setting_makes_another_run_and_the_same_one_goes_on(project: Path) -> None:
    first = run_of_plan(read_plan(project), "scratch", project)
    assert run_of_plan(read_plan(project), "scratch", project).spec.name == first.spec.name
    profiles = yaml.safe_load((project / "params.yaml").read_text())["profiles"]
    profiles["smoke"]["pick_train"]["epochs"] = 5
    edit(project, {"profiles": profiles})
    assert run_of_plan(read_plan(project), "scratch", project).spec.name != first.spec.name


def test_a_run_whose_images_were_changed_is_refused(
    project: Path, write_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Corrected in place, so that nothing in its name tells."""
    images = write_folder({f"{part}/{name}": 12 for part in ("train", "test") for name in ("cat", "dog")})
    pets = {"name": "pets", "source": {"kind": "folder", "folder": str(images)}}
    sequence = {"name": "own", "backbone": "digits_cnn", "profile": "smoke", "tasks": [pets]}
    (project / "data" / "own.yaml").write_text(yaml.safe_dump(sequence))
    reproduce = yaml.safe_load((project / "params.yaml").read_text())["reproduce"]
    edit(project, {"reproduce": {**reproduce, "sequences": {"smoke": "own"}}})

    def learn_here(_what: str, run: Run, *_: object, **__: object) -> None:
        learn(run, silently, Persist(project, track=False))

    monkeypatch.setattr("flows.cli.launch.learn", learn_here)
    for _ in range(2):
        assert cpg("reproduce", "learn", "scratch", "--root", project).exit_code == 0
    shutil.copy(images / "train" / "dog" / "0.png", images / "train" / "cat" / "0.png")
    refused = cpg("reproduce", "learn", "scratch", "--root", project)
    run = run_of_plan(read_plan(project), "scratch", project).spec.name
    assert refused.exit_code == 2
    assert f"run {run}: task pets: its images are others than those that were learned" in refused.stderr
    assert refused.stderr.endswith(f"cpg remove {run}; cpg reproduce learn scratch\n")


def test_a_run_depends_on_the_settings_of_its_own_method_alone(project: Path) -> None:
    def written() -> dict[str, str]:
        plan = read_plan(project)
        return {path.stem: path.read_text() for path in write_settings(plan, project)}

    before, name = written(), run_of_plan(read_plan(project), "scratch", project).spec.name
    profiles = yaml.safe_load((project / "params.yaml").read_text())["profiles"]
    profiles["paper"]["ewc"]["strength"] = 3.0
    profiles["small"]["base_width"] = 0.5  # `smoke` says another
    edit(project, {"profiles": profiles})
    after = written()
    assert [method for method in before if before[method] != after[method]] == ["ewc"]
    assert run_of_plan(read_plan(project), "scratch", project).spec.name == name


def test_a_run_may_have_settings_of_its_own(project: Path) -> None:
    own = {"pick_train": {"epochs": 5, "picks": {"kind": "random", "share": 0.5}}}
    item = {"method": "packnet", "goal": None, "variant": "random picks", "settings": own}
    edit(project, {"runs": {"plain": {"method": "packnet"}, "varied": item}})
    plan = read_plan(project)
    plain, varied = run_of_plan(plan, "plain", project), run_of_plan(plan, "varied", project)
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
        ({"runs": {"finetune-1": {"method": "cpg"}}}, ["finetune-1", "baselines", "runs"]),
        ({"conversions": {"scratch": {"run": "cpg-avg", **EXACT.model_dump()}}}, ["scratch", "conversions"]),
        ({"profile": ["smoke"]}, ["profile", "smoke"]),
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
    assert paper.runs["den"].first_tasks is None
    assert paper.runs["cpg-avg"] == cpu.runs["cpg-avg"]


@pytest.mark.parametrize("pipeline", ["dvc.yaml", *(f"experiments/{name}/dvc.yaml" for name in EXPERIMENTS)])
def test_what_a_plan_says_of_a_profile_makes_its_tables_anew(pipeline: str) -> None:
    """And so does a file of goals that a profile names the baselines."""
    file = ROOT / pipeline
    stages = yaml.safe_load(file.read_text())["stages"]
    plan_file = file.with_name("params.yaml" if file.parent == ROOT else "plan.yaml")
    plan = yaml.safe_load(plan_file.read_text())
    expected = {"reproduce", "reproduce.plans"} if "plans" in plan["reproduce"] else {"reproduce"}
    for name in ("goals", "tables", "report"):
        params = stages[name]["params"]
        listed = params if file.parent == ROOT else params[0][str(plan_file.relative_to(ROOT))]
        assert expected & set(listed), name
    profiles = yaml.safe_load((ROOT / "params.yaml").read_text())["profiles"]
    goals = {profiles[profile].get("goal") for profile in plan["reproduce"]["sequences"]}
    assert {goal for goal in goals if isinstance(goal, str)} <= set(stages["baselines"]["do"]["deps"])


def test_a_profile_may_have_settings_of_its_own_for_a_method(project: Path) -> None:
    edit(project, {"profile": "paper"})
    largest = {path.stem: read_json(path)["grow"]["max_x"] for path in write_settings(read_plan(project), project)}
    assert {method for method, max_x in largest.items() if max_x == 2.0} == {"pae"}
    profiles = yaml.safe_load((project / "params.yaml").read_text())["profiles"]
    profiles["paper"]["methods"]["pea"] = profiles["paper"]["methods"].pop("pae")
    edit(project, {"profiles": profiles})
    with pytest.raises(CpgError, match="did you mean 'pae'"):
        write_settings(read_plan(project), project)
    profiles["paper"]["methods"] = None
    edit(project, {"profiles": profiles})
    with pytest.raises(CpgError, match="profile 'paper': methods: expected methods and their settings"):
        write_settings(read_plan(project), project)


def test_an_unknown_run_of_the_plan_is_told(project: Path) -> None:
    with pytest.raises(CpgError, match="did you mean 'scratch'"):
        read_plan(project).item("scrach")


def test_results_are_read_back(project: Path, unbroken: Run) -> None:
    plan, planned = read_plan(project), {"profile": "smoke", "sequence": "digits-5", "goal": "avg", "settings": {}}
    file = project / write_result(plan, "cpg-avg", unbroken, project)
    with pytest.raises(CpgError, match=r"cpg-avg\.json: learned with \w+ .*learn cpg-avg"):
        read_results(plan, project)
    result = result_of(unbroken).model_copy(update=planned)
    write_json(file, result.model_dump(mode="json"))
    assert read_results(plan, project) == {"cpg-avg": result}
    with pytest.raises(CpgError, match=r"goals come from all baselines, and finetune-1, .* are not learned yet"):
        read_baselines(plan, project)  # whatever was learned to meet them
    for key in list(plan.baselines)[1:]:
        item = plan.baselines[key]
        there = {**planned, "method": item.method, "goal": "0.9", "seed": item.seed}
        write_json(project / plan.file(key), result.model_copy(update=there).model_dump(mode="json"))
    assert cpg("reproduce", "goals", "--root", project).exit_code == 2, "goals of a part of them would be others"
    assert not (project / plan.goals_file("avg")).exists()


@pytest.mark.parametrize("name", ["profile", "sequence", "method", "goal", "ordering", "seed", "variant"])
def test_a_result_of_another_run_than_the_plans_is_refused(project: Path, name: str) -> None:
    plan, file = read_plan(project), project / "results/smoke/runs/cpg-avg.json"
    planned = made("cpg", [0.9]).model_copy(update={"profile": "smoke", "sequence": "digits-5"})
    for value, refused in ((getattr(planned, name), False), (7 if name == "seed" else "other", True)):
        write_json(file, planned.model_copy(update={name: value}).model_dump(mode="json"))
        with pytest.raises(CpgError, match=f"learned with {name} ") if refused else nullcontext():
            assert list(read_results(plan, project)) == ["cpg-avg"]


def planned_result(project: Path) -> dict[str, Any]:
    """What the plan's `cpg-avg` would give, of five tasks."""
    settings = load_settings(project / "params.yaml", "smoke", ("goal=avg",), "cpg")
    made_by_plan = made("cpg", [0.9] * 5).model_copy(update={"profile": "smoke", "sequence": "digits-5"})
    return made_by_plan.model_dump(mode="json") | {"settings": settings_of("cpg", settings)}


def test_a_result_that_was_learned_under_other_settings_is_refused(project: Path) -> None:
    write_json(project / "results/smoke/runs/cpg-avg.json", planned_result(project))
    assert list(read_results(read_plan(project), project)) == ["cpg-avg"]
    profiles = yaml.safe_load((project / "params.yaml").read_text())["profiles"]
    profiles["paper"]["ewc"]["strength"] = 3.0  # of another method
    edit(project, {"profiles": profiles})
    assert list(read_results(read_plan(project), project)) == ["cpg-avg"]
    profiles["smoke"]["pick_train"]["epochs"] = 5
    edit(project, {"profiles": profiles})
    with pytest.raises(CpgError, match=r"pick_train.epochs 6, and the plan says 5.*learn cpg-avg"):
        read_results(read_plan(project), project)


def test_the_commands_that_are_told_are_of_the_plan(project: Path) -> None:
    """Without its file they would learn a run of the project's own plan."""
    (project / EXPERIMENT).parent.mkdir(parents=True)
    shutil.copy(project / "params.yaml", project / EXPERIMENT)
    plan = read_plan(project, EXPERIMENT)
    with pytest.raises(CpgError, match=rf"{TOLD} learn cpg-avg-s2 --plan {EXPERIMENT}$"):
        converted(plan, "cpg-avg-int8-s2", project)
    write_json(project / "results/smoke/runs/cpg-avg.json", planned_result(project) | {"seed": 2})
    with pytest.raises(CpgError, match=rf"{TOLD} learn cpg-avg --plan {EXPERIMENT}$"):
        read_results(plan, project)
    with pytest.raises(CpgError, match=rf"{TOLD} learn cpg-avg$"):
        read_results(read_plan(project), project)
    goals = cpg("reproduce", "goals", "--root", project, "--plan", EXPERIMENT)
    assert goals.stderr.endswith(f"{TOLD} learn finetune-1 --plan {EXPERIMENT}\n")
    assert plan.command("prepare") == f"{TOLD} prepare --plan {EXPERIMENT}"


def test_a_result_of_another_number_of_tasks_than_the_plans_is_refused(project: Path) -> None:
    write_json(project / "results/smoke/runs/cpg-avg.json", planned_result(project))
    item = {"method": "cpg", "goal": "avg"}
    edit(project, {"runs": {"cpg-avg": {**item, "first_tasks": 3}}})
    with pytest.raises(CpgError, match="tasks 5, and the plan says 3"):
        read_results(read_plan(project), project)
    edit(project, {"runs": {"cpg-avg": item}})
    there = project / "results/smoke/data.json"
    for tasks, refused in ((5, False), (6, True)):
        there.write_text(json.dumps({str(task): {} for task in range(tasks)}))
        with pytest.raises(CpgError, match="tasks 5, and the plan says 6") if refused else nullcontext():
            assert list(read_results(read_plan(project), project)) == ["cpg-avg"]


def test_a_result_that_was_held_to_other_goals_is_refused(project: Path) -> None:
    """As those are that DVC does not know of, once the baselines were learned anew."""
    write_json(project / "results/smoke/runs/cpg-avg.json", result := planned_result(project))
    goals = {task["name"]: task["goal"] for task in result["tasks"]}
    file = project / read_plan(project).goals_file("avg")
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(goals))
    assert list(read_results(read_plan(project), project)) == ["cpg-avg"]
    last = list(goals)[-1]
    file.write_text(json.dumps(goals | {last: 0.123}))
    with pytest.raises(CpgError, match=rf"as the goal of {last}, and the baselines give 0\.123"):
        read_results(read_plan(project), project)


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
