"""Which images of its source a task trains and validates on: chosen before any is decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from cpg_core.data.listing import Listing, Rows
from cpg_core.data.load import choose, streams
from cpg_core.data.reading import Wanted, read_rows
from cpg_core.data.spec import TaskSpec
from cpg_core.data.split import Split, hold_out
from cpg_core.data.summary import Part, part_of
from cpg_core.errors import CpgError
from cpg_core.seeds import derive


def as_read(split: Split) -> Split:
    """The split itself."""
    return split


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
    as_val: Callable[[Split], Split] = as_read
    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()


def labelled_images(spec: TaskSpec, wanted: Wanted, val_fraction: float, seed: int) -> Chosen:
    """Of a task that is tested on labelled images: a share of each class is held out to validate on.

    Raises:
        CpgError: a class is missing or empty, more is left out than taken, or the share leaves a class without images.
    """
    listings = spec.source.list_part("train"), spec.source.list_part("test")
    classes = spec.classes or _classes_of(listings)
    chosen = [choose(listing, classes) for listing in listings]
    parts = tuple(part_of(listing, classes) for listing in listings)
    (rows, labels), (test_rows, test_labels) = chosen
    kept, held = hold_out(labels, val_fraction, derive(seed, "validation", spec.name))
    _need_all_classes(spec.name, classes, labels[kept], labels[held], val_fraction)

    def read_test() -> Split:
        streamed = streams(listings[1], len(test_rows), wanted)
        return read_rows(listings[1], "test", test_rows, test_labels, wanted, streams=streamed).split

    complete = spec.model_copy(update={"classes": classes})
    notes = spec.source.unused()
    return Chosen(complete, classes, listings[0], rows, labels, kept, held, read_test, _without_remarks, parts, notes)


def _without_remarks(split: Split) -> Split:
    """Those of all that is not test are told of the training split."""
    return replace(split, remarks={})


def _classes_of(listings: tuple[Listing, Listing]) -> tuple[str, ...]:
    """All classes of the source, which train and test must agree on."""
    train, test = listings
    if extra := [name for name in test.names if name not in train.names]:
        raise CpgError(
            f"{test.where}: class '{extra[0]}'{f' and {len(extra) - 1} more' if extra[1:] else ''} is not in train, "
            f"which has {list(train.names[:12])}; add training images, or list the classes without it: classes: [...]"
        )
    return train.names


def _need_all_classes(task: str, classes: tuple[str, ...], train: Rows, val: Rows, fraction: float) -> None:
    for label, name in enumerate(classes):
        left, held = (int((labels == label).sum()) for labels in (train, val))
        if left == 0 or (held == 0 and fraction > 0):
            raise CpgError(
                f"task '{task}': class '{name}' has {left + held} training image(s), and a val_fraction of {fraction} "
                f"leaves {left} to train and {held} to validate on; add images or change val_fraction"
            )
