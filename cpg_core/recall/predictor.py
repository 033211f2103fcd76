"""A run answers: images as a request gives them in, and out what the task's objective says, for any of its tasks.

Nothing is written, so that a run may be served from a place that is read only.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cpg_core import objectives
from cpg_core.backbones import Input
from cpg_core.data.batches import eval_batches
from cpg_core.data.reading.decode import decode, to_pixels
from cpg_core.data.reading.reading import Broken
from cpg_core.data.reading.resize import Resize, fit
from cpg_core.data.splits.split import Split
from cpg_core.errors import CpgError
from cpg_core.machine import deterministic
from cpg_core.methods import assembly_of
from cpg_core.model.network import Network
from cpg_core.model.state import Shared
from cpg_core.recall.network_cache import NetworkCache
from cpg_core.stages.freezing.recalled_network import network_of
from cpg_core.storage.files import Damaged
from cpg_core.storage.records import TaskRecord
from cpg_core.storage.run import Run
from cpg_core.training.evaluation import eval_mode


@dataclass(frozen=True)
class Answer:
    """What a task says of images.

    logits: or embeddings, float32 `[N, numbers]`, on the CPU
    content: what they mean, for JSON, such as classes and their probabilities
    """

    logits: Tensor
    content: dict[str, object]

    def likeliest(self, count: int) -> list[list[tuple[str, float]]]:
        """Of each image the likeliest classes with their probabilities, so many or all there are, likeliest first.

        Raises:
            CpgError: the task has none.
        """
        classes, rows = self.content.get("classes"), self.content.get("probabilities")
        if not isinstance(classes, list) or not isinstance(rows, list):
            raise CpgError("this task has no classes, it compares pairs of images: use cpg eval or the served model")
        order = self.logits.argsort(dim=1, descending=True, stable=True)[:, :count].tolist()
        return [[(classes[k], row[k]) for k in labels] for labels, row in zip(order, rows, strict=True)]


class Serving:
    """The frozen tasks of a run, ready to answer; may be asked from several threads.

    Args:
        run: what is frozen of it.
        only: the one task that is asked; where a later one is damaged, those up to it are ready all the same.

    Raises:
        Damaged: naming the checkpoint file that is damaged or missing.
    """

    def __init__(self, run: Run, only: str | None = None) -> None:
        self._run, self._assembly = run, assembly_of(run)
        names = [task.name for task in run.spec.tasks]
        try:
            last = run.last_frozen() if self._assembly.independent else run.frozen()
            self._shared = self._built(last)
        except Damaged:
            if only not in names or self._assembly.overwrites or not run.is_frozen(names.index(only) + 1):
                raise
            last = names.index(only) + 1
            self._shared = self._built(last)
        self._tasks = {name: index for index, name in enumerate(names[:last], 1)}
        self._records: dict[str, TaskRecord] = {}
        self._networks = NetworkCache()
        # The number of torch's threads is one for the whole process.
        self._one_at_a_time = threading.Lock()

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks, in the order in which they were learned."""
        return tuple(self._tasks)

    @property
    def input(self) -> Input:
        """What images are made into."""
        return self._run.input

    @property
    def batch_size(self) -> int:
        """Images that are computed together: the last bits of an answer may depend on who shares its batch."""
        return self._run.spec.settings.eval_batch_size

    def answer(self, task: str, images: object) -> Answer:
        """What a task says of images.

        Args:
            task: the task's name.
            images: as for `read_images`.

        Raises:
            CpgError: there is no such task, or an image cannot be read.
            Damaged: the task's checkpoint is damaged.
        """
        return self.answer_pixels(task, read_images(images, self.input, self.resize(task)))

    def answer_pixels(self, task: str, pixels: Tensor) -> Answer:
        """What a task says of images that were made to fit: uint8 `[N, C, size, size]`.

        Raises:
            CpgError: there is no such task.
            Damaged: the task's checkpoint is damaged.
        """
        self.require(task)
        shape = (self.input.channels, self.input.size, self.input.size)
        split = Split(torch.zeros(len(pixels), dtype=torch.int64), shape, pixels)
        with self._one_at_a_time:
            record = self._record(task)
            with deterministic(record.machine.threads), eval_mode(self._network(task)) as network:
                device = network.device
                mean, std = torch.tensor(record.mean), torch.tensor(record.std)
                batches = eval_batches(split, mean, std, self.batch_size, device)
                logits = torch.cat([network(batch).cpu() for batch, _ in batches])
        return Answer(logits, objectives.of(record.objective).answer(logits, record.classes, record.figures))

    def resize(self, task: str) -> Resize:
        """How a task's images are made square.

        Raises:
            CpgError: there is no such task.
        """
        self.require(task)
        return self._run.spec.tasks[self._tasks[task] - 1].augment.resize

    def require(self, task: str) -> None:
        """That there is such a task.

        Raises:
            CpgError: there is not.
        """
        if task not in self._tasks:
            raise self._run.unknown_task(task, self.tasks)

    def switch(self, task: str) -> None:
        """Put the network of a task together, unless it is ready: what `answer` does first.

        Raises:
            CpgError: there is no such task.
            Damaged: the task's checkpoint is damaged.
        """
        self.require(task)
        with self._one_at_a_time:
            self._network(task)

    def _built(self, last: int) -> Shared:
        """The weights that tasks 1 to `last` share: of independent ones none, and a file of each is read when asked."""
        return self._assembly.rebuild(0 if self._assembly.independent else last)

    def _record(self, task: str) -> TaskRecord:
        """The record of a task, which is small: kept when the network of the task is not."""
        if task not in self._records:
            self._records[task] = self._run.record(self._tasks[task]).model_copy(update={"stages": ()})
        return self._records[task]

    def _network(self, task: str) -> Network:
        def make() -> Network:
            return network_of(self._assembly, self._shared, *self._assembly.recallable(self._tasks[task]))

        return self._networks.get(task, make)


