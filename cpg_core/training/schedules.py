"""Learning-rate schedules as pure functions of where training stands and what it has reached.

None keeps a state: the falls of a plateau are counted anew from the scores, which a snapshot holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from cpg_core.config.schedules import Constant, OneCycle, Plateau, Schedule, Steps


def factor(schedule: Schedule, epoch: float, epochs: int, scores: Sequence[float] = ()) -> float:
    """What the base rate is multiplied by.

    Args:
        schedule: which curve.
        epoch: epochs done, with fractions: 1.5 is the middle of the second epoch.
        epochs: epochs in all.
        scores: on the split that decides, one a finished epoch, of those that count.
    """
    match schedule:
        case Constant():
            return 1.0
        case Steps(at_epochs=at_epochs, factor=by):
            return by ** sum(epoch >= at for at in at_epochs)
        case Plateau(factor=by, patience=patience, at_most=at_most):
            return by ** min(plateaus(scores, patience).times, at_most)
        case OneCycle(warmup=warmup, final=final):
            done = epoch / epochs
            if done < warmup:
                return max(done / warmup, 1e-2)
            rest = (done - warmup) / (1 - warmup) if warmup < 1 else 1.0
            return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))


class Plateaus(NamedTuple):
    """What scores say of their progress.

    Attributes:
        times: how often they did not improve for as many epochs as the patience, each time counted from the last.
        best: the place of the best score, the first of equal ones; None where there is no score.
    """

    times: int
    best: int | None


def plateaus(scores: Sequence[float], patience: int) -> Plateaus:
    """Count the plateaus of scores, one an epoch."""
    count, waited, best = 0, 0, None
    for place, score in enumerate(scores):
        if best is None or score > scores[best]:
            best, waited = place, 0
            continue
        waited += 1
        if waited == patience:
            count, waited = count + 1, 0
    return Plateaus(count, best)


def ended(schedule: Schedule, scores: Sequence[float]) -> bool:
    """Whether the schedule ends the stage: its rate has fallen as often as it may, and it would fall again."""
    if not isinstance(schedule, Plateau) or not schedule.stop:
        return False
    return plateaus(scores, schedule.patience).times > schedule.at_most
