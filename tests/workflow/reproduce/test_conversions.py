"""Rows of the tables that are a run stored otherwise: how they are made, and what Table 3 and the picture say."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from core.tiny import ROOT

from cpg_core.config.store import Store
from cpg_core.errors import CpgError
from cpg_core.recall.audit import audit
from cpg_core.storage.files import read_record
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from flows.reproduce.conversions import Converted, converted, pairs
from flows.reproduce.plan import read_plan
from flows.reproduce.report.figures import accuracy_and_size
from flows.reproduce.result import RunResult, result_of
from flows.reproduce.result_files import read_conversions, read_results, write_result
from flows.reproduce.sizes import table_3
from flows.reproduce.stored_sizes import Network
from flows.reproduce.tables import as_text
from workflow.asking import cpg

PUBLISHED = ROOT / "results" / "published"
INT8 = Store(values="int8", private="bfloat16", masks="entropy")
EXACT_PRIVATE = INT8.model_copy(update={"private": "float32"})
BASE, FULL = Network(weights=2**18, width=0.25), Network(weights=2**22, width=1.0)
MB = 2**20


@pytest.fixture
def project(tmp_path: Path, unbroken: Run) -> Path:
    """A root with a plan whose run `cpg-avg` is learned."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"profile": unbroken.spec.profile}
    values["reproduce"]["sequences"][unbroken.spec.profile] = unbroken.spec.sequence
    values["profiles"][unbroken.spec.profile] = unbroken.spec.settings.model_dump(mode="json")
    values["runs"]["cpg-avg"] = {"method": "cpg"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    shutil.copytree(unbroken.folder, tmp_path / "checkpoints" / unbroken.spec.name)
    write_result(read_plan(tmp_path), "cpg-avg", open_run(tmp_path, unbroken.spec.name), tmp_path)
    return tmp_path


def test_a_row_of_the_plan_is_a_run_stored_otherwise_and_judged_anew(project: Path, unbroken: Run) -> None:
    ended = cpg("reproduce", "convert", "cpg-avg-int8", "--root", str(project))
    assert ended.exit_code == 0, ended.output
    plan = read_plan(project)
    result = read_record(project / plan.file("cpg-avg-int8"), RunResult)
    made = open_run(project, result.run)
    assert (result.store, made.spec.settings.store) == (INT8, INT8)
    assert all(finding.ok for finding in audit(made))
    assert [task.final_accuracy for task in result.tasks] == [record.test_accuracy for record in made.records()]
    assert result.summary["model_mb"] < result_of(unbroken).summary["model_mb"]
    found = pairs(plan, read_results(plan, project), read_conversions(plan, project))
    assert found["cpg-avg-int8"] == Converted(result_of(unbroken), result)


def test_a_conversion_of_another_kind_than_the_plans_is_refused(project: Path) -> None:
    ended = cpg("reproduce", "convert", "cpg-avg-int8", "--root", str(project))
    assert ended.exit_code == 0, ended.output
    assert list(read_conversions(read_plan(project), project)) == ["cpg-avg-int8"]
    values = yaml.safe_load((project / "params.yaml").read_text())
    values["conversions"]["cpg-avg-int8"]["values"] = "bfloat16"
    (project / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(CpgError, match=r"store.values 'int8', and the plan says 'bfloat16'.*convert cpg-avg-int8"):
        read_conversions(read_plan(project), project)


def test_a_conversion_is_made_once_and_anew_of_a_run_that_was_learned_anew(project: Path, unbroken: Run) -> None:
    plan = read_plan(project)
    first = converted(plan, "cpg-avg-float32", project)
    wrote = first.task_folder(1).stat().st_mtime_ns
    again = converted(plan, "cpg-avg-float32", project)
    assert (again.spec.name, again.task_folder(1).stat().st_mtime_ns) == (first.spec.name, wrote)
    shutil.rmtree(project / "checkpoints" / unbroken.spec.name / unbroken.label(2))  # a chain with another end
    assert converted(plan, "cpg-avg-float32", project).spec.name != first.spec.name


@pytest.mark.parametrize(
    ("key", "words"),
    [("cpg-avg-int9", "did you mean 'cpg-avg-int8'"), ("cpg-avg-int8-s2", "cpg reproduce learn cpg-avg-s2")],
)
def test_a_conversion_that_cannot_be_made_is_told(project: Path, key: str, words: str) -> None:
    with pytest.raises(CpgError, match=words):
        converted(read_plan(project), key, project)


def test_a_profile_may_have_conversions_of_its_own_and_a_plan_none(project: Path) -> None:
    values = yaml.safe_load((project / "params.yaml").read_text())
    own = {"scratch-int8": {"run": "scratch", **INT8.model_dump()}}
    values["reproduce"]["plans"][values["profile"]] = {"conversions": own}
    del values["conversions"]
    (project / "params.yaml").write_text(yaml.safe_dump(values))
    assert list(read_plan(project).conversions) == ["scratch-int8"]
    values["reproduce"]["plans"] = {}
    (project / "params.yaml").write_text(yaml.safe_dump(values))
    assert read_plan(project).conversions == {}


def stored(result: RunResult, change: float) -> Converted:
    """As if all tasks of a run had been stored in int8: 2 MB of them values, 1 masks, 0.5 private, 0.25 the rest."""
    tasks = len(result.tasks)
    sizes = {"value_bytes": 2 * MB // tasks, "mask_bytes": MB // tasks, "private_bytes": MB // 2 // tasks}
    after = result.model_copy(
        update={
            "store": INT8,
            "tasks": tuple(
                task.model_copy(update={"final_accuracy": task.final_accuracy + change / 100, "budget_x": 2.0, **sizes})
                for task in result.tasks
            ),
            "summary": result.summary | {"model_mb": 3.75, "average_accuracy": 0.5},
        }
    )
    return Converted(result, after)


@pytest.fixture
def ours(unbroken: Run) -> dict[str, RunResult]:
    """Two runs as if of the paper's sequence, of two tasks, with 1 MB a task."""
    result = result_of(unbroken)
    tasks = tuple(task.model_copy(update={"delta_bytes": MB}) for task in result.tasks)
    cpg = result.model_copy(update={"sequence": "cifar100-20", "goal": "avg", "tasks": tasks})
    return {"scratch": cpg.model_copy(update={"method": "scratch"}), "cpg-avg": cpg}


def test_table_3_has_the_bytes_of_what_was_stored_otherwise_over_those_of_one_network(
    ours: dict[str, RunResult],
) -> None:
    twice = [stored(ours["cpg-avg"], -0.2), stored(ours["cpg-avg"], 0.4)]
    frame = table_3(ours, PUBLISHED, BASE, twice, FULL).set_index(["method", "source"])
    row = frame.loc["CPG avg, int8", "reproduced"]
    assert (row["mb_on_disk"], row["networks"], row["average"], row["n"]) == (3.75, 3.75, 50.0, 2)
    assert row["change"] == pytest.approx(0.1)
    # 1 MB of masks for 2 tasks at budget x2 of 2^18 weights: 2^23 bits for 2^20.
    assert row["bits_a_mask_bit"] == 8.0
    # Values and masks 16 times, what is private 4 times, the rest once; one network of 2^22 weights has 16 MB.
    calculated = frame.loc["CPG avg, int8", "calculated, width 1"]
    assert calculated["mb_on_disk"] == (2 + 1) * 16 + 0.5 * 4 + 0.25
    assert calculated["networks"] == round(50.25 / 16, 2)
    exact = [replace(pair, after=pair.after.model_copy(update={"store": EXACT_PRIVATE})) for pair in twice[:1]]
    apart = table_3(ours, PUBLISHED, BASE, [*twice, *exact], FULL).set_index(["method", "source"])
    assert apart.loc["CPG avg, int8, private float32", "reproduced"]["n"] == 1
    assert frame.loc["CPG avg", "paper"]["networks"] == 2.17
    assert frame.loc["VGG16-BN", "reproduced"]["networks"] == 1.0
    assert "difference" not in set(as_text(frame.reset_index())["source"])  # of networks of other widths


def test_nothing_is_calculated_for_the_width_that_was_learned_or_without_bytes_by_kind(
    ours: dict[str, RunResult],
) -> None:
    cpg = ours["cpg-avg"]
    assert len(table_3({}, PUBLISHED, FULL, [stored(cpg, 0.0)], FULL)) == 5 + 1
    one = stored(cpg, 0.0)
    old = one.after.model_copy(update={"tasks": tuple(t.model_copy(update={"mask_bytes": None}) for t in cpg.tasks)})
    assert len(table_3({}, PUBLISHED, BASE, [Converted(cpg, old)], FULL)) == 5 + 1


def test_the_picture_marks_the_bytes_of_one_network(ours: dict[str, RunResult]) -> None:
    drawn = accuracy_and_size(ours, stored=[stored(ours["cpg-avg"], 0.0)])
    lines = {line.get_label(): line for line in drawn.axes[0].get_lines()}
    assert list(lines["one network in float32"].get_xdata()) == [1.0, 1.0]
    assert list(lines["CPG avg in int8, 2 tasks"].get_xdata()) == [3.75]
