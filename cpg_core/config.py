"""Every setting of a run, typed and checked: what `params.yaml` may say and what it must say.

There are no defaults in code: a profile in `params.yaml` names every value, or extends one that does, so what a run
used can be read in one place. The `paper` profile holds the published values of experiment 1.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cpg_core.errors import CpgError

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Steps(Strict):
    """The rate times `factor` at each epoch of `at_epochs` (counted from 0)."""

    kind: Literal["steps"]
    at_epochs: tuple[int, ...]
    factor: Positive


class OneCycle(Strict):
    """Linear rise over the `warmup` fraction of all steps, then half a cosine down to `final` times the rate."""

    kind: Literal["one_cycle"]
    warmup: Fraction
    final: Fraction


class Constant(Strict):
    """The same rate throughout."""

    kind: Literal["constant"]


Schedule = Annotated[Steps | OneCycle | Constant, Field(discriminator="kind")]


class PickTrain(Strict):
    """Pick scores by Adam and released weights by the weight optimizer, together (section 3; Algorithm 1)."""

    epochs: Count
    lr: Positive
    schedule: Schedule
    score_lr: Positive
    score_schedule: Schedule
    score_init: float
    score_threshold: float
    score_freeze_epoch: int | None = Field(
        description="From this epoch on the picks stand still, unless no weight is released"
    )

    @model_validator(mode="after")
    def _all_picked_at_first(self) -> PickTrain:
        if self.score_init <= self.score_threshold:
            raise ValueError("score_init must exceed score_threshold: every older weight starts picked")
        return self


class Check(Strict):
    """What the accuracy check asks for besides the goal."""

    min_train_accuracy: Fraction | None = Field(description="The check fails at or below it; null: no such gate")
    tolerance: Fraction = Field(description="An accuracy this far below the goal still passes")


class Grow(Strict):
    """How the network grows when the goal is missed."""

    step_x: Positive
    max_x: Annotated[float, Field(ge=1)]
    first_task: bool = Field(description="May task 1 grow the network too")


class Prune(Strict):
    """Gradual pruning (Zhu and Gupta, 2018) towards rising sparsity targets."""

    targets: tuple[Annotated[float, Field(gt=0, lt=1)], ...]
    epochs: Count = Field(description="Per target, the pruning epochs included")
    prune_epochs: Count
    every_steps: Count
    lr: Positive
    schedule: Schedule
    min_train_accuracy: Fraction | None = Field(description="No further target at or below it; null: no such gate")
    misses_allowed: Annotated[int, Field(ge=0)] | None = Field(
        description="No further target after so many in a row below the goal; null: try them all"
    )
    leave_room: bool = Field(description="With the goal missed at the largest width, prune to 1 - 1/(tasks left + 1)")

    @model_validator(mode="after")
    def _targets_rise(self) -> Prune:
        if list(self.targets) != sorted(set(self.targets)):
            raise ValueError("targets must rise, none twice")
        if self.prune_epochs > self.epochs:
            raise ValueError("prune_epochs must not exceed epochs")
        return self


class OneShot(Strict):
    """PackNet's prune: one cut of the task's weights by magnitude, then recovery."""

    sparsity: Annotated[float, Field(gt=0, lt=1)]
    epochs: Count
    lr: Positive


class Retrain(Strict):
    """Picks learned again, from the start, beside the compact model's own weights; kept only if better."""

    epochs: Annotated[int, Field(ge=0)] = Field(description="0: no retrain")
    lr: Positive
    score_lr: Positive
    patience: Count = Field(description="Stop after so many epochs without a better accuracy")


class Optimizer(Strict):
    """How weights move. Decay acts only on the shared weights that the task may change."""

    kind: Literal["sgd", "adamw"]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]


class Compute(Strict):
    """Where and how it is computed; part of what decides the bits."""

    device: Literal["auto", "cpu", "cuda"]
    threads: Count
    compile: Literal["auto", "always", "never"] = Field(
        description="Compile the optimizer's pass; auto: from a million shared weights on, where a compiler is found"
    )
    workers: Annotated[int, Field(ge=0)] = Field(description="Processes that stream large images")


