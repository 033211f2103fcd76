"""How far apart two methods are: the mean difference over tasks and seeds, with an interval by bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

CONFIDENCE = 0.95
RESAMPLES = 9999


@dataclass(frozen=True)
class Difference:
    """A mean difference of accuracies in percentage points, `low` to `high` its 95 % interval.

    Attributes:
        n: seeds of either side.
    """

    mean: float
    low: float
    high: float
    n: tuple[int, int]


def paired_difference(ours: np.ndarray, theirs: np.ndarray) -> Difference:
    """Ours minus theirs, paired by task.

    Both sides learned the same tasks, so tasks are drawn for both together; seeds are drawn for each side apart
    (percentile bootstrap; Efron and Tibshirani, 1993). A side of one seed stands for itself: its spread is unknown.

    Args:
        ours: accuracies `[seeds, tasks]`, in percent.
        theirs: the same of the other side, for the same tasks in the same order.

    Raises:
        ValueError: the tasks are not as many.
    """
    if ours.shape[1] != theirs.shape[1]:
        raise ValueError(f"{ours.shape[1]} tasks against {theirs.shape[1]}: only the same tasks can be paired")
    mean = float(ours.mean() - theirs.mean())
    counts = (ours.shape[1], ours.shape[0], theirs.shape[0])
    varying = [place for place, count in enumerate(counts) if count > 1]
    n = (counts[1], counts[2])
    if not varying:
        return Difference(mean, mean, mean, n)

    def differences(*drawn: np.ndarray, axis: int) -> np.ndarray:
        """Of each resample: `[..., n]` places of tasks and seeds to `[...]`."""
        places = dict(zip(varying, (np.moveaxis(one, axis, -1) for one in drawn), strict=True))
        tasks, our_seeds, their_seeds = (places.get(place, np.zeros(1, dtype=int)) for place in range(3))
        means = (
            table[seeds[..., :, None], tasks[..., None, :]].mean(axis=(-2, -1))
            for table, seeds in ((ours, our_seeds), (theirs, their_seeds))
        )
        ours_mean, theirs_mean = means
        return np.asarray(ours_mean - theirs_mean)

    found = bootstrap(
        tuple(np.arange(counts[place]) for place in varying),
        differences,
        n_resamples=RESAMPLES,
        vectorized=True,
        paired=False,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Difference(mean, float(found.low), float(found.high), n)
