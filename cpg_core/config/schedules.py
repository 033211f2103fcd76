"""How rates go over the epochs of a stage, and which of its epochs is kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cpg_core.config.numbers import Count, Fraction, Positive
from cpg_core.config.schema import Strict


class Steps(Strict):
    """The rate times `factor` at each epoch of `at_epochs` (counted from 0)."""

    kind: Literal["steps"]
    at_epochs: tuple[Annotated[int, Field(ge=0)], ...]
    factor: Positive


class OneCycle(Strict):
    """Linear rise over the `warmup` fraction of all steps, then half a cosine down to `final` times the rate."""

    kind: Literal["one_cycle"]
    warmup: Fraction
    final: Fraction


class Constant(Strict):
    """The same rate throughout."""

    kind: Literal["constant"]


class Plateau(Strict):
    """The rate times `factor` whenever the score of the split that decides has not improved for `patience` epochs.

    While weights are pruned the score falls of itself, so scores count from the end of the pruning epochs on.
    """

    kind: Literal["plateau"]
    factor: Annotated[float, Field(gt=0, lt=1)]
    patience: Count = Field(description="Epochs without a better score before each fall of the rate")
    at_most: Count = Field(description="Falls of the rate")
    stop: bool = Field(default=False, description="End the stage when the rate would fall once more than at_most")


STEADY = Constant(kind="constant")
Schedule = Annotated[Steps | OneCycle | Plateau | Constant, Field(discriminator="kind")]
Keep = Literal["best", "last"]
