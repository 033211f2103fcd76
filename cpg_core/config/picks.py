"""What decides which weights of earlier tasks a task uses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cpg_core.config.numbers import Fraction, Positive
from cpg_core.config.schema import Strict


class ScoredPicks(Strict):
    """Picks learned through scores: by Adam as published, or by plain gradient descent."""

    kind: Literal["adam", "sgd"]


class SignificantPicks(Strict):
    """A weight is left out where the mean gradient of its pick exceeds `least` standard errors."""

    kind: Literal["t_statistic"]
    least: Positive


class RandomPicks(Strict):
    """Drawn once a task, the same share of every layer: the control of what is learned."""

    kind: Literal["random"]
    share: Fraction | dict[str, Fraction] = Field(description="Of the older weights; or a share for each layer")


class AllPicks(Strict):
    """Every older weight is used."""

    kind: Literal["all"]


Picks = Annotated[ScoredPicks | SignificantPicks | RandomPicks | AllPicks, Field(discriminator="kind")]


def learns(picks: Picks) -> bool:
    """Whether picks are learned, rather than drawn or all taken."""
    return not isinstance(picks, RandomPicks | AllPicks)
