"""Every setting of a run, typed and checked: what `params.yaml` may say and what it must say.

There are no defaults in code: a profile in `params.yaml` names every value, or extends one that does, so what a run
used can be read in one place. The `paper` profile holds the published values of experiment 1.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from cpg_core.config.compute import Compute
from cpg_core.config.numbers import BudgetStep, Count, Fraction, Positive
from cpg_core.config.picks import Picks
from cpg_core.config.profiles import blamed, profile_values
from cpg_core.config.schedules import Keep, Plateau, Schedule
from cpg_core.config.schema import Strict, check
from cpg_core.config.store import Store


def _one_spelling(goal: float | str) -> float | str:
    """`./g.yaml` is `g.yaml`."""
    return str(Path(goal)) if isinstance(goal, str) else goal


Goal = Annotated[float | str, AfterValidator(_one_spelling)]


class PickTrain(Strict):
    """Learn the picks and the released weights together (section 3; Algorithm 1)."""

    picks: Picks
    epochs: Count
    lr: Positive
    schedule: Schedule
    score_lr: Positive
    score_schedule: Schedule
    score_init: float
    score_threshold: float
    score_freeze_epoch: Annotated[int, Field(ge=0)] | None = Field(
        description="From this epoch on the picks stand still, unless no weight is released"
    )
    keep: Keep = Field(description="Which epoch's network is kept: the last, or the best on the split that decides")

    @model_validator(mode="after")
    def _all_picked_at_first(self) -> PickTrain:
        if self.score_init <= self.score_threshold:
            raise ValueError("score_init must exceed score_threshold: every older weight starts picked")
        if isinstance(self.score_schedule, Plateau) and self.score_schedule.stop:
            raise ValueError("score_schedule: stop is of the weights' schedule alone; leave it out here")
        return self


class Check(Strict):
    """What the accuracy check asks for besides the goal."""

    min_train_accuracy: Fraction | None = Field(description="The check fails at or below it; null: no such gate")
    tolerance: Fraction = Field(description="An accuracy this far below the goal still passes")


class Grow(Strict):
    """How the network grows when the goal is missed."""

    step_x: BudgetStep
    max_x: Annotated[float, Field(ge=1)]
    first_task: bool = Field(description="May task 1 grow the network too")
    new_weights: Literal["border", "all"] = Field(
        description="Released weights that begin random after a growth: those of new rows and columns, or all of them"
    )
    reserve_x: Annotated[float, Field(ge=0)] = Field(
        description="Budget that each task leaves released, at the most half of what it found released"
    )


class Prune(Strict):
    """Gradual pruning (Zhu and Gupta, 2018) towards rising sparsity targets, or to one share that a person chose."""

    share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        description="The one sparsity that is pruned to, whatever the goal says, in place of targets; null: search"
    )
    unit: Literal["weight", "channel"] = Field(
        description="What is released, and picked: single weights, or whole output channels (docs/channels.md)"
    )
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
    room_share: Literal["exact", "rounded"] = Field(description="rounded: 1/(tasks left + 1) rounded to 0.1")
    min_sparsity: Annotated[float, Field(ge=0, lt=1)] = Field(
        description="The least sparsity of every task, goal met or missed"
    )
    recover_epochs: Annotated[int, Field(ge=0)] = Field(
        description="In which the sparsity that a search chose trains on alone; kept if no worse. 0: none"
    )
    skip_empty: bool = Field(description="A task that trained no shared weight is neither pruned nor retrained")
    keep: Keep = Field(description="Of a target, the last epoch or the best of those after prune_epochs")

    @model_validator(mode="after")
    def _targets_rise(self) -> Prune:
        if list(self.targets) != sorted(set(self.targets)):
            raise ValueError("targets must rise, none twice")
        if self.prune_epochs > self.epochs:
            raise ValueError("prune_epochs must not exceed epochs")
        if self.keep == "best" and self.prune_epochs == self.epochs:
            raise ValueError("keep: best chooses among the epochs after prune_epochs; give epochs more than those")
        if self.share is not None and self.share < self.min_sparsity:
            raise ValueError(f"share {self.share:g} is below min_sparsity, {self.min_sparsity:g}; set one of them")
        return self


class OneShot(Strict):
    """PackNet's prune: one cut of the task's weights by magnitude, then recovery."""

    sparsity: Annotated[float, Field(gt=0, lt=1)]
    epochs: Count
    lr: Positive
    schedule: Schedule = Field(description="Of the recovery")


class Finetune(Strict):
    """A model apart that begins from an earlier task's: as `pick_train`, at another rate."""

    lr: Positive
    init_from: Literal["random", "first"] = Field(description="Which earlier task's: a random one's, or the first's")


