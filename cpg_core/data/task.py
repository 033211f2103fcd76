"""The data of one task, ready for training: train, validation and test split, and how to normalise them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cpg_core.config.suggestions import did_you_mean
from cpg_core.data.fetch import Order, fetch
from cpg_core.data.fields import Augment, MeanStd, Normalise
from cpg_core.data.folder import list_classes
from cpg_core.data.source import choose, list_part, load
from cpg_core.data.spec import TaskSpec
from cpg_core.data.split import Split, hold_out
from cpg_core.errors import CpgError
from cpg_core.seeds import derive

STATISTICS_FILES = 4096  # streamed images that mean and standard deviation are computed from, at the most
ONE_GREY_LEVEL = 1 / 255


@dataclass(frozen=True, eq=False)
class TaskData:
    """The data of one task. The test images are read the first time that someone asks for `test`.

    spec: the task's definition, its classes always listed: keep this to read the same data again
    mean, std: float32 [C], of pixels in [0, 1]
    """

    spec: TaskSpec
    classes: tuple[str, ...]
    train: Split
    val: Split
    mean: Tensor
    std: Tensor
    read_test: Callable[[], Split] = field(repr=False)

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

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the content of train, val and test, so that changed data are noticed. Reads the test split."""
        parts = ":".join(split.digest for split in (self.train, self.val, self.test))
        return hashlib.sha256(parts.encode()).hexdigest()


def load_task_data(
    spec: TaskSpec, *, image_size: int, channels: int, val_fraction: float, seed: int, workers: int = 0
) -> TaskData:
    """Read a task for a backbone that takes `channels` x `image_size` x `image_size`; `workers` as of `Split`.

    `val_fraction` of each class is held out of the training data; the same seed and task name hold out the same
    images. With 0, only for comparison with runs that had no validation split, `val` is empty.

    Raises `CpgError` if anything is missing or unreadable, if a class has no test images, or too few to hold one out.
    """
    if not 0 <= val_fraction < 1:
        raise CpgError(f"val_fraction is {val_fraction}; expected at least 0 and below 1")
    listings = list_part(spec.source, "train"), list_part(spec.source, "test")
    classes = spec.classes or listings[0].names
    for listing in listings:  # before any image is decoded
        choose(listing, classes)
    read_train, read_test = (
        partial(load, part, classes, image_size=image_size, channels=channels, workers=workers) for part in listings
    )
    everything = read_train()
    kept, held = hold_out(everything.labels.numpy(), val_fraction, derive(seed, "validation", spec.name))
    train, val = everything.take(kept), everything.take(held)
    _need_all_classes(spec.name, classes, train, val, val_fraction)
    mean, std = _mean_std(spec.normalise, train)
    complete = spec.model_copy(update={"classes": classes})
    return TaskData(complete, classes, train, val, mean, std, read_test)


def load_eval_split(folder: Path, classes: tuple[str, ...], *, image_size: int, channels: int) -> Split:
    """Read the images of `folder/test/CLASS/*`, or of `folder/CLASS/*` if there is no `test`, to evaluate a task on.

    Classes may be absent; a folder that is none of the task's classes raises `CpgError`, as an unreadable image does.
    """
    inner = folder / "test"
    listing = list_classes(inner if inner.is_dir() and "test" not in classes else folder)
    for name in listing.names:
        if name not in classes:
            hint = did_you_mean(name, classes)
            raise CpgError(f"{listing.where}: folder '{name}' is no class of the task{hint} Classes: {list(classes)}")
    split = load(listing, listing.names, image_size=image_size, channels=channels)
    number = torch.tensor([classes.index(name) for name in listing.names])
    return replace(split, labels=number[split.labels])


def _need_all_classes(task: str, classes: tuple[str, ...], train: Split, val: Split, fraction: float) -> None:
    for label, name in enumerate(classes):
        left, held = (int((split.labels == label).sum()) for split in (train, val))
        if left == 0 or (held == 0 and fraction > 0):
            raise CpgError(
                f"task '{task}': class '{name}' has {left + held} training image(s), and a val_fraction of {fraction} "
                f"leaves {left} to train and {held} to validate on; add images or change val_fraction"
            )


def _mean_std(normalise: Normalise, train: Split) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation a channel, float32 [C], for pixels in [0, 1]."""
    channels = train.shape[0]
    if isinstance(normalise, MeanStd):
        if len(normalise.mean) != channels:
            raise CpgError(f"normalise: mean has {len(normalise.mean)} values; the backbone takes {channels} channels")
        return torch.tensor(normalise.mean), torch.tensor(normalise.std)
    if normalise == "none":
        return torch.zeros(channels), torch.ones(channels)
    # Counts are whole numbers, so the result does not depend on the order or number of threads.
    counts = np.zeros((channels, 256), dtype=np.int64)
    used = torch.arange(len(train))[:: -(-len(train) // STATISTICS_FILES) if train.files else 1]
    for images in fetch(train, [Order(rows) for rows in torch.split(used, 64)]):
        counts += [np.bincount(images[:, c].numpy().ravel(), minlength=256) for c in range(channels)]
    levels, total = np.arange(256) / 255.0, counts.sum(1)
    mean = (counts @ levels) / total
    std = np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(1) / total)
    return torch.from_numpy(mean).float(), torch.from_numpy(std.clip(ONE_GREY_LEVEL)).float()
