"""How a delta's values, masks and private tensors become the tensors of its file, and back.

A file names its codec in the entry `codec`. Files without one have the first codec, which writes no entry, so that
they keep their bytes. Another way to store values, masks or private tensors is another member of `VALUES`, `MASKS` or
`PRIVATE`: no caller changes, and old files stay readable.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from cpg_core.config.store import Store
from cpg_core.errors import CpgError
from cpg_core.model.layers import Layers
from cpg_core.storage import entropy
from cpg_core.storage.records import Stored

ENTRY = "codec"
PROBABILITIES = "probabilities"
PACKED = "2"
"""The format of every file that names a codec: the first word of the entry."""
Parts = tuple[Tensor, ...]
"""The tensors that a layer's values or mask are stored as."""


class ValueCodec(Protocol):
    """Values of weights, float32 `[n]`, in the order of a mask of their layer, to what is stored, and back."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The groups of the tensors that are stored."""
        ...

    def encode(self, values: Tensor, own: Tensor) -> Parts:
        """What is stored; `own` (bool, the layer's shape) says where the values lie."""
        ...

    def decode(self, stored: Parts, own: Tensor) -> Tensor:
        """The values, float32 `[n]`."""
        ...


class MaskCodec(Protocol):
    """Masks, bool of a layer's shape, that are true nowhere but in `places`, to what is stored, and back."""

    @property
    def parts(self) -> tuple[str, ...]:
        """What the groups of the tensors that are stored are called after `where` and `pick`."""
        ...

    def encode(self, mask: Tensor, places: Tensor) -> Parts:
        """What is stored."""
        ...

    def decode(self, stored: Parts, places: Tensor) -> Tensor:
        """The mask."""
        ...


@dataclass(frozen=True)
class Plain:
    """Values in a floating-point type: rounded to it, to nearest, ties to even."""

    dtype: torch.dtype
    parts: tuple[str, ...] = ("value",)

    def encode(self, values: Tensor, own: Tensor) -> Parts:  # noqa: ARG002
        """Rounded."""
        return (values.to(self.dtype),)

    def decode(self, stored: Parts, own: Tensor) -> Tensor:  # noqa: ARG002
        """As float32, which holds them exactly."""
        return stored[0].float()


@dataclass(frozen=True)
class Int8:
    """Whole numbers from -127 to 127, times a scale that the values of an output channel share."""

    parts: tuple[str, ...] = ("value", "scale")

    def encode(self, values: Tensor, own: Tensor) -> Parts:
        """int8 `[n]`, and bfloat16 `[out]`: the least of that type with which the greatest value is at most 127."""
        laid = torch.zeros(own.shape)
        laid[own] = values
        least = laid.abs().flatten(1).amax(1) / 127
        scale = least.to(torch.bfloat16)
        scale = torch.where(scale.float() < least, scale.view(torch.int16) + 1, scale.view(torch.int16))
        scale = scale.view(torch.bfloat16)
        of = _of_each(scale.float(), own)
        whole = torch.where(of > 0, values / of, 0.0).round()  # a channel may hold nothing but zeros
        return whole.to(torch.int8), scale

    def decode(self, stored: Parts, own: Tensor) -> Tensor:
        """The product, in float32."""
        whole, scale = stored
        return whole.float() * _of_each(scale.float(), own)


@dataclass(frozen=True)
class ZlibBits:
    """A bit a position, the first of each byte the highest, compressed by zlib: uint8 `[bytes]`."""

    parts: tuple[str, ...] = ("",)

    def encode(self, mask: Tensor, places: Tensor) -> Parts:
        """Packed, then compressed."""
        packed = np.packbits(mask[places].numpy()).tobytes()
        return (torch.frombuffer(bytearray(zlib.compress(packed, 6)), dtype=torch.uint8),)

    def decode(self, stored: Parts, places: Tensor) -> Tensor:
        """Decompressed, then unpacked; the bits that filled the last byte are left out."""
        raw = np.frombuffer(zlib.decompress(stored[0].numpy().tobytes()), dtype=np.uint8)
        mask = torch.zeros_like(places)
        mask[places] = torch.from_numpy(np.unpackbits(raw, count=int(places.sum())).view(bool))
        return mask


