"""Whole batches at once: normalise, random crop, flip, cutout. What is blotted out is 0, the mean of the task.

What is random is drawn on the processor, apart from what is done with it: so a batch is the same on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from cpg_core.data.fields import Augment


class Draws(NamedTuple):
    """What is drawn for the B images of a batch; None where the augmentation does not ask for it.

    corner:  int64 [2, B], top and left of the crop in the padded image
    flipped: bool [B]
    hole:    int64 [2, B], top and left of the square that is blotted out; below 0 where it begins outside
    """

    corner: Tensor | None = None
    flipped: Tensor | None = None
    hole: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Draws:
        """The draws with each tensor changed."""
        return Draws(*(None if tensor is None else change(tensor) for tensor in self))


def draw(augment: Augment, count: int, height: int, width: int, generator: Generator) -> Draws:
    """Draw for `count` images of height x width."""
    corner = flipped = hole = None
    if augment.crop_padding:
        corner = torch.randint(2 * augment.crop_padding + 1, (2, count), generator=generator)
    if augment.flip:
        flipped = torch.rand(count, generator=generator) < 0.5
    if augment.cutout:
        middles = [torch.randint(length, (count,), generator=generator) for length in (height, width)]
        hole = torch.stack(middles) - augment.cutout // 2
    return Draws(corner, flipped, hole)


def join(draws: Sequence[Draws]) -> Draws:
    """The draws of several batches, as of one."""
    return Draws(*(None if parts[0] is None else torch.cat(parts, dim=-1) for parts in zip(*draws, strict=True)))


def augmented(images: Tensor, augment: Augment, draws: Draws) -> Tensor:
    """Do to float [B, C, H, W] what was drawn, on the device where both are; channels last in memory."""
    if draws.corner is not None:
        images = crop(images, augment.crop_padding, draws.corner)
    if draws.flipped is not None:
        images = flip(images, draws.flipped)
    if draws.hole is not None:
        images = cut_out(images, augment.cutout, draws.hole)
    return images.contiguous(memory_format=torch.channels_last)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Normalise uint8 [B, C, H, W] by mean and std [C] to float32, channels last in memory."""
    scale, shift = (1 / (255 * std)).to(images.device), (mean / std).to(images.device)
    batch = images.float().contiguous(memory_format=torch.channels_last)
    return batch.mul_(scale.view(-1, 1, 1)).sub_(shift.view(-1, 1, 1))


def crop(images: Tensor, padding: int, corner: Tensor) -> Tensor:
    """Pad float [B, C, H, W] by `padding` zeros on each side and crop each image at its corner [2, B] to H x W."""
    count, _, height, width = images.shape
    padded = pad(images, (padding,) * 4).permute(0, 2, 3, 1)
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # every crop, as a view: [B, 2p+1, 2p+1, C, H, W]
    return windows[torch.arange(count, device=images.device), corner[0], corner[1]]


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    """Mirror those images of [B, C, H, W] left to right that are flipped [B]."""
    return torch.where(flipped.view(-1, 1, 1, 1), images.flip(3), images)


def cut_out(images: Tensor, side: int, hole: Tensor) -> Tensor:
    """Set a square of each image of [B, C, H, W] to 0, from its hole [2, B] on; it may lie partly outside."""
    count, _, height, width = images.shape

    def inside(start: Tensor, length: int) -> Tensor:
        place = torch.arange(length, device=images.device)
        return (place >= start.view(-1, 1)) & (place < start.view(-1, 1) + side)

    hidden = inside(hole[0], height).view(count, 1, height, 1) & inside(hole[1], width).view(count, 1, 1, width)
    return images.masked_fill(hidden, 0.0)
