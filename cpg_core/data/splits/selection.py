"""Which images of its source a task trains and validates on: chosen before any is decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from cpg_core.data.fields import Part as PartName
from cpg_core.data.reading.listing import Listing, Rows
from cpg_core.data.reading.load import choose, streams
from cpg_core.data.reading.reading import Wanted, read_rows
from cpg_core.data.spec import TaskSpec
from cpg_core.data.splits.split import Split
from cpg_core.data.splits.validation import Validation
from cpg_core.data.splits.validation_split import HeldOut, held_out
from cpg_core.data.summary import Part, part_of
from cpg_core.errors import CpgError, listed
from cpg_core.seeds import derive

FOLDS = 4
"""That are advised where a share of the images leaves none to validate on."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """What a task takes of its source.

    spec:      the task, its classes always listed
    classes:   that it is trained on
    listing:   the train part of its source
    rows:      of the listing: those to train and those to validate on, ascending
    labels:    of `rows`
    kept:      places in `rows`, to train on; `held`: to validate on
    read_test: reads the test split
    as_val:    makes the validation split of the images in `held`
    read_val:  reads the validation split, where it is a part of its own; None: it is `held` out of train
    parts, notes: for `Summary`
    """

    spec: TaskSpec
    classes: tuple[str, ...]
    listing: Listing
    rows: Rows
    labels: Rows
    kept: Rows
    held: Rows
    read_test: Callable[[], Split]
    as_val: Callable[[Split], Split]
    read_val: Callable[[], Split] | None = None
    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()


def labelled_images(spec: TaskSpec, wanted: Wanted, val_fraction: float, seed: int) -> Chosen:
    """Of a task that is tested on labelled images: what its source names to validate on, or what is held out of train.

    Raises:
        CpgError: a class is missing or empty, more is left out than taken, or a class is left without images.
    """
    names: tuple[PartName, ...] = ("train", "test", "val") if spec.source.has_val else ("train", "test")
    listings = {name: spec.source.list_part(name) for name in names}
    classes = spec.classes or _classes_of(listings)
    if len(classes) < 2:
        raise CpgError(
            f"{listings['train'].where}: a task needs two classes or more, and there is {list(classes)} alone"
        )
    found = {name: choose(listing, classes) for name, listing in listings.items()}
    parts = tuple(part_of(listing, classes) for listing in listings.values())
    rows, labels = found["train"]

    def read(name: PartName) -> Split:
        listing, streamed = listings[name], streams(listings[name], len(found[name][0]), wanted)
        return read_rows(listing, name, *found[name], wanted, streams=streamed).split

    if "val" in listings:
        everything = np.arange(len(rows))
        held = HeldOut(everything, everything[:0], "", (_validated_on(spec, listings["val"]),))
    else:
        held = held_out(
            spec.validation, listings["train"], rows, labels, val_fraction, derive(seed, "validation", spec.name)
        )
        validates = val_fraction > 0 or _names_validation_images(spec)
        _need_all_classes(spec, classes, labels[held.kept], labels[held.held], held.why, validates=validates)
    return Chosen(
        spec=spec.model_copy(update={"classes": classes}),
        classes=classes,
        listing=listings["train"],
        rows=rows,
        labels=labels,
        kept=held.kept,
        held=held.held,
        read_test=partial(read, "test"),
        as_val=_without_remarks,
        read_val=partial(read, "val") if "val" in listings else None,
        parts=parts,
        notes=(*(f"{spec.name}: {line}" for line in held.lines), *spec.source.unused()),
    )


def _names_validation_images(spec: TaskSpec) -> bool:
    """Whether the task names its validation images, by a fold or lists, so that no share of them is drawn."""
    split = spec.validation
    return split is not None and (split.fold is not None or split.files is not None)


def _validated_on(spec: TaskSpec, val: Listing) -> str:
    """What the accuracies of a task mean whose source has a validation split of its own."""
    if spec.source.imitates:
        return "accuracy is the share of images, not trained on, that get the unpruned network's answer"
    return f"validated on {val.where}"


def _without_remarks(split: Split) -> Split:
    """Those of all that is not test are told of the training split."""
    return replace(split, remarks={})


def _classes_of(listings: dict[PartName, Listing]) -> tuple[str, ...]:
    """All classes of the source, which its other parts must not have more of than train."""
    train = listings["train"]
    for listing in listings.values():
        if extra := [name for name in listing.names if name not in train.names]:
            quoted = [f"'{name}'" for name in extra]
            raise CpgError(
                f"{listing.where}: class {listed(quoted, 1)} is not in train, which has {list(train.names[:12])}; "
                "add training images, or list the classes without it: classes: [...]"
            )
    return train.names


def _need_all_classes(
    spec: TaskSpec, classes: tuple[str, ...], train: Rows, val: Rows, why: str, *, validates: bool
) -> None:
    to_train, to_validate = (np.bincount(labels, minlength=len(classes)).tolist() for labels in (train, val))
    for name, left, held in zip(classes, to_train, to_validate, strict=True):
        if left == 0 or (held == 0 and validates):
            fewest = min(map(sum, zip(to_train, to_validate, strict=True)))
            raise CpgError(
                f"task '{spec.name}': class '{name}' has {left + held} training image(s), and {why} "
                f"leaves {left} to train and {held} to validate on; {_remedy(spec.validation, fewest)}"
            )


def _remedy(validation: Validation | None, fewest: int) -> str:
    """What helps where a class of so many images is the smallest; `val_fraction` is the run's, which may be fixed."""
    if validation is not None:
        group = " of another group" if validation.group is not None else ""
        return f"add images{group} or change validation"
    fold = f"validation: {{fold: {{of: {min(FOLDS, fewest)}, index: 1}}}} or " if fewest > 1 else ""
    named = "source: {splits: {val: NAME}} (folders and parquet files)"
    return f"add images, or say in the task what it validates on: {fold}{named}"