class Settings(Strict):
    """All of them: one profile of `params.yaml`, resolved."""

    goal: float | str = Field(description="What tasks must reach: a number in [0, 1], or a file with one a task")
    base_width: Positive = Field(description="Channels of the base network over the published network's")
    batch_size: Count
    eval_batch_size: Count
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    goal_split: Literal["val", "test"] = Field(description="test: the paper's protocol, for comparison only")
    released_init: Literal["zero", "random"] = Field(description="What released weights start from in a later task")
    private_init: Literal["previous", "fresh"] = Field(description="What batch norm and biases start from")
    optimizer: Optimizer
    pick_train: PickTrain
    check: Check
    grow: Grow
    prune: Prune
    one_shot: OneShot
    retrain: Retrain
    compute: Compute


def field_errors(error: ValidationError, where: str) -> CpgError:
    """Pydantic's findings as one message, a line a field."""
    lines = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"]) or "(the whole)"
        match item["type"]:
            case "extra_forbidden":
                lines.append(f"  {name}: no such field; remove it or mend its name")
            case "missing":
                lines.append(f"  {name}: missing; every profile must say it")
            case _:
                lines.append(f"  {name}: {item['msg'].removeprefix('Value error, ')} (got {item['input']!r:.80})")
    return CpgError(f"{where}:\n" + "\n".join(lines))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        CpgError: the file is not there, is not YAML, or holds no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise CpgError(f"{path}: no such file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CpgError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise CpgError(f"{path}: expected a mapping of names to values at the top, found {type(content).__name__}")
    return content


def choose(kind: str, name: str, known: list[str]) -> CpgError:
    """The error for a name that is not among the known ones, with the nearest of them."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return CpgError(f"unknown {kind} {name!r}: expected one of {', '.join(sorted(known))}{hint}")


def load_settings(path: Path, profile: str, overrides: tuple[str, ...] = ()) -> Settings:
    """The settings of one profile of `params.yaml`.

    Args:
        path: the parameter file; its `profiles` maps a name to settings, which may `extend` another profile.
        profile: which one.
        overrides: `prune.lr=0.001` strings, their values read as YAML.

    Raises:
        CpgError: naming the file, the profile and each field that is unknown, missing or out of range.
    """
    profiles = read_yaml(path).get("profiles")
    if not isinstance(profiles, dict):
        raise CpgError(f"{path}: expected a `profiles` mapping")
    values = _extended(path, profiles, profile, ())
    for override in overrides:
        _set(values, override)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise field_errors(error, f"{path}, profile {profile!r}") from error


def _extended(path: Path, profiles: dict[str, Any], name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    if name not in profiles:
        raise choose("profile", name, list(profiles))
    if name in seen:
        raise CpgError(f"{path}: profiles extend each other in a circle: {' -> '.join((*seen, name))}")
    own = dict(profiles[name])
    base = own.pop("extends", None)
    return _merged(_extended(path, profiles, base, (*seen, name)), own) if base else own


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Groups merge by field; a schedule is one value, since its fields depend on its kind."""
    out = dict(base)
    for key, value in over.items():
        group = isinstance(value, dict) and isinstance(base.get(key), dict) and "kind" not in value
        out[key] = _merged(base[key], value) if group else value
    return out


def _set(values: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    if not separator:
        raise CpgError(f"override {override!r}: expected NAME=VALUE, such as prune.lr=0.001")
    *groups, field = name.strip().split(".")
    place = values
    for group in groups:
        inner = place.get(group)
        if not isinstance(inner, dict):
            raise choose("group of settings", group, [key for key, value in place.items() if isinstance(value, dict)])
        place[group] = dict(inner)
        place = cast(dict[str, Any], place[group])
    if field not in place:
        raise choose("setting", name, [".".join([*groups, key]) for key in place])
    place[field] = yaml.safe_load(text)
