"""Settings that differ for one task: what may, what may not and why, and how the rest of a group stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from core.tiny import ROOT, settings
from cpg_core.config.settings import load_settings
from cpg_core.config.task_settings import resolved, task_settings, without
from cpg_core.data.spec import SequenceSpec, load_task
from cpg_core.errors import CpgError

SEQUENCE = {"name": "s", "backbone": "digits_cnn", "profile": "digits", "source": {"kind": "digits"}}


def task_file(folder: Path, **fields: Any) -> Path:  # noqa: ANN401
    path = folder / "cars.yaml"
    path.write_text(yaml.safe_dump({"name": "cars", "source": {"kind": "digits"}, "classes": ["1", "2"], **fields}))
    return path


def test_a_group_keeps_what_the_task_does_not_say_and_a_schedule_is_one_value() -> None:
    own = {"pick_train": {"lr": "1e-2", "schedule": {"kind": "constant"}}, "batch_size": 7}
    before, found = settings(), task_settings(settings(), own, "here")
    assert (found.pick_train.lr, found.pick_train.schedule.kind, found.batch_size) == (0.01, "constant", 7)
    as_before = found.pick_train.model_copy(update={"lr": before.pick_train.lr, "schedule": before.pick_train.schedule})
    assert as_before == before.pick_train
    assert found.model_copy(update={"pick_train": before.pick_train, "batch_size": before.batch_size}) == before


def test_they_are_kept_as_their_types_write_them() -> None:
    own = {"prune": {"lr": "1e-3", "targets": [0.5]}, "optimizer": {"weight_decay": 0}}
    assert resolved(settings(), own, "here") == {
        "prune": {"lr": 0.001, "targets": [0.5]},
        "optimizer": {"weight_decay": 0.0},
    }


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"pick_train": {"lr": -1}}, "here: pick_train > lr: Input should be greater than 0, got -1"),
        ({"prune": {"shares": 0.5}}, "here: prune > shares: unknown key; did you mean 'share'?"),
        ({"prune": {"share": 1.0}}, "here: prune > share: Input should be less than 1, got 1.0"),
        ({"prune": {"epochs": 2, "prune_epochs": 2, "keep": "best"}}, "keep: best chooses among the epochs after"),
        ({"prune": {"share": 0.5, "min_sparsity": 0.9}}, "share 0.5 is below min_sparsity, 0.9"),
        ({"pick_train": {"schedule": {"kind": "plateau", "factor": 0.1}}}, "here: pick_train > schedule > patience"),
        (
            {
                "pick_train": {
                    "score_schedule": {"kind": "plateau", "factor": 0.5, "patience": 1, "at_most": 1, "stop": 1}
                }
            },
            "stop is of the weights' schedule alone",
        ),
    ],
)
def test_mistakes_are_told_as_those_of_a_profile(own: dict[str, Any], told: str) -> None:
    with pytest.raises(CpgError) as error:
        task_settings(settings(), own, "here")
    assert told in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("base_width", "base_width cannot differ for a task: all tasks share one network"),
        ("backbone", "all tasks share one network"),
        ("seed", "all that is random in a run follows from one seed"),
        ("grow", "which grows by one rule"),
        ("store", "cpg convert"),
        ("goal", "goal: 0.9"),
        ("pick_trian", "did you mean 'pick_train'?"),
    ],
)
def test_what_may_not_differ_is_refused_by_name_with_the_reason(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(CpgError) as error:
        load_task(task_file(tmp_path, settings={name: 1}))
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{tmp_path / 'cars.yaml'}: settings: ") and why in line


def test_a_goal_is_an_accuracy(tmp_path: Path) -> None:
    assert load_task(task_file(tmp_path, goal=0.9)).goal == 0.9
    with pytest.raises(CpgError, match=r"goal: Input should be less than or equal to 1, got 90"):
        load_task(task_file(tmp_path, goal=90))


def test_a_task_that_says_nothing_is_written_as_ever(tmp_path: Path) -> None:
    written = load_task(task_file(tmp_path)).model_dump(mode="json")
    assert not {"goal", "settings", "metric"} & written.keys()
    assert "resize" not in written["augment"]


def test_what_the_command_says_holds_for_all_tasks() -> None:
    own = {"pick_train": {"lr": 1, "epochs": 2}, "prune": {"lr": 3}}
    assert without(own, ("pick_train.lr=5",), settings()) == {"pick_train": {"epochs": 2}, "prune": {"lr": 3}}
    assert without(own, ("prune.lr=5", "check.tolerance=0"), settings()) == {"pick_train": {"lr": 1, "epochs": 2}}
    assert without(own, ("prune={}",), settings()) == {"pick_train": {"lr": 1, "epochs": 2}}
    assert without(own, (), settings()) == own


def test_it_holds_for_a_field_beside_a_kind_too() -> None:
    """Which a task says whole, so that the rest of it stays the task's."""
    adamw = {"kind": "adamw", "momentum": 0.8, "weight_decay": 0.0}
    plateau = {"kind": "plateau", "factor": 0.1, "patience": 5, "at_most": 3}
    own = {"optimizer": adamw, "pick_train": {"schedule": plateau}}

    def of_the_task(*overrides: str) -> dict[str, Any]:
        of_run = settings(*overrides)
        return task_settings(of_run, without(own, overrides, of_run), "task").model_dump()

    assert of_the_task("optimizer.weight_decay=0.5")["optimizer"] == {**adamw, "weight_decay": 0.5}
    schedule = of_the_task("pick_train.schedule={kind: steps, at_epochs: [1], factor: 0.5}", "optimizer.kind=sgd")
    assert schedule["pick_train"]["schedule"]["kind"] == "steps"
    assert schedule["optimizer"] == settings().optimizer.model_dump()
    assert without(own, ("pick_train.schedule.at_epochs=[1]",), settings()) == own  # of a kind that it has not
    plateaus = f"pick_train.schedule={ {**plateau, 'stop': True} }"
    assert of_the_task(plateaus.replace("5", "7"), "pick_train.schedule.stop=true")["pick_train"]["schedule"]["stop"]
    constant = ("pick_train.schedule.factor=0.2", "pick_train.schedule={kind: constant}")
    assert without(own, constant[:1], settings(constant[1])) == own  # which has no such field


