"""Objectives: what a kind of task is, a file each, found by its name. Adding one means adding one file.

An objective file defines `OBJECTIVE`, an `Objective`. The network takes its head from it, the training step its loss,
and the loop and the evaluation its score; none of them knows which kind of task it is.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from pydantic import Field, field_validator
from torch import Tensor, nn

from cpg_core.config.schema import Strict, is_none
from cpg_core.config.suggestions import unknown
from cpg_core.errors import CpgError
from cpg_core.objectives.losses import AnyLoss
from cpg_core.objectives.measures import Measure, TallyMeasure
from cpg_core.objectives.measures.confusion import ConfusionMeasure
from cpg_core.objectives.pairs import Pairs

DEFAULT = "classification"
"""Of a task that names none."""


class ObjectiveSpec(Strict):
    """What a task's YAML says of its objective. What is not given is not written: older runs have none of it."""

    kind: str = Field(default=DEFAULT, exclude_if=lambda kind: kind == DEFAULT)
    loss: AnyLoss | None = Field(default=None, exclude_if=is_none, description="null: cross entropy")
    embedding: int | None = Field(
        default=None, ge=1, exclude_if=is_none, description="verification: numbers in an embedding; null: 512"
    )
    metric: Literal["accuracy", "balanced_accuracy"] = Field(
        default="accuracy",
        exclude_if=lambda metric: metric == "accuracy",
        description="classification: what goals are about; balanced_accuracy: the mean recall over the classes",
    )

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in names():
            raise ValueError(str(unknown("kind of task", kind, names())))
        return kind


def class_probabilities(outputs: Tensor, classes: tuple[str, ...], figures: Mapping[str, float]) -> dict[str, object]:  # noqa: ARG001
    """Of logits, the probability of each class and the likeliest one, a row an image."""
    return {
        "classes": list(classes),
        "predicted": [classes[label] for label in outputs.argmax(dim=1).tolist()],
        "probabilities": outputs.softmax(dim=1).tolist(),
    }


@dataclass(frozen=True)
class Objective:
    """What a task's network ends in, what it minimises, and how its success is measured.

    A score over many images is computed from a sum over batches and processes, which stays on the device until all
    batches are done: of training batches from a tally, of a split from what its measure adds up.

    Attributes:
        head: `(features, classes)` to the module that ends the network, from `[N, features]` to outputs `[N, ...]`,
            which in training mode are what the loss and the tally take, and else what a recalled task answers.
        loss: `(outputs, labels [N], steps)` to the mean loss over the batch, no dimensions; `steps` are those done in
            the stage, float32, no dimensions, on the device.
        tally: `(outputs, labels [N])` to what the score needs of a batch, int64 `[tally_size]`; sums over batches.
        tally_size: how many numbers a tally holds.
        score: the summed tally, as a list, to the score in [0, 1], of which more is better.
        measure: how a split is scored, given its pairs; None: by the tally, as training is.
        answer: `(outputs, classes, figures of the record)` to what a served task says of images, for JSON.
        sized: the objective for so many classes, where its tally depends on that; None: it does not.
        by_class: classes to the measure that tells them apart; None: it has no classes to tell apart.
        configured: the objective with the settings of a task and the training images of each class; None: it has no
            settings.
    """

    head: Callable[[int, int], nn.Module]
    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    tally: Callable[[Tensor, Tensor], Tensor]
    tally_size: int
    score: Callable[[list[int]], float]
    measure: Callable[[Pairs | None], Measure] | None = None
    answer: Callable[[Tensor, tuple[str, ...], Mapping[str, float]], dict[str, object]] = class_probabilities
    sized: Callable[[int], Objective] | None = None
    by_class: Callable[[int], ConfusionMeasure] | None = None
    configured: Callable[[ObjectiveSpec, Sequence[int]], Objective] | None = None

    def of_classes(self, classes: int) -> Objective:
        """The objective of a network with so many classes."""
        return self if self.sized is None else self.sized(classes)

    @property
    def compares_pairs(self) -> bool:
        """Whether it is measured on pairs of images rather than on images with labels."""
        return self.measure is not None

    def measure_of(self, pairs: Pairs | None) -> Measure:
        """How a split with these pairs is scored."""
        if self.measure is not None:
            return self.measure(pairs)
        return TallyMeasure(self.tally, self.tally_size, self.score)


def names() -> list[str]:
    """The objectives there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def find(name: str) -> Objective:
    """The objective of that name.

    Raises:
        CpgError: there is none.
    """
    if name not in names():
        raise unknown("objective", name, names())
    return cast(Objective, importlib.import_module(f"{__name__}.{name}").OBJECTIVE)


def of(spec: ObjectiveSpec, counts: Sequence[int] = ()) -> Objective:
    """The objective of a task, with its settings.

    Args:
        spec: what its YAML says.
        counts: training images of each class; only losses that weigh classes need them, to be trained with.

    Raises:
        CpgError: there is none of that kind, or it has no such setting.
    """
    objective = find(spec.kind)
    if objective.configured is not None:
        return objective.configured(spec, counts)
    fields = type(spec).model_fields
    if given := [name for name in ("loss", "embedding", "metric") if getattr(spec, name) != fields[name].default]:
        raise CpgError(f"{given[0]}: tasks of kind {spec.kind} have no such setting; leave it out")
    return objective
