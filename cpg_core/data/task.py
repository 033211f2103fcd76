"""The data of one task, ready for training: train, validation and test split, and how to normalise them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cpg_core.config.suggestions import did_you_mean
from cpg_core.data.fields import Augment, MeanStd, Normalise
from cpg_core.data.reading.block_cache import NOTHING_KEPT, Keep, Levels
from cpg_core.data.reading.listing import Rows
from cpg_core.data.reading.load import load, streams
from cpg_core.data.reading.reading import Broken, Progress, Read, Wanted, count_levels, read_rows, silent
from cpg_core.data.sources.folder import list_classes
from cpg_core.data.spec import TaskSpec
from cpg_core.data.splits.identities import identities, read_pairs_split
from cpg_core.data.splits.pairs import list_pairs
from cpg_core.data.splits.selection import Chosen, labelled_images
from cpg_core.data.splits.split import Split
from cpg_core.data.summary import Part, Summary, part_of
from cpg_core.errors import CpgError

STATISTICS_FILES = 4096  # streamed images that mean and standard deviation are computed from, at the most
ONE_GREY_LEVEL = 1 / 255


@dataclass(frozen=True, eq=False)
class TaskData:
    """The data of one task. The test images are read the first time that someone asks for `test`.

    spec: the task's definition, its classes always listed: keep this to read the same data again
    mean, std: float32 [C], of pixels in [0, 1]
    parts, notes: what of the source is taken and left out, for `summary`
    """

    spec: TaskSpec
    classes: tuple[str, ...]
    train: Split
    val: Split
    mean: Tensor
    std: Tensor
    read_test: Callable[[], Split] = field(repr=False)
    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The task's name."""
        return self.spec.name

    @property
    def augment(self) -> Augment:
        """What happens to training images."""
        return self.spec.augment

    @cached_property
    def test(self) -> Split:
        """The test split; no decision may depend on it."""
        return self.read_test()

    def deciding(self, goal_split: str) -> Split:
        """The split that decisions may look at: `val`, or `test` in the paper's protocol."""
        return self.val if goal_split == "val" else self.test

    @cached_property
    def summary(self) -> Summary:
        """What a person should know of the images. Reads the test split, so that it is known to be readable."""
        remarks = Counter(self.train.remarks)  # of all that is not test
        remarks.update(self.val.remarks)  # none, where it is held out of train
        remarks.update(self.test.remarks)
        known = {*self.train.fingerprints, *self.val.fingerprints}
        repeated = sum(fingerprint in known for fingerprint in self.test.fingerprints)
        counts = len(self.train), len(self.val), len(self.test)
        return Summary(self.name, len(self.classes), counts, self.parts, self.notes, remarks, repeated)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the content of train, val and test, so that changed data are noticed. Reads the test split."""
        parts = ":".join(split.digest for split in (self.train, self.val, self.test))
        return hashlib.sha256(parts.encode()).hexdigest()


def load_task_data(
    spec: TaskSpec,
    *,
    image_size: int,
    channels: int,
    val_fraction: float,
    seed: int,
    workers: int = 0,
    progress: Progress = silent,
    keep: Keep = NOTHING_KEPT,
    cache_bytes: int = 0,
) -> TaskData:
    """Read a task for a backbone that takes `channels` x `image_size` x `image_size`; the others as of `Wanted`.

    Unless the task says what to validate on, `val_fraction` of each class is held out of the training data; the same
    seed and task name hold out the same images. With 0, only for comparison with runs that had no validation split,
    `val` is empty. Of a task that is tested on pairs it is a share of the classes, which are not trained, and `val` and
    `test` have pairs.

    Raises `CpgError` if anything is missing or unreadable, if more is left out than taken, if a class has no test
    images, or too few to hold one out; `Broken` names all images that cannot be read, those of test included.
    """
    wanted = Wanted(channels, image_size, workers, progress, keep, spec.augment.resize, cache_bytes)
    choice = labelled_images if spec.pairs is None else identities
    chosen = choice(spec, wanted, val_fraction, seed)  # before any image is decoded
    fixed = _fixed_mean_std(spec.normalise, channels)
    read = _read_train(chosen, wanted, chosen.kept if fixed is None else chosen.kept[:0])
    train, val = read.split.take(chosen.kept), _read_val(chosen, read.split.take(chosen.held))
    mean, std = fixed or _mean_std(read.levels if read.levels is not None else _levels(train))
    return TaskData(chosen.spec, chosen.classes, train, val, mean, std, chosen.read_test, chosen.parts, chosen.notes)


def load_test_split(spec: TaskSpec, wanted: Wanted) -> Split:
    """Read the test images of a complete task alone, as `TaskData.test` has them.

    Raises `CpgError` as `load_task_data` does.
    """
    if spec.pairs is not None:
        return read_pairs_split(list_pairs(spec.pairs), wanted)
    listing = spec.source.list_part("test")
    return load(listing, spec.classes or listing.names, wanted)


def load_eval_split(folder: Path, classes: tuple[str, ...], wanted: Wanted, *, subfolders: bool = False) -> Split:
    """Read the images of `folder/test/CLASS/*`, or of `folder/CLASS/*` if there is no `test`, to evaluate a task on.

    Classes may be absent; a folder that is none of the task's classes raises `CpgError`, as an unreadable image does.
    """
    folder = folder.expanduser()
    inner = folder / "test"
    listing = list_classes(inner if inner.is_dir() and "test" not in classes else folder, subfolders=subfolders)
    for name in listing.names:
        if name not in classes:
            hint = did_you_mean(name, classes)
            raise CpgError(f"{listing.where}: folder '{name}' is no class of the task{hint} Classes: {list(classes)}")
    part_of(listing, listing.names)
    split = load(listing, listing.names, wanted)
    number = torch.tensor([classes.index(name) for name in listing.names])
    return replace(split, labels=number[split.labels])


def _read_train(chosen: Chosen, wanted: Wanted, counted: Rows) -> Read:
    """Read the train part, and where images are broken name those of the other parts with them.

    Mean and standard deviation are computed from the images at the places `counted`, or some of them.
    """
    sampled = frozenset(counted[:: -(-len(counted) // STATISTICS_FILES)].tolist()) if len(counted) else frozenset[int]()
    streamed = streams(chosen.listing, len(chosen.rows), wanted)
    wanted = replace(wanted, cropped=chosen.spec.augment.random_resized_crop)
    try:
        return read_rows(chosen.listing, "train", chosen.rows, chosen.labels, wanted, streams=streamed, sampled=sampled)
    except Broken as broken:
        raise _with_those_of(broken, chosen.read_val, chosen.read_test) from None


def _with_those_of(broken: Broken, *others: Callable[[], Split] | None) -> Broken:
    """The broken images of a part, and those of other parts."""
    errors, of = list(broken.errors), broken.of
    for read in others:
        try:
            of += 0 if read is None else len(read())
        except Broken as also:
            errors, of = [*errors, *also.errors], of + also.of
    return Broken(errors, of)


def _read_val(chosen: Chosen, held: Split) -> Split:
    """The validation split: of the images held out, or a part of its own."""
    if chosen.read_val is None:
        return chosen.as_val(held)
    try:
        return chosen.read_val()
    except Broken as broken:
        raise _with_those_of(broken, chosen.read_test) from None


def _fixed_mean_std(normalise: Normalise, channels: int) -> tuple[Tensor, Tensor] | None:
    """Mean and standard deviation that do not depend on the images; None if they do."""
    if isinstance(normalise, MeanStd):
        if len(normalise.mean) != channels:
            raise CpgError(f"normalise: mean has {len(normalise.mean)} values; the backbone takes {channels} channels")
        return torch.tensor(normalise.mean), torch.tensor(normalise.std)
    return (torch.zeros(channels), torch.ones(channels)) if normalise == "none" else None


def _levels(train: Split) -> Levels:
    assert train.images is not None
    return count_levels(train.images.permute(0, 2, 3, 1).numpy())


def _mean_std(counts: Levels) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation a channel, float32 [C], for pixels in [0, 1].

    Counts are whole numbers, so the result does not depend on the order or number of threads.
    """
    levels, total = np.arange(256) / 255.0, counts.sum(1)
    mean = (counts @ levels) / total
    std = np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(1) / total)
    return torch.from_numpy(mean).float(), torch.from_numpy(std.clip(ONE_GREY_LEVEL)).float()
