"""Experiment 3: its published settings a task, and the road from pictures of people to Tables 5 and 7."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from core.people import QUICK, people_backbone, who_task, write_faces
from core.tiny import ROOT

from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.training.reporter import Silent
from flows.reproduce.frames import frames
from flows.reproduce.goals import goals_of
from flows.reproduce.plan import read_plan, run_of_plan
from flows.reproduce.result_files import read_baselines, read_results, write_result
from flows.request import SequenceRequest, resolve
from flows.versioning.prepare import manifest

PLAN = Path("experiments/faces/plan.yaml")
PUBLISHED: dict[str, dict[str, Any]] = {
    "verification": {"lr": 1e-3, "batch": 256, "prune": (0.5, 10, 1000), "least": 0.9942 - 0.005},
    "gender": {"lr": 5e-4, "batch": 128, "prune": (0.1, 20, 100), "least": 0.9080 - 0.015},
    "expression": {"lr": 5e-4, "batch": 128, "prune": (0.2, 20, 100), "least": 0.6254 - 0.005},
}


@pytest.mark.parametrize(("method", "batch", "rates"), [("cpg", 128, None), ("finetune", 32, (1e-3, 1e-4, 1e-3))])
def test_the_settings_are_those_published(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str, batch: int, rates: tuple[float, ...] | None
) -> None:
    """Rates, batches, shares to prune, and margins below the goal."""
    monkeypatch.setenv("CPG_DATA", str(tmp_path))
    made = Run(tmp_path, resolve(SequenceRequest("faces-paper", method), ROOT))
    found = {name: made.settings(index) for index, name in enumerate(PUBLISHED, 1)}
    for name, settings in found.items():
        expected, prune = PUBLISHED[name], settings.prune
        assert settings.pick_train.lr == expected["lr"] and settings.pick_train.epochs == 100
        assert settings.batch_size == (expected["batch"] if name == "verification" else batch)
        assert (prune.share, prune.epochs, prune.every_steps) == expected["prune"]
        assert made.required_accuracy(name) == pytest.approx(expected["least"], abs=2e-6)
        schedule = settings.pick_train.schedule
        assert schedule.kind == "plateau" and (schedule.factor, schedule.patience) == (0.1, 10)
        assert (settings.pick_train.score_lr, prune.lr) == (5e-4, 5e-4)
    if rates is not None:
        assert tuple(settings.finetune.lr for settings in found.values()) == rates
        assert {settings.finetune.init_from for settings in found.values()} == {"first"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose `faces-4` are two tasks of people who do not exist, under the tiny settings."""
    root = tmp_path_factory.mktemp("faces")
    faces = write_faces(root / "pictures", trained=20, pictures=3, tested=20)
    who_task(faces)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    quick: dict[str, Any] = {"extends": "smoke", "goal": 0.5, "finetune": {"init_from": "first"}}
    for setting in QUICK:
        name, _, value = setting.partition("=")
        group, _, field = name.rpartition(".")
        (quick.setdefault(group, {}) if group else quick)[field] = yaml.safe_load(value)
    params["profiles"]["faces"] = quick
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    verification = {"name": "verification", "kind": "verification", "embedding": 16, "loss": {"kind": "a_softmax"}}
    verification |= {"source": {"kind": "folder", "folder": "$CPG_DATA"}}
    verification |= {"pairs": {"file": "$CPG_DATA/pairs.txt", "images": "$CPG_DATA/test", "far": 0.05}}
    gender = {"name": "gender", "source": {"kind": "folder", "folder": "$CPG_DATA/who"}}
    sequence = {"name": "faces-4", "backbone": "people_cnn", "profile": "faces", "tasks": [verification, gender]}
    (root / "data").mkdir()
    (root / "data/faces-4.yaml").write_text(yaml.safe_dump(sequence))
    (root / PLAN).parent.mkdir(parents=True)
    shutil.copy(ROOT / PLAN, root / PLAN)
    shutil.copytree(ROOT / "results/published", root / "results/published")
    with people_backbone(root), pytest.MonkeyPatch.context() as patch:
        patch.setenv("CPG_DATA", str(faces))
        yield root


