"""What stages and tasks leave behind, as typed records. Nothing in them depends on the clock."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cpg_core.config.backbone import BackboneSpec
from cpg_core.config.schema import Strict, is_none
from cpg_core.config.store import Store
from cpg_core.objectives import ObjectiveSpec

StageName = Literal["import", "pick_train", "check", "grow", "prune", "recover", "retrain", "split", "freeze"]


def stage_label(number: int, stage: StageName) -> str:
    """What a stage is called in its task: `01-pick_train`."""
    return f"{number:02d}-{stage}"


class Epoch(Strict):
    """One epoch of a stage. `accuracy` is on the split that decides (validation, unless `goal_split` is test)."""

    epoch: int
    lr: float
    loss: float
    train_accuracy: float
    accuracy: float


class StageRecord(Strict):
    """One finished stage.

    Attributes:
        number: its place in the task, from 1.
        source: the number of the stage whose state it read; None: it began from the shared weights.
        budget_x: the budget it worked at.
        target: the sparsity that a prune aimed at.
        accuracy: on the split that decides, of the state it wrote.
        met: check: the goal and every gate were met; prune: the goal was met.
        gate: check and prune: the training-accuracy gate was passed; None where there is no such gate.
        drifted: pick_train of DEN: units of earlier tasks that moved further than its setting allows.
        kept: its state is taken rather than its source's; retrain: it is better; recover: it is no worse.
        sparsity: released over available weights, of the state it wrote.
        own: weights that the task holds in the state it wrote.
        picked: share of earlier tasks' weights that the task uses; None where there are none.
        key: what the result depends on; a stage whose key has changed is done anew.
        state_sha256: of the state it wrote; None where it wrote none.
    """

    number: int
    stage: StageName
    source: int | None
    budget_x: float
    target: float | None = None
    accuracy: float | None = None
    train_accuracy: float | None = None
    met: bool | None = None
    gate: bool | None = None
    drifted: int | None = None
    kept: bool | None = None
    sparsity: float | None = None
    own: int | None = None
    picked: float | None = None
    epochs: tuple[Epoch, ...] = ()
    key: str
    state_sha256: str | None = None

    @property
    def label(self) -> str:
        """As of `stage_label`."""
        return stage_label(self.number, self.stage)


class Machine(Strict):
    """What the bits of a forward pass depend on besides the model."""

    processor: str
    device: str
    threads: int
    torch: str


FORMATS = (1, 2)
"""Of `delta.safetensors` (`docs/format.md`): a tensor an entry, and packed."""


class Stored(Store):
    """How a task is stored: in format 2, and in format 1 where rounding was tried in vain.

    Attributes:
        missed: the accuracy of the rounded model, which missed the goal that the exact one met: so the task is stored
            exactly; None: it is stored as the settings ask.
    """

    missed: float | None


class Living(Strict):
    """What is left of a network whose channels are pruned whole (`prune.unit: channel`).

    Attributes:
        channels: output channels of the shared layers that are not 0 for every image, `of_channels` in all.
        multiply_adds: of these channels and the head for an image; `of_multiply_adds` of the whole network.
    """

    channels: int
    of_channels: int
    multiply_adds: int
    of_multiply_adds: int


class TaskRecord(Strict):
    """One frozen task: `record.json` beside its `delta.safetensors`.

    Attributes:
        goal: the accuracy it had to reach on the split that decides.
        goal_met: whether the frozen state reaches it. A missed goal stays missed.
        accuracy: on the split that decides; `test_accuracy` was read once, at freeze.
        figures: what else the task's objective tells of its test split, and what it chose on the validation split, or
            where there is none on the test split.
        budget_x: budget after the task, nominal; `allocated` and `base` count the shared weights.
        released: weights that no task owns after this one.
        sparsity: of the task: released over what was available to it.
        picked: share of earlier tasks' weights that it uses; None for the first.
        living: channels that the task uses; None, and left out, where single weights are pruned.
        images: how many in train, val and test; `data_sha256` is over all three.
        delta_bytes: size of `delta.safetensors`.
        probe_sha256: digest of the logits on the probe batch, on `machine`.
        parent_sha256: of the previous task's record; the chain names the whole model.
        format: of `delta.safetensors`; left out of the file at 1, as it is in older records.
        stored: how the task is stored; None, and left out, where the settings ask for nothing but format 1.
    """

    index: int
    name: str
    task: dict[str, object]
    method: str
    goal: float
    goal_split: Literal["val", "test"]
    goal_met: bool
    accuracy: float
    test_accuracy: float
    figures: dict[str, float] = Field(default_factory=dict, exclude_if=lambda figures: not figures)
    budget_x: float
    allocated: int
    base: int
    own: int
    released: int
    sparsity: float
    picked: float | None
    living: Living | None = Field(default=None, exclude_if=is_none)
    backbone: BackboneSpec
    width: float
    classes: tuple[str, ...]
    images: dict[str, int]
    data_sha256: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stages: tuple[StageRecord, ...]
    delta_bytes: int
    delta_sha256: str
    probe_sha256: str
    parent_sha256: str | None
    machine: Machine
    format: int = Field(default=1, exclude_if=lambda format: format == 1)
    stored: Stored | None = Field(default=None, exclude_if=is_none)

    @model_validator(mode="before")
    @classmethod
    def _known_format(cls, content: object) -> object:
        """Told before anything that a newer format may have besides."""
        found = content.get("format", 1) if isinstance(content, dict) else 1
        if found not in FORMATS:
            raise ValueError(f"format {found!r}: written by a newer version, which is needed to read it")
        return content

    @property
    def objective(self) -> ObjectiveSpec:
        """The task's objective and its settings."""
        said = {name: self.task[name] for name in ObjectiveSpec.model_fields if name in self.task}
        return ObjectiveSpec.model_validate(said)

    @property
    def expansion_x(self) -> float:
        """Shared weights allocated over the base network's."""
        return self.allocated / self.base

    @property
    def redundancy_x(self) -> float:
        """Released weights over the base network's shared weights."""
        return self.released / self.base


class Recall(Strict):
    """An earlier task, looked at after a later one was learned."""

    task: str
    unchanged: bool
    test_accuracy: float
