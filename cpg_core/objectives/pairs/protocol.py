"""The protocol of LFW: folds in order, a threshold found on all but one and used on that one.

Huang et al., *Labeled Faces in the Wild*, 2007, view 2. The distance of two embeddings is arccos(cosine) · 4/pi, from 0
to 4, and a pair is accepted as one person where it lies below the threshold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cpg_core.objectives.pairs import Flags, Pairs, Rows

THRESHOLDS = np.arange(401) / 100
ROC_RATES = np.concatenate([np.geomspace(1e-4, 0.1, 31), np.arange(3, 21) / 20])
"""The false-accept rates near which points of a curve are kept."""
Distances = NDArray[np.float64]


class Accuracy(NamedTuple):
    """Over the folds: the mean, and the standard deviation of the population."""

    mean: float
    standard_deviation: float


def distances(embeddings: Tensor, pairs: Pairs) -> Distances:
    """Of each pair, float64 [P], from embeddings float32 [N, D] on the CPU; one of length 0 is at right angles to
    all."""
    values = embeddings.numpy().astype(np.float64)
    unit = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return distance_of((unit[pairs.left] * unit[pairs.right]).sum(axis=1))


def distance_of(cosine: Distances) -> Distances:
    """0 in the same direction, 4 in opposite ones."""
    found: Distances = np.arccos(np.clip(cosine, -1, 1)) * (4 / np.pi)
    return found


def accuracy(distance: Distances, same: Flags, fold: Rows) -> Accuracy:
    """The accuracy of each fold at the threshold that is best on all others, over the folds.

    Pairs of fold -1 are left out. Of thresholds that are equally good the lowest is taken, as published.
    """
    right = np.stack([_right(distance[fold == k], same[fold == k]) for k in range(fold.max() + 1)])
    best = (right.sum(axis=0) - right).argmax(axis=1)
    found = right[np.arange(len(right)), best] / np.bincount(fold[fold >= 0])
    return Accuracy(float(found.mean()), float(found.std()))


def best_threshold(distance: Distances, same: Flags) -> float:
    """The lowest of the thresholds that are right about most pairs."""
    return float(THRESHOLDS[_right(distance, same).argmax()])


def true_accept_rate(distance: Distances, same: Flags, far: float) -> float:
    """The share of same-person pairs that are accepted where no more than the share `far` of the others is."""
    others = np.sort(distance[~same])
    allowed = int(far * len(others) + 1e-9)
    # Accepted are distances below the threshold, which is the first of those that must not be.
    threshold = others[allowed] if allowed < len(others) else np.inf
    return float((distance[same] < threshold).mean())


def roc_area(distance: Distances, same: Flags) -> float:
    """The area below the curve of true over false accepts: how often a same-person pair is the closer one."""
    from sklearn.metrics import roc_auc_score  # slow to import

    return float(roc_auc_score(same, -distance))


def roc_points(distance: Distances, same: Flags) -> list[tuple[float, float]]:
    """Points of the curve of true over false accepts, rising, the last of them (1, 1); 49 at the most.

    Each is the highest one of the curve at no more than one of `ROC_RATES`.
    """
    from sklearn.metrics import roc_curve  # slow to import

    false_accepts, true_accepts, _ = roc_curve(same, -distance)
    kept = np.unique(np.searchsorted(false_accepts, ROC_RATES, side="right") - 1)
    return [(round(float(false_accepts[place]), 6), round(float(true_accepts[place]), 6)) for place in kept]


def _right(distance: Distances, same: Flags) -> Rows:
    """How many pairs each threshold is right about, int64 [401]."""
    right: Rows = ((distance[:, None] < THRESHOLDS) == same[:, None]).sum(axis=0)
    return right
