"""Learning-rate schedules as pure functions of where training stands."""

from __future__ import annotations

import math

from cpg_core.config.settings import Constant, OneCycle, Schedule, Steps


def factor(schedule: Schedule, epoch: float, epochs: int) -> float:
    """What the base rate is multiplied by.

    Args:
        schedule: which curve.
        epoch: epochs done, with fractions: 1.5 is the middle of the second epoch.
        epochs: epochs in all.
    """
    match schedule:
        case Constant():
            return 1.0
        case Steps(at_epochs=at_epochs, factor=by):
            return by ** sum(epoch >= at for at in at_epochs)
        case OneCycle(warmup=warmup, final=final):
            done = epoch / epochs
            if done < warmup:
                return max(done / warmup, 1e-2)
            rest = (done - warmup) / (1 - warmup) if warmup < 1 else 1.0
            return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))
