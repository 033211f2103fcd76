"""What a verification task trains and validates on: some people are trained, and pairs are drawn of the others.

Who is held out, and the pairs, follow from the seed. Test pairs decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np
from numpy.random import PCG64

from cpg_core.data.reading.listing import Rows
from cpg_core.data.reading.load import choose, streams
from cpg_core.data.reading.reading import Wanted, read_rows
from cpg_core.data.spec import TaskSpec
from cpg_core.data.splits.pairs import FOLDS, PairList, list_pairs
from cpg_core.data.splits.selection import Chosen
from cpg_core.data.splits.split import Split, hold_out
from cpg_core.data.summary import part_of
from cpg_core.errors import CpgError, listed
from cpg_core.objectives.pairs import Pairs
from cpg_core.seeds import derive

EACH = 20
"""Validation pairs of one person, at the most: somebody with many pictures shall not outweigh the others."""
LEAST_PEOPLE = 4
"""Two folds of two people, held out."""


def identities(spec: TaskSpec, wanted: Wanted, val_fraction: float, seed: int) -> Chosen:
    """Of a task that is tested on pairs: a share of the people is held out, and pairs of them are validated on.

    Raises:
        CpgError: a person has one picture, too few are held out, or the pairs are wrong (`list_pairs`).
    """
    assert spec.pairs is not None
    listing = spec.source.list_part("train")
    people = spec.classes or listing.names
    rows, labels = choose(listing, people)
    part = part_of(listing, people)
    if alone := [name for name, count in part.taken.items() if count == 1]:
        raise CpgError(
            f"{listing.where}: one picture of {listed(alone)}; a person needs two or more to be told "
            "from others: add pictures, remove the folder, or list the classes without it"
        )
    trained, held = hold_out(np.zeros(len(people), dtype=np.int64), val_fraction, derive(seed, "validation", spec.name))
    _need_people(spec.name, len(people), len(held), val_fraction)
    tested = list_pairs(spec.pairs)
    number = np.full(len(people), -1)
    number[trained] = np.arange(len(trained))
    to_train = np.flatnonzero(number[labels] >= 0)
    to_validate, pairs = draw_pairs(labels, held, derive(seed, "pairs", spec.name), spec.pairs.far)
    complete = spec.model_copy(update={"classes": people})
    return Chosen(
        spec=complete,
        classes=tuple(people[label] for label in trained),
        listing=listing,
        rows=rows,
        labels=np.where(number[labels] >= 0, number[labels], 0),
        kept=to_train,
        held=to_validate,
        read_test=partial(read_pairs_split, tested, wanted),
        as_val=partial(compared, pairs=pairs),
        parts=(part,),
        notes=_notes(complete, tested, pairs, len(held)),
    )


def compared(split: Split, pairs: Pairs) -> Split:
    """The split of images that these pairs compare: its labels are the rows of the images."""
    return replace(split, labels=split.labels.new_tensor(range(len(split))), pairs=pairs, remarks={})


def read_pairs_split(tested: PairList, wanted: Wanted) -> Split:
    """Read the images of the pairs that a task is tested on.

    Raises:
        CpgError: an image cannot be read.
    """
    listing = tested.listing
    rows = listing.labels
    split = read_rows(listing, "test", rows, rows, wanted, streams=streams(listing, len(rows), wanted)).split
    return replace(split, pairs=tested.pairs)


def draw_pairs(labels: Rows, held: Rows, seed: int, far: float) -> tuple[Rows, Pairs]:
    """Pairs of the people who are held out, as many of two people as of one, in folds that share nobody.

    Args:
        labels: who is on each image, int64 [N].
        held: the labels of those held out; two or more a fold.
        seed: the same gives the same pairs.
        far: as of `Pairs`.

    Returns:
        The images that are in a pair, ascending, and the pairs over them.
    """
    luck = PCG64(seed)
    folds = min(FOLDS, len(held) // 2)
    shuffled = held[_order(len(held), luck)]
    drawn: list[tuple[int, int, bool, int]] = []
    for fold in range(folds):
        members = [np.flatnonzero(labels == label).tolist() for label in shuffled[fold::folds]]
        same = [pair for images in members for pair in _some(list(combinations(images, 2)), luck)]
        drawn += [(left, right, True, fold) for left, right in same]
        for _ in same:
            one, other = (members[place] for place in _order(len(members), luck)[:2])
            drawn.append((_one_of(one, luck), _one_of(other, luck), False, fold))
    left, right, same_person, in_fold = np.array(drawn, dtype=np.int64).reshape(-1, 4).T
    used = np.unique(np.concatenate([left, right]))
    places = np.searchsorted(used, [left, right])
    return used, Pairs(places[0], places[1], same_person == 1, in_fold.copy(), images=len(used), far=far)


def _order(count: int, luck: PCG64) -> Rows:
    """So many places in random order. The raw stream of PCG64 never changes between versions of NumPy."""
    return np.argsort(luck.random_raw(count), kind="stable")


def _one_of(images: Sequence[int], luck: PCG64) -> int:
    return images[int(luck.random_raw()) % len(images)]


def _some(pairs: Sequence[tuple[int, int]], luck: PCG64) -> list[tuple[int, int]]:
    """All of them, or so many as one person may have."""
    return [pairs[place] for place in sorted(_order(len(pairs), luck)[:EACH].tolist())]


def _need_people(task: str, people: int, held: int, fraction: float) -> None:
    if people - held < 2 or (fraction > 0 and held < LEAST_PEOPLE):
        raise CpgError(
            f"task '{task}': of {people} people, a val_fraction of {fraction} leaves {people - held} to train and "
            f"{held} to draw validation pairs of; 2 and {LEAST_PEOPLE} are needed: add people, or begin a "
            "run with another val_fraction, which is one for all of its tasks: --set val_fraction=NUMBER"
        )


def _notes(spec: TaskSpec, tested: PairList, pairs: Pairs, held: int) -> tuple[str, ...]:
    lines = [f"{spec.name}: tested on {tested.line}"]
    if held:
        same = int(pairs.same.sum())
        lines.append(
            f"{spec.name}: validated on {same:,} + {same:,} pairs drawn of {held:,} people who are not trained"
        )
    if tested.shared:
        lines.append(
            f"{spec.name}: in several folds of the test pairs: {listed(sorted(tested.shared))}; so thresholds are "
            "found on people whom they are used on: order the pairs so that each tenth of a kind has people of its own"
        )
    people = spec.classes or ()
    if known := sorted(tested.people.intersection(people)):
        lines.append(f"{spec.name}: in the test pairs and in training alike: {listed(known)}")
    return (*lines, *spec.source.unused())