@pytest.fixture(scope="module")
def tables(project: Path) -> dict[str, pd.DataFrame]:
    """As the commands of `experiments/faces/dvc.yaml` make them: the baselines, the goals they give, then CPG."""
    plan = read_plan(project, PLAN)
    data = project / plan.folder / "data.json"
    data.parent.mkdir(parents=True)
    data.write_text(json.dumps(manifest(plan.sequence, project / "data", print)))
    for keys in (plan.baselines, plan.runs):
        for key in keys:
            run = run_of_plan(plan, key, project)
            learn_sequence(run, Silent())
            write_result(plan, key, run, project)
        for name, goals in goals_of(read_baselines(plan, project), plan.top_margin).items():
            file = project / plan.folder / f"goals/{name}.json"
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(goals))
    return frames(plan, read_results(plan, project), project)


def reproduced(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["source"] == "reproduced"].set_index(frame.columns[0])


def test_table_7_has_verification_with_its_standard_deviation(project: Path, tables: dict[str, pd.DataFrame]) -> None:
    results, found = read_results(read_plan(project, PLAN), project), reproduced(tables["table7"])
    assert sorted(results) == ["cpg", "finetune", "scratch"]
    for method, result in results.items():
        face, gender = result.tasks
        assert found.loc["Face", method] == round(100 * face.final_accuracy, 2)
        assert found.loc["Face sd", method] == round(100 * face.figures["standard_deviation"], 2) > 0
        assert found.loc["Gender", method] == round(100 * gender.final_accuracy, 2)
        assert found.loc["Expansion (x)", method] == round(result.summary["expansion_x"], 2)
    assert found.loc["Expansion (x)", ["scratch", "finetune"]].tolist() == [2, 2]
    assert found.loc["Age"].dropna().tolist() == ["reproduced"]  # not learned here: an empty cell
    assert list(tables["table7"]["task"][:4]) == ["Face", "Face", "Face sd", "Face sd"]


def test_the_goals_of_cpg_are_those_of_the_fine_tuned(project: Path, tables: dict[str, pd.DataFrame]) -> None:
    assert len(tables["table7"]) > 0
    results = read_results(read_plan(project, PLAN), project)
    assert [task.goal for task in results["cpg"].tasks] == [task.accuracy for task in results["finetune"].tasks]


def test_table_5_counts_people_and_nothing_that_git_has_names_them(
    project: Path, tables: dict[str, pd.DataFrame]
) -> None:
    assert reproduced(tables["table5"]).loc["LFW", ["train", "test", "classes"]].tolist() == [60, 60, 20]
    people = [folder.name for part in ("train", "test") for folder in (project / "pictures" / part).iterdir()]
    committed = [*(project / "results").rglob("*.json"), *project.glob("checkpoints/*/run.json")]
    assert len(people) == 40 and len(committed) > 6
    assert not [(name, file) for file in committed for name in people if name in file.read_text()]
    records = "".join(file.read_text() for file in project.glob("checkpoints/*/*/record.json"))
    assert [name for name in people if name in records]  # the control: DVC has these


def test_the_pipeline_takes_all_tables(tables: dict[str, pd.DataFrame]) -> None:
    stages = yaml.safe_load((ROOT / PLAN.with_name("dvc.yaml")).read_text())["stages"]
    made = {name for out in stages["tables"]["outs"] for name in out if name.endswith(".csv")}
    assert made == {f"results/${{profile}}/{name}.csv" for name in tables}
    commands = [stage.get("do", stage)["cmd"] for stage in stages.values()]
    assert all(command.endswith(f"--plan {PLAN}") for command in commands)