@dataclass(frozen=True)
class Entropy:
    """Range-coded bits, uint8 `[bytes]`, and the log odds that they are set, int8 `[1 + out + in]`."""

    probabilities: Tensor = field(default_factory=lambda: torch.tensor(entropy.PROBABILITIES, dtype=torch.int32))
    parts: tuple[str, ...] = ("", ".odds")

    def encode(self, mask: Tensor, places: Tensor) -> Parts:
        """Fitted, then coded."""
        odds = entropy.fitted_odds(mask, places)
        return entropy.encode(mask, places, odds, self.probabilities), odds

    def decode(self, stored: Parts, places: Tensor) -> Tensor:
        """Decoded with what stands in the file."""
        bits, odds = stored
        return entropy.decode(bits, places, odds, self.probabilities)


@dataclass(frozen=True)
class Codec:
    """How values, masks and private tensors are stored.

    Attributes:
        store: the settings that ask for it.
        name: what the file says; None: nothing, and its tensors are not packed.
        values: of weights.
        masks: where they lie, and which earlier ones are picked.
        private: the type of batch norm, biases and head.
    """

    store: Store
    name: str | None
    values: ValueCodec
    masks: MaskCodec
    private: torch.dtype

    def entries(self) -> Layers:
        """What a file holds for its codec."""
        found = {} if self.name is None else {ENTRY: torch.tensor(list(self.name.encode()), dtype=torch.uint8)}
        return found | ({PROBABILITIES: self.masks.probabilities} if isinstance(self.masks, Entropy) else {})

    def rounded(self, private: Mapping[str, Tensor]) -> Layers:
        """Private tensors as they are stored; counters and the like keep their type."""
        return {name: t.to(self.private) if t.is_floating_point() else t for name, t in private.items()}


VALUES: dict[str, ValueCodec] = {
    "float32": Plain(torch.float32),
    "bfloat16": Plain(torch.bfloat16),
    "int8": Int8(),
}
MASKS: dict[str, type[ZlibBits | Entropy]] = {"zlib": ZlibBits, "entropy": Entropy}
PRIVATE = {"float32": torch.float32, "bfloat16": torch.bfloat16}
EXACT = Store(values="float32", private="float32", masks="zlib")
FIRST = Codec(EXACT, None, Plain(torch.float32), ZlibBits(), torch.float32)


def codec_for(store: Store) -> Codec:
    """The codec that a run's settings ask for."""
    return FIRST if store == EXACT else _packed(store)


def format_fields(codec: Codec, missed: float | None) -> dict[str, Any]:
    """`format` and `stored` of a task record, whose delta has that codec.

    `missed`: the accuracy of the rounded model where it missed the goal, so that the task is stored exactly.
    """
    if codec.name is None and missed is None:
        return {"format": 1, "stored": None}
    return {"format": 1 if codec.name is None else 2, "stored": Stored(**codec.store.model_dump(), missed=missed)}


def _packed(store: Store) -> Codec:
    name = f"{PACKED} {store.values} {store.private} {store.masks}"
    return Codec(store, name, VALUES[store.values], MASKS[store.masks](), PRIVATE[store.private])


def codec_of(tensors: Layers) -> Codec:
    """The codec of a file's tensors.

    Raises:
        CpgError: this version does not know it.
    """
    if ENTRY not in tensors:
        return FIRST
    name = bytes(tensors[ENTRY].tolist()).decode(errors="replace")
    try:
        version, values, private, masks = name.split(" ")
        if version != PACKED:
            raise ValueError(version)
        known = _packed(Store.model_validate({"values": values, "private": private, "masks": masks}))
    except ValueError as error:
        told = f"this file is written with codec {name!r}, which this version cannot read; use a newer version"
        raise CpgError(told) from error
    if PROBABILITIES in tensors:
        known = replace(known, masks=Entropy(tensors[PROBABILITIES]))
    return known


def _of_each(scale: Tensor, own: Tensor) -> Tensor:
    """The scale of each value, `[n]`, from that of each output channel."""
    return scale.view(-1, *[1] * (own.dim() - 1)).expand(own.shape)[own]
