"""Losses, a file each: what a task minimises, chosen by `loss: {kind: ...}` in its YAML."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cpg_core.objectives.losses.a_softmax import ASoftmax
from cpg_core.objectives.losses.cosface import CosFace
from cpg_core.objectives.losses.cross_entropy import CrossEntropy
from cpg_core.objectives.losses.weighted_cross_entropy import WeightedCrossEntropy

AnyLoss = Annotated[CrossEntropy | WeightedCrossEntropy | ASoftmax | CosFace, Field(discriminator="kind")]
