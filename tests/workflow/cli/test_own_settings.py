"""Settings and goals a task, and recall by class, as the command line has them."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from core.tiny import ROOT

from cpg_core.errors import CpgError
from cpg_core.storage.files import write_json
from cpg_core.storage.run import RUN, Run
from cpg_core.storage.run_spec import RunSpec
from cpg_core.storage.runs import write_spec
from flows.request import SequenceRequest, resolve, run_with_added_task
from flows.tracking.by_class import confusion_picture, recall_table
from workflow.asking import cpg

TASK: dict[str, Any] = {"name": "low", "source": {"kind": "digits"}, "classes": ["0", "1"]}


def sequence(folder: Path, **fields: Any) -> Path:  # noqa: ANN401
    tasks = [{**TASK, **fields}, {**TASK, "name": "high", "classes": ["8", "9"]}]
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "backbone": "digits_cnn", "profile": "smoke", "tasks": tasks}))
    return path


@pytest.mark.parametrize(
    ("goal", "overrides", "expected"),
    [
        (None, (), {"low": 0.8, "high": 0.9}),
        (0.5, (), {"low": 0.5, "high": 0.5}),
        (None, ("goal=0.4",), {"low": 0.4, "high": 0.4}),
    ],
)
def test_a_tasks_goal_stands_for_the_profiles_and_the_commands_for_both(
    tmp_path: Path, goal: float | None, overrides: tuple[str, ...], expected: dict[str, float]
) -> None:
    path = sequence(tmp_path, goal=0.8, settings={"prune": {"lr": "5e-3"}})
    spec = resolve(SequenceRequest(str(path), goal=goal, overrides=overrides), ROOT)
    assert spec.goals == expected
    assert spec.tasks[0].settings == {"prune": {"lr": 0.005}} and spec.tasks[0].goal is None


def test_what_the_command_sets_holds_for_all_tasks(tmp_path: Path) -> None:
    path = sequence(tmp_path, settings={"prune": {"lr": 0.005, "epochs": 3}})
    spec = resolve(SequenceRequest(str(path), overrides=("prune.lr=0.1",)), ROOT)
    assert spec.settings.prune.lr == 0.1
    assert spec.tasks[0].settings == {"prune": {"epochs": 3}}


def test_a_mistake_is_one_line_that_names_task_and_field(tmp_path: Path) -> None:
    result = cpg("run", sequence(tmp_path, settings={"prune": {"lr": 0}}), "--root", ROOT, "--plain")
    assert result.exit_code == 2
    said = "sequence 'mine': task 'low': settings: prune > lr: Input should be greater than 0, got 0"
    assert result.stderr == f"error: {said}\n"


def test_an_added_task_may_have_its_own(copied: Run, tmp_path: Path) -> None:
    file = tmp_path / "eight.yaml"
    file.write_text(yaml.safe_dump({**TASK, "goal": 0.7, "settings": {"check": {"tolerance": 0.05}}}))
    longer = run_with_added_task(copied.root, "tiny", file, None)
    assert (longer.spec.goals["low"], longer.required_accuracy("low")) == (0.7, pytest.approx(0.65, abs=2e-6))
    assert run_with_added_task(copied.root, "tiny", file, 0.9).spec.goals["low"] == 0.9
    file.write_text(yaml.safe_dump({**TASK, "settings": {"check": {"tolerance": 2}}}))
    with pytest.raises(CpgError, match=r"eight.yaml: task 'low': settings: check > tolerance: Input should be less"):
        run_with_added_task(copied.root, "tiny", file, None)


def test_an_added_task_that_was_stopped_is_corrected_by_its_file(copied: Run, tmp_path: Path) -> None:
    file = tmp_path / "low.yaml"
    file.write_text(yaml.safe_dump({**TASK, "goal": 0.7}))
    stopped = run_with_added_task(copied.root, "tiny", file, None)
    write_spec(stopped)
    assert run_with_added_task(copied.root, "tiny", file, None).spec == stopped.spec, "which goes on"
    file.write_text(yaml.safe_dump({**TASK, "classes": ["6", "7"]}))
    corrected = run_with_added_task(copied.root, "tiny", file, 0.5).spec
    assert corrected.tasks[:2] == copied.spec.tasks and corrected.tasks[2].classes == ("6", "7")
    assert corrected.goals == {**copied.spec.goals, "low": 0.5}
    told = cpg("forget", "tiny", "--task", "low", "--root", copied.root)
    assert "not learned yet; there is nothing to forget; cpg add tiny TASK.yaml replaces it" in told.stderr


def test_a_frozen_task_that_is_named_again_is_found_or_named_with_what_differs(copied: Run, tmp_path: Path) -> None:
    file, task = tmp_path / "first.yaml", copied.spec.tasks[0].model_dump(mode="json", exclude_none=True)
    file.write_text(yaml.safe_dump(task))
    assert run_with_added_task(copied.root, "tiny", file, None).spec == copied.spec
    file.write_text(yaml.safe_dump({**task, "classes": ["1", "0"]}))
    with pytest.raises(CpgError, match=r"has a task 'zero-one' already, and this is another:\n  task 1 .*: classes: "):
        run_with_added_task(copied.root, "tiny", file, None)


@pytest.mark.parametrize("goal", ["avg", "goals.json"])
def test_an_added_task_is_told_how_to_have_a_goal_where_those_of_its_run_are_of_a_file(
    copied: Run, tmp_path: Path, goal: str
) -> None:
    """The file of the second is there, and has goals of the run's own tasks alone."""
    (copied.root / "params.yaml").touch()
    (copied.root / "goals.json").write_text(json.dumps(copied.spec.goals))
    write_json(copied.folder / RUN, with_goal(copied, goal).to_json(copied.root))
    file = tmp_path / "low.yaml"
    file.write_text(yaml.safe_dump(TASK))
    with pytest.raises(CpgError, match=f"'low' needs .* are of '{goal}': give --goal NUMBER, or `goal: NUMBER` in"):
        run_with_added_task(copied.root, "tiny", file, None)
    assert run_with_added_task(copied.root, "tiny", file, 0.9).spec.goals["low"] == 0.9
    with pytest.raises(CpgError, match=r"expected an accuracy in \[0, 1\]"):
        run_with_added_task(copied.root, "tiny", file, 90)
    file.write_text(yaml.safe_dump({**TASK, "goal": 0.7}))
    assert run_with_added_task(copied.root, "tiny", file, None).spec.goals["low"] == 0.7
    (copied.root / "goals.json").write_text(json.dumps({**copied.spec.goals, "low": 0.6}))
    file.write_text(yaml.safe_dump(TASK))
    if goal == "goals.json":
        assert run_with_added_task(copied.root, "tiny", file, None).spec.goals["low"] == 0.6