def test_experiment_2_as_published_can_be_said() -> None:
    """ResNet-50, six tasks: shares chosen by hand, a plateau three times at the most, the best epoch kept."""
    plateau = {"kind": "plateau", "factor": 0.1, "patience": 5, "at_most": 3, "stop": True}
    scores = {"kind": "plateau", "factor": 0.2, "patience": 5, "at_most": 1}
    pick_train = {"epochs": 300, "lr": 1e-3, "schedule": plateau, "score_lr": 1e-4, "score_schedule": scores}
    common = {
        "pick_train": {**pick_train, "score_freeze_epoch": None, "keep": "best"},
        "prune": {"epochs": 20, "prune_epochs": 4, "every_steps": 50, "lr": 1e-3, "share": 0.5, "keep": "best"},
        "check": {"tolerance": 0.005},
        "retrain": {"epochs": 0},
    }
    photos = {"random_resized_crop": True, "flip": True, "cutout": 16}
    cut_out = {"resize": "squash", "flip": True, "cutout": 16}
    imagenet = {**common, "prune": {**common["prune"], "epochs": 10, "every_steps": 1000, "lr": 3e-4}}
    cars = {**common, "pick_train": {**common["pick_train"], "lr": 1e-2}}
    tasks = [
        {"name": "imagenet", "goal": 0.7616, "settings": imagenet, "augment": photos},
        {"name": "cubs", "goal": 0.8283, "settings": common, "augment": cut_out},
        {"name": "cars", "goal": 0.9183, "settings": cars, "augment": cut_out},
    ]
    sequence = SequenceSpec.model_validate({**SEQUENCE, "backbone": "resnet50", "tasks": tasks})
    paper = load_settings(ROOT / "params.yaml", "paper", ("grow.max_x=1.0",))
    found = {task.name: task_settings(paper, task.settings, task.name) for task in sequence.tasks}
    assert [found[name].pick_train.lr for name in found] == [1e-3, 1e-3, 1e-2]
    assert [found[name].prune.every_steps for name in found] == [1000, 50, 50]
    assert sequence.tasks[1].augment.cutout == 16


def test_a_whole_picture_is_not_cropped() -> None:
    augment = {"resize": "squash", "random_resized_crop": True}
    task = {"name": "a", "classes": ["1", "2"], "augment": augment}
    with pytest.raises(ValueError, match="squash takes the whole picture; leave out random_resized_crop"):
        SequenceSpec.model_validate({**SEQUENCE, "tasks": [task]})
