"""Images with labels: in memory when small, as file paths when they stream."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpg_core.data.reading.cached import Cached
from cpg_core.data.reading.resize import Resize
from cpg_core.objectives.pairs import Pairs


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a task.

    labels: int64 [N], numbered by the order of the task's classes
    shape:  (C, H, W) that the backbone takes
    images: uint8 [N, C, H, W], or None when the images stream from `files`
    files:  N paths, or () when the images are in memory
    workers: threads that decode files ahead; 0: one a processor, eight at the most
    sha256s: of each file, N of them, or () when the images are in memory
    remarks: what a person should know of how images were read -> of how many
    cached: what is kept decoded of the files; None: nothing
    resize: how images that stream are made square
    pairs: which images are compared, where that is what the split is for; labels are then the rows of the images
    """

    labels: Tensor
    shape: tuple[int, int, int]
    images: Tensor | None = None
    files: tuple[Path, ...] = ()
    workers: int = 0
    sha256s: tuple[str, ...] = ()
    remarks: Mapping[str, int] = field(default_factory=dict)
    pairs: Pairs | None = None
    cached: Cached | None = None
    resize: Resize = "crop"

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Split:
        """The split of these rows, in this order, without pairs."""
        index = torch.from_numpy(rows)
        return replace(
            self,
            labels=self.labels[index],
            images=None if self.images is None else self.images[index],
            files=tuple(self.files[row] for row in rows) if self.files else (),
            sha256s=tuple(self.sha256s[row] for row in rows) if self.sha256s else (),
            pairs=None,
            cached=None if self.cached is None else self.cached.take(rows),
        )

    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Pixels, channels last in memory, and labels on a device, where they stay as long as the split does."""
        assert self.images is not None
        if device not in self._resident:
            pixels = self.images.contiguous(memory_format=torch.channels_last)
            self._resident[device] = pixels.to(device), self.labels.to(device)
        return self._resident[device]

    @cached_property
    def _resident(self) -> dict[torch.device, tuple[Tensor, Tensor]]:
        return {}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over labels and pixels, and pairs; for streamed images over class/file name and SHA-256 of each."""
        digest = hashlib.sha256(repr((len(self), self.shape)).encode())
        digest.update(self.labels.numpy().tobytes())
        if self.images is not None:
            digest.update(self.images.contiguous().numpy().tobytes())
        for file, sha256 in zip(self.files, self.fingerprints if self.files else (), strict=True):
            digest.update(f"{file.parent.name}/{file.name}:{sha256}\n".encode())
        if self.pairs is not None:
            digest.update(self.pairs.content())
        return digest.hexdigest()

    @cached_property
    def fingerprints(self) -> tuple[str, ...]:
        """SHA-256 of each image: of its file if it streams, else of its pixels; equal images have equal ones."""
        if self.images is not None:
            return tuple(hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest() for image in self.images)
        return self.sha256s


def hold_out(labels: NDArray[np.int64], fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows into (kept, held out), `fraction` of each class held out, both in ascending order.

    The count held out of a class is rounded to the nearest. The raw stream of PCG64 never changes between versions of
    NumPy, so neither does a split.
    """
    luck = np.random.PCG64(seed).random_raw(len(labels))
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        held[rows[np.argsort(luck[rows], kind="stable")[: round(fraction * len(rows))]]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