def with_goal(run: Run, goal: str) -> RunSpec:
    return run.spec.model_copy(update={"settings": run.spec.settings.model_copy(update={"goal": goal})})


def test_recall_by_class_is_printed_and_drawn(unbroken: Run, tmp_path: Path) -> None:
    picture = tmp_path / "confusion.png"
    at = ("--root", unbroken.root, "--task", "zero-one")
    result = cpg("eval", "tiny", *at, "--by-class", "--confusion", picture)
    assert result.exit_code == 0, result.output
    record, matrix = unbroken.record(1), unbroken.confusion(1)
    assert matrix is not None
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["zero-one:", "accuracy", f"{record.test_accuracy:.4f}"]
    assert [row[:2] for row in rows[2:4]] == [
        [name, str(int(matrix[k].sum()))] for k, name in enumerate(record.classes)
    ]
    assert picture.read_bytes().startswith(b"\x89PNG")
    plain = cpg("eval", "tiny", *at)
    assert plain.stdout == f"zero-one: accuracy {record.test_accuracy:.4f}\n"


@pytest.mark.parametrize(
    ("name", "told"), [("c.bmp", "expected a name that ends in .png, .pdf, .svg"), ("gone/c.png", "make it first")]
)
def test_a_picture_that_cannot_be_written_is_refused_at_once(
    unbroken: Run, tmp_path: Path, name: str, told: str
) -> None:
    result = cpg("eval", "tiny", "--root", unbroken.root, "--task", "zero-one", "--confusion", tmp_path / name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


def test_many_classes_are_drawn_each_and_some_are_named() -> None:
    import torch

    classes = [f"class number {number}" for number in range(196)]
    matrix = torch.eye(196, dtype=torch.int64) * 3
    matrix[5, 190] = 2
    figure = confusion_picture("cars", classes, matrix)
    axes = figure.axes[0]
    drawn = axes.images[0].get_array()
    assert drawn is not None and drawn.shape == (196, 196) and float(drawn[5, 190]) == pytest.approx(0.4)
    named = [text.get_text() for text in axes.get_yticklabels()]
    assert 40 <= len(named) <= 60 and named[1] == "class number 4"
    assert min(figure.get_size_inches()) * figure.dpi / 196 > 2
    row = recall_table(classes, matrix).iloc[5]
    assert (row["recall %"], row["taken for"], row["times"]) == (60.0, "class number 190", 2)


def test_a_class_named_by_two_prices_is_drawn_as_it_is_written(tmp_path: Path) -> None:
    """Between two dollar signs the picture would read mathematics."""
    import torch

    figure = confusion_picture("price", ["$5_$10", "other"], torch.eye(2, dtype=torch.int64))
    figure.savefig(tmp_path / "price.png")
    assert next(text.get_text() for text in figure.axes[0].get_yticklabels()) == r"\$5_\$10"


def test_an_earlier_picture_stays_where_a_new_one_cannot_be_written(
    unbroken: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "confusion.png"
    picture.write_bytes(b"earlier")

    def full(_figure: object, target: Path, **_how: object) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    done = cpg("eval", "tiny", "--root", unbroken.root, "--task", "zero-one", "--confusion", picture)
    assert (done.exit_code, "the disk is full" in done.stderr) == (2, True), done.stderr
    assert picture.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [picture]
