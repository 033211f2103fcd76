"""Which of the labelled images are held out to validate on: by groups, by folds, or both. Pure; drawn by a seed.

The plain share of each class is `split.hold_out`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cpg_core.data.reading.listing import Rows

Mask = NDArray[np.bool_]


def by_groups(labels: Rows, groups: Rows, fraction: float, seed: int) -> Mask:
    """Hold out whole groups, near to `fraction` of each class.

    Groups come in random order, and one is held out if that brings the counts of its classes nearer to their share.
    A class of which nothing is held out then gives its smallest group, unless nothing of a class were left.

    Args:
        labels: int64 [N], from 0.
        groups: int64 [N], from 0.
        fraction: in [0, 1).
        seed: the same holds out the same.

    Returns:
        bool [N].
    """
    totals = np.bincount(labels).astype(np.float64)
    held, chosen = np.zeros_like(totals), np.zeros(int(groups.max(initial=-1)) + 1, dtype=bool)
    of_groups = list(_in_random_order(labels, groups, seed))
    for group, classes, counts in of_groups:
        missing = fraction * totals[classes] - held[classes]
        if np.abs(missing - counts).sum() < np.abs(missing).sum():
            held[classes] += counts
            chosen[group] = True
    for label in np.flatnonzero(held == 0) if fraction > 0 else ():
        for group, classes, counts in sorted(of_groups, key=lambda found: int(found[2].sum())):
            if held[label] == 0 and label in classes and (held[classes] + counts < totals[classes]).all():
                held[classes] += counts
                chosen[group] = True
    return chosen[groups]


def fold_of_groups(labels: Rows, groups: Rows, of: int, seed: int) -> Rows:
    """Put whole groups into folds, the classes spread evenly; arguments as of `by_groups`.

    Groups come by size, the largest first, and each goes where its classes are rarest so far.

    Returns:
        The fold of each image, int64 [N], from 0.
    """
    totals = np.bincount(labels).astype(np.float64)
    load, fold = np.zeros((of, len(totals))), np.zeros(int(groups.max(initial=-1)) + 1, dtype=np.int64)
    drawn = list(_in_random_order(labels, groups, seed))
    for group, classes, counts in sorted(drawn, key=lambda found: -int(found[2].sum())):
        crowding = (load[:, classes] * counts / totals[classes]).sum(axis=1)
        fold[group] = np.lexsort((load.sum(axis=1), crowding))[0]
        load[fold[group], classes] += counts
    return fold[groups]


def fold_of_images(labels: Rows, of: int, seed: int) -> Rows:
    """The same without groups: the shuffled images of each class are dealt out in turn."""
    luck = np.random.PCG64(seed).random_raw(len(labels))
    fold = np.zeros(len(labels), dtype=np.int64)
    dealt = 0
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        fold[rows[np.argsort(luck[rows], kind="stable")]] = (dealt + np.arange(len(rows))) % of
        dealt += len(rows)
    return fold


def _in_random_order(labels: Rows, groups: Rows, seed: int) -> Iterator[tuple[int, Rows, Rows]]:
    """Each group, the classes that it has images of, and how many.

    The raw stream of PCG64 never changes between versions of NumPy, so neither does the order.
    """
    pairs, counts = np.unique(np.stack([groups, labels]), axis=1, return_counts=True)
    ends = np.searchsorted(pairs[0], np.arange(int(groups.max(initial=-1)) + 2))
    for group in np.argsort(np.random.PCG64(seed).random_raw(len(ends) - 1), kind="stable").tolist():
        inside = slice(ends[group], ends[group + 1])
        yield group, pairs[1, inside], counts[inside]