def read_images(images: object, wanted: Input, resize: Resize = "crop") -> Tensor:
    """Images of any size as uint8 `[N, C, size, size]`, made to fit as the images of a data set are.

    Args:
        images: a list of images, each height x width x channels (1 grey, 3 RGB, 4 RGBA) whole numbers from 0 to 255,
            as nested lists or an array, or the base64 text of an image file; or one such image alone.
        wanted: what the backbone takes.
        resize: how they are made square.

    Raises:
        CpgError: naming every image that cannot be read, counted from 1.
    """
    if isinstance(images, str) or _depth(images) == 3:
        images = [images]
    if not isinstance(images, Sequence | np.ndarray) or len(images) == 0:
        raise CpgError(f"expected a list of one image or more, got {_shown(images)}")
    fitted, errors = list[Tensor](), list[CpgError]()
    for number, image in enumerate(images, 1):
        try:
            pixels = _pixels(image, wanted.channels, f"image {number}")
            fitted.append(fit(torch.from_numpy(pixels).permute(2, 0, 1), wanted.size, resize))
        except CpgError as error:
            errors.append(error)
    if errors:
        raise Broken(errors, len(images))
    return torch.stack(fitted)


def _pixels(image: object, channels: int, where: str) -> NDArray[np.uint8]:
    """One image as uint8 `[H, W, C]`."""
    if isinstance(image, str):
        try:
            # Base64 comes in lines, as `base64 FILE` and Python's encodebytes write it.
            return decode(base64.b64decode("".join(image.split()), validate=True), channels, where)
        except ValueError as error:  # of which binascii.Error is one
            raise CpgError(f"{where}: text that is not base64 ({error}); expected an image file in base64") from error
    expected = f"{where}: expected height x width x channels (1, 3 or 4)"
    try:
        values: NDArray[Any] = np.asarray(image)
    except ValueError as error:
        raise CpgError(f"{expected}, got rows that differ in length") from error
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or values.size == 0:
        raise CpgError(f"{expected}, got {_shown(image)} of shape {list(values.shape)}")
    if not np.issubdtype(values.dtype, np.integer) or values.min() < 0 or values.max() > 255:
        raise CpgError(f"{where}: expected whole numbers from 0 to 255; scale them, or send the image file as base64")
    whole = values.astype(np.uint8)
    return to_pixels(Image.fromarray(whole[:, :, 0] if whole.shape[2] == 1 else whole), channels)


def _depth(item: object) -> int:
    """How deep lists or arrays are nested."""
    depth = 0
    while isinstance(item, Sequence | np.ndarray) and not isinstance(item, str) and len(item):
        depth, item = depth + 1, item[0]
    return depth


def _shown(item: object) -> str:
    return "an empty list" if isinstance(item, Sequence) and len(item) == 0 else type(item).__name__