class Ewc(Strict):
    """Elastic weight consolidation (Kirkpatrick et al., 2017)."""

    strength: Positive = Field(description="lambda: strength of the quadratic penalty")
    images: Count = Field(description="Of each earlier task, to find its Fisher information with")


class Lwf(Strict):
    """Learning without forgetting (Li and Hoiem, 2016)."""

    strength: Positive = Field(
        description="lambda_o: weight of the distillation loss of the earlier tasks over the loss of the new one"
    )
    temperature: Positive


class Den(Strict):
    """Dynamically expandable networks (Yoon et al., 2018)."""

    l1: Annotated[float, Field(ge=0)] = Field(description="Sparsity of task 1's weights and of each head at first")
    head_epochs: Count = Field(
        description="In which the head alone learns, to tell what the task needs; all but one at most"
    )
    group: Annotated[float, Field(ge=0)] = Field(description="Sparsity of added units, each as a group")
    step_x: BudgetStep = Field(
        description="Budget that a task adds, once, where it misses its goal or has units to split"
    )
    drift: Positive = Field(description="A unit is split whose weights moved further than this share of their norm")
    split_epochs: Count = Field(description="In which copies of units are trained, at prune.lr")


class Progressive(Strict):
    """Progressive neural networks (Rusu et al., 2016)."""

    column_width: Positive = Field(description="Channels of each later task's column over the base network's")


class Retrain(Strict):
    """Picks learned again, from the start, beside the compact model's own weights; kept only if better."""

    epochs: Annotated[int, Field(ge=0)] = Field(description="0: no retrain")
    lr: Positive
    score_lr: Positive
    patience: Count = Field(description="Stop after so many epochs without a better accuracy")
    compare: Literal["compact", "reset"] = Field(
        description="What it must be better than: the compact model, or that model with its picks reset to all"
    )


class Optimizer(Strict):
    """How weights move. Decay acts only on the shared weights that the task may change."""

    kind: Literal["sgd", "adamw"]
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]


class Settings(Strict):
    """All of them: one profile of `params.yaml`, resolved."""

    goal: Goal = Field(description="What tasks must reach: a number in [0, 1], or a file with one a task")
    base_width: Positive = Field(description="Channels of the base network over the published network's")
    batch_size: Count
    eval_batch_size: Count
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(description="0 only with goal_split: test")
    goal_split: Literal["val", "test"] = Field(description="test: the paper's protocol, for comparison only")
    released_init: Literal["zero", "random"] = Field(description="What released weights start from in a later task")
    private_init: Literal["previous", "fresh"] = Field(description="What batch norm and biases start from")
    linear_init: Literal["kaiming", "normal"] = Field(
        description="New linear layers and heads: as the backbone and PyTorch make them, or N(0, 0.01) with biases 0"
    )
    seeds: Literal["shared", "per_method"] = Field(
        description="Whether runs of one seed share initial weights and order of batches whatever their method"
    )
    optimizer: Optimizer
    pick_train: PickTrain
    check: Check
    grow: Grow
    prune: Prune
    one_shot: OneShot
    retrain: Retrain
    finetune: Finetune
    ewc: Ewc
    lwf: Lwf
    progressive: Progressive
    den: Den
    store: Store
    compute: Compute

    @model_validator(mode="after")
    def _some_split_decides(self) -> Settings:
        if self.val_fraction == 0 and self.goal_split == "val":
            raise ValueError(
                "val_fraction is 0, so no validation split is there to decide on; "
                "set val_fraction above 0, or goal_split: test for the paper's protocol"
            )
        return self


def load_settings(path: Path, profile: str, overrides: tuple[str, ...] = (), method: str | None = None) -> Settings:
    """The settings of one profile of `params.yaml`.

    Args:
        path: the parameter file; its `profiles` maps a name to settings, which may `extend` another profile.
        profile: which one.
        overrides: `prune.lr=0.001` strings, their values read as YAML.
        method: whose settings: where the profile's `methods` says something else for it, that holds.

    Raises:
        CpgError: naming the file, the profile and each field that is unknown, missing or out of range.
    """
    values = profile_values(path, profile, overrides, method)
    return check(values, Settings, f"{path}, profile '{profile}'", given_by=partial(blamed, overrides))
