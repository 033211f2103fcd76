"""What is taken of a task's images, what is left out and why: in lines for people, and as a reason to stop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cpg_core.data.reading.listing import LeftOut, Listing
from cpg_core.errors import CpgError

SHOWN_CLASSES = 12
SHOWN_REASONS = 5


@dataclass(frozen=True)
class Part:
    """What is taken of one part of a source.

    where:    what an error calls it
    taken:    images of each class of the task
    left_out: of those classes, and of the whole part where no class is known
    """

    where: str
    taken: Mapping[str, int]
    left_out: tuple[LeftOut, ...] = ()

    def lines(self) -> list[str]:
        """A line for each class of which something is left out, and one for what has no class."""
        by_class: dict[str | None, list[LeftOut]] = {}
        for left_out in self.left_out:
            by_class.setdefault(left_out.name, []).append(left_out)
        told = [
            f"{self.where}, class '{name}': {self.taken[name]} taken, left out{because(by_class[name])}"
            for name in self.taken
            if name in by_class
        ]
        if len(told) > SHOWN_CLASSES:
            told = [*told[:SHOWN_CLASSES], f"{self.where}: and of {len(told) - SHOWN_CLASSES} more classes"]
        if None in by_class:
            told.append(f"{self.where}: left out{because(by_class[None])}")
        return told


def part_of(listing: Listing, classes: Sequence[str]) -> Part:
    """What a task with these classes takes of a listing that has them all.

    Raises `CpgError` where more is left out than taken: of a class, or without a class of the whole listing.
    """
    counts = np.bincount(listing.labels[listing.labels >= 0], minlength=len(listing.names)).tolist()
    taken = {name: counts[listing.names.index(name)] for name in classes}
    left_out = tuple(item for item in listing.left_out if item.name is None or item.name in taken)
    for name, most in [*taken.items(), (None, sum(counts))]:
        items = [item for item in left_out if item.name == name]
        if sum(item.number for item in items if item.counts) > most:
            what = listing.where if name is None else f"{listing.where}, class '{name}'"
            raise CpgError(
                f"{what}: more is left out than taken ({most} taken){because(items)}; "
                "move or convert what is left out, or remove it if it is not wanted"
            )
    return Part(listing.where, taken, left_out)


def because(items: Iterable[LeftOut]) -> str:
    """`: 30 in folders inside the class's, 1 hidden`; nothing of nothing."""
    counts = Counter[str]()
    for item in items:
        counts[item.reason] += item.number
    shown = [f"{count} {reason}" for reason, count in counts.most_common(SHOWN_REASONS)]
    if len(counts) > SHOWN_REASONS:
        shown.append(f"and {sum(counts.values()) - sum(n for _, n in counts.most_common(SHOWN_REASONS))} more")
    return f": {', '.join(shown)}" if shown else ""


@dataclass(frozen=True)
class Summary:
    """What is taken of a task's images.

    task:     its name
    classes:  how many it has
    counts:   images to train and to validate on, and test images
    parts:    train and test
    notes:    further lines, such as on what lies beside them
    remarks:  what a person should know of how images were read -> of how many
    repeated: test images of which an equal one is in train
    """

    task: str
    classes: int
    counts: tuple[int, int, int]
    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()
    remarks: Mapping[str, int] | None = None
    repeated: int = 0

    def lines(self) -> list[str]:
        """One line if all is plain, and one more for each thing that is not."""
        train, val, test = self.counts
        held_out = f", {val:,} to validate" if val else ""
        lines = [f"images of {self.task}: {self.classes} classes, {train:,} to train{held_out}, {test:,} to test"]
        for part in self.parts:
            lines += part.lines()
        lines += [f"{self.task}: {count:,} {remark}" for remark, count in sorted((self.remarks or {}).items())]
        if self.repeated:
            lines.append(
                f"{self.task}: {self.repeated:,} of the {test:,} test images are equal to one of train; "
                "the test accuracy counts them"
            )
        return lines + list(self.notes)
