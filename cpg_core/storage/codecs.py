"""How a delta's values and masks become the tensors of its file, and back.

A file names its codec in the entry `codec`. Files without one have the first codec, which writes no entry, so that
they keep their bytes. Another codec is another member of `CODECS`: no caller changes, and old files stay readable.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from cpg_core.errors import CpgError
from cpg_core.model.layers import Layers

ENTRY = "codec"


class ValueCodec(Protocol):
    """Values of weights, float32 `[n]`, to a tensor that is stored, and back."""

    def encode(self, values: Tensor) -> Tensor:
        """What is stored."""
        ...

    def decode(self, stored: Tensor) -> Tensor:
        """The values, float32 `[n]`."""
        ...


class MaskCodec(Protocol):
    """Masks, bool `[n]`, to a tensor that is stored, and back."""

    def encode(self, mask: Tensor) -> Tensor:
        """What is stored."""
        ...

    def decode(self, stored: Tensor, count: int) -> Tensor:
        """The first `count` bits, bool `[count]`."""
        ...


class Float32:
    """Values as they are."""

    def encode(self, values: Tensor) -> Tensor:
        """The values."""
        return values

    def decode(self, stored: Tensor) -> Tensor:
        """The values."""
        return stored


class ZlibBits:
    """A bit a position, the first of each byte the highest, compressed by zlib: uint8 `[bytes]`."""

    def encode(self, mask: Tensor) -> Tensor:
        """Packed, then compressed."""
        packed = np.packbits(mask.numpy()).tobytes()
        return torch.frombuffer(bytearray(zlib.compress(packed, 6)), dtype=torch.uint8)

    def decode(self, stored: Tensor, count: int) -> Tensor:
        """Decompressed, then unpacked; the bits that filled the last byte are left out."""
        raw = np.frombuffer(zlib.decompress(stored.numpy().tobytes()), dtype=np.uint8)
        return torch.from_numpy(np.unpackbits(raw, count=count).view(bool))


@dataclass(frozen=True)
class Codec:
    """How values and masks are stored."""

    values: ValueCodec
    masks: MaskCodec


FIRST = Codec(Float32(), ZlibBits())
CODECS: dict[str, Codec] = {}
"""The codecs after the first, by the name that their files give."""


def codec_of(tensors: Layers) -> Codec:
    """The codec of a file's tensors.

    Raises:
        CpgError: this version does not know it.
    """
    if ENTRY not in tensors:
        return FIRST
    name = bytes(tensors[ENTRY].tolist()).decode(errors="replace")
    if name not in CODECS:
        raise CpgError(f"this file is written with codec {name!r}, which this version cannot read; use a newer version")
    return CODECS[name]
