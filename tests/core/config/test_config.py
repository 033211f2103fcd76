"""Settings: each profile says all of them, and a wrong one is named with its place and what is near."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from core.tiny import ROOT
from cpg_core.config.schedules import Steps
from cpg_core.config.schema import read_mapping
from cpg_core.config.settings import Grow, OneShot, Retrain, Settings, load_settings
from cpg_core.errors import CpgError

PARAMS = ROOT / "params.yaml"

WRONG = {
    "unknown profile": ("cpuu", (), ["cpuu", "'cpu'"]),
    "unknown setting": ("digits", ("prune.epoch=1",), ["prune.epoch", "'prune.epochs'"]),
    "unknown group": ("digits", ("prun.epochs=1",), ["prun", "'prune'"]),
    "a setting taken for a group": ("digits", ("goal.avg=1",), ["goal"]),
    "no value": ("digits", ("prune.epochs",), ["prune.epochs", "NAME=VALUE"]),
    "not YAML": ("digits", ("prune.epochs=[",), ["prune.epochs"]),
    "a date that is none": ("digits", ("prune.epochs=2020-13-01",), ["prune.epochs", "not valid YAML"]),
    "not a number": ("digits", ("prune.lr=fast",), ["prune", "lr", "fast"]),
    "out of range": ("digits", ("val_fraction=1.5",), ["val_fraction", "1.5"]),
    "no split to decide on": ("digits", ("val_fraction=0",), ["val_fraction", "goal_split"]),
    "unknown precision": ("digits", ("compute.precision=float16",), ["compute", "precision", "bfloat16"]),
    "negative rate": ("digits", ("pick_train.lr=-0.1",), ["pick_train", "lr", "-0.1"]),
    "infinite rate": ("digits", ("pick_train.lr=.inf",), ["pick_train", "lr", "inf"]),
    "no number": ("digits", ("pick_train.score_init=.nan",), ["pick_train", "score_init", "nan"]),
    "no epochs": ("digits", ("pick_train.epochs=0",), ["pick_train", "epochs", "0"]),
    "unknown choice": ("digits", ("optimizer.kind=adam",), ["optimizer", "kind", "adam"]),
    "falling targets": ("digits", ("prune.targets=[0.5, 0.2]",), ["prune", "targets must rise"]),
    "a target twice": ("digits", ("prune.targets=[0.5, 0.5]",), ["prune", "targets must rise"]),
    "a target of all": ("digits", ("prune.targets=[0.5, 1.0]",), ["prune", "targets", "1"]),
    "too many pruning epochs": ("digits", ("prune.prune_epochs=99",), ["prune", "prune_epochs must not exceed"]),
    "nothing picked at first": ("digits", ("pick_train.score_init=0",), ["pick_train", "score_init must exceed"]),
    "schedule of another kind": ("digits", ("prune.schedule={kind: steps}",), ["prune", "schedule", "at_epochs"]),
    "a truth value for a rate": ("digits", ("prune.lr=yes",), ["prune", "lr: expected a number, got True"]),
    "a truth value for a count": ("digits", ("batch_size=true",), ["batch_size: expected a number"]),
    "a truth value among numbers": ("digits", ("prune.targets=[0.5, on]",), ["prune", "targets: expected a number"]),
    "a truth value for a goal": ("digits", ("goal=yes",), ["goal: expected a number"]),
    "picks that never learn": ("digits", ("pick_train.score_freeze_epoch=-3",), ["score_freeze_epoch", "-3"]),
    "an epoch before the first": (
        "digits",
        ("pick_train.score_schedule={kind: steps, at_epochs: [-5], factor: 0.1}",),
        ["at_epochs", "-5"],
    ),
    "a kind without its keys": (
        "digits",
        ("pick_train.schedule.kind=constant",),
        ["warmup", "this key does not belong here"],
    ),
    "a step that never ends": ("digits", ("grow.step_x=1e-7",), ["grow", "step_x", "0.01"]),
    "a budget below the base": ("digits", ("grow.max_x=0.5",), ["grow", "max_x", "0.5"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_setting_is_named(case: str) -> None:
    profile, overrides, words = WRONG[case]
    with pytest.raises(CpgError) as error:
        load_settings(PARAMS, profile, overrides)
    assert [word for word in words if word not in str(error.value)] == []
    if overrides:
        assert all(line.startswith(f"--set {overrides[0]}: ") for line in str(error.value).splitlines())


def test_a_mistake_of_the_file_is_not_blamed_on_an_option(tmp_path: Path) -> None:
    content = yaml.safe_load(PARAMS.read_text())
    content["profiles"]["digits"]["prune"]["lr"] = "fast"
    content["profiles"]["digits"]["retrain"]["lr"] = 0.5
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(CpgError) as error:
        load_settings(tmp_path / "params.yaml", "digits", ("prune.epochs=2", "retrain.lr=-1"))
    one, two = str(error.value).splitlines()
    assert one.startswith(f"{tmp_path / 'params.yaml'}, profile 'digits': prune > lr: ")
    assert two.startswith("--set retrain.lr=-1: retrain.lr: ")


def test_a_mapping_may_be_read_into_another_and_changed(tmp_path: Path) -> None:
    """The second reading of `*more` meets what the first one has put into it."""
    (tmp_path / "a.yaml").write_text(
        "base: &base {lr: 1, x: 2}\nouter: {more: &more {<<: *base, lr: 3}}\nother: {<<: *more}\n"
    )
    read = read_mapping(tmp_path / "a.yaml")
    assert (read["outer"]["more"], read["other"]) == ({"lr": 3, "x": 2}, {"lr": 3, "x": 2})
    (tmp_path / "a.yaml").write_text("base: &base {lr: 1, x: 2}\nouter: [{more: {<<: *base, lr: 3, lr: 4}}]\n")
    with pytest.raises(CpgError, match="key 'lr' is given twice"):
        read_mapping(tmp_path / "a.yaml")


def test_all_images_may_train_where_the_test_split_decides() -> None:
    assert load_settings(PARAMS, "paper", ("val_fraction=0", "goal_split=test")).val_fraction == 0


FILES = {
    "no file": (None, ["params.yaml"]),
    "a folder": ("<folder>", ["params.yaml"]),
    "not YAML": ("profiles: [", ["params.yaml", "YAML"]),
    "not text": (b"\xff\xfe\x00", ["params.yaml"]),
    "a list": ("- a", ["params.yaml"]),
    "empty": ("", ["params.yaml"]),
    "no profiles": ("digits: {}", ["params.yaml", "profiles"]),
    "a profile twice": ("profiles: {digits: {}, digits: {}}", ["params.yaml", "digits"]),
    "a profile that is a number": ("profiles: {digits: 3}", ["params.yaml", "digits"]),
    "an empty profile": ("profiles: {digits: {}}", ["params.yaml", "digits", "base_width"]),
    "a circle": ("profiles: {digits: {extends: b}, b: {extends: digits}}", ["params.yaml", "digits -> b -> digits"]),
    "extends itself": ("profiles: {digits: {extends: digits}}", ["params.yaml", "circle"]),
    "extends nothing": ("profiles: {digits: {extends: dogits}}", ["dogits", "'digits'"]),
    "extends a list": ("profiles: {digits: {extends: [a]}}", ["params.yaml", "digits"]),
}


@pytest.mark.parametrize("case", FILES)
def test_a_wrong_file_is_named(tmp_path: Path, case: str) -> None:
    content, words = FILES[case]
    path = tmp_path / "params.yaml"
    if content == "<folder>":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CpgError) as error:
        load_settings(path, "digits")
    assert [word for word in words if word not in str(error.value)] == []


def test_a_profile_with_an_unknown_key_is_refused_and_several_faults_are_told_at_once(tmp_path: Path) -> None:
    content = yaml.safe_load(PARAMS.read_text())
    content["profiles"]["digits"]["prunne"] = {}
    content["profiles"]["paper"].pop("retrain")
    content["profiles"]["small"].pop("retrain")
    content["profiles"]["digits"].pop("retrain")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(CpgError) as error:
        load_settings(tmp_path / "params.yaml", "digits")
    assert "prunne" in str(error.value)
    assert "retrain" in str(error.value)


@pytest.mark.parametrize("profile", yaml.safe_load(PARAMS.read_text())["profiles"])
def test_every_profile_is_whole(profile: str) -> None:
    settings = load_settings(PARAMS, profile)
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_a_profile_says_what_differs_and_inherits_the_rest_by_field() -> None:
    paper, small, digits = (load_settings(PARAMS, profile) for profile in ("paper", "small", "digits"))
    assert digits.pick_train.score_lr == paper.pick_train.score_lr == 5e-4
    assert digits.pick_train.schedule == small.pick_train.schedule != paper.pick_train.schedule
    assert digits.prune.misses_allowed == small.prune.misses_allowed != paper.prune.misses_allowed
    assert digits.prune.targets != small.prune.targets


def test_an_override_changes_one_field_of_one_profile() -> None:
    before = load_settings(PARAMS, "digits")
    after = load_settings(PARAMS, "digits", ("prune.lr=1.0e-5", "check.min_train_accuracy=null"))
    assert after.prune.lr == 1e-5
    assert after.model_copy(update={"prune": before.prune, "check": before.check}) == before
    assert load_settings(PARAMS, "digits") == before


def test_the_paper_profile_holds_the_published_values() -> None:
    paper = load_settings(PARAMS, "paper")
    assert (paper.base_width, paper.batch_size, paper.optimizer.weight_decay) == (1.0, 32, 4e-5)
    assert (paper.pick_train.epochs, paper.pick_train.lr, paper.pick_train.score_freeze_epoch) == (100, 1e-2, 70)
    assert paper.prune.targets == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    assert (paper.prune.epochs, paper.prune.prune_epochs, paper.prune.every_steps) == (20, 4, 10)
    recovery = Steps(kind="steps", at_epochs=(25,), factor=0.1)
    assert paper.one_shot == OneShot(sparsity=0.6, epochs=30, lr=1e-3, schedule=recovery)
    assert paper.retrain == Retrain(epochs=30, lr=1e-3, score_lr=1e-4, patience=30, compare="reset")
    assert paper.grow == Grow(step_x=0.5, max_x=1.5, first_task=True, new_weights="border", reserve_x=0.0)
    assert paper.check.min_train_accuracy == paper.prune.min_train_accuracy == 0.95
    assert (paper.prune.leave_room, paper.prune.room_share, paper.prune.min_sparsity) == (True, "rounded", 0.0)
    assert paper.prune.skip_empty
    assert (paper.linear_init, paper.seeds, paper.released_init) == ("normal", "per_method", "zero")


def test_the_published_protocol_holds_nothing_out_and_is_the_only_one_that_may() -> None:
    published = load_settings(PARAMS, "paper", ("goal_split=test", "val_fraction=0"))
    assert published.val_fraction == 0
    with pytest.raises(CpgError, match=r"val_fraction is 0.*goal_split: test"):
        load_settings(PARAMS, "paper", ("val_fraction=0",))


def test_settings_may_differ_for_a_method() -> None:
    largest = {method: load_settings(PARAMS, "paper", method=method).grow.max_x for method in (None, "cpg", "pae")}
    assert largest == {None: 1.5, "cpg": 1.5, "pae": 2.0}
    assert load_settings(PARAMS, "paper", ("grow.max_x=3.0",), "pae").grow.max_x == 3.0
    assert load_settings(PARAMS, "cpu", method="pae") == load_settings(PARAMS, "cpu", method="cpg")
    assert load_settings(PARAMS, "cpu", method="packnet") == load_settings(PARAMS, "small", method="packnet")


@pytest.mark.parametrize(
    ("methods", "words"),
    [([1], ["methods"]), ({"pae": 2}, ["pae", "2"]), ({"pae": {"grow": {"max": 2}}}, ["grow", "max"])],
)
def test_wrong_settings_of_a_method_are_named(tmp_path: Path, methods: object, words: list[str]) -> None:
    content = yaml.safe_load(PARAMS.read_text())
    content["profiles"]["digits"]["methods"] = methods
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(CpgError) as error:
        load_settings(tmp_path / "params.yaml", "digits", method="pae")
    assert [word for word in words if word not in str(error.value)] == []
