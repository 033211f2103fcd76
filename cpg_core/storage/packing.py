"""Packs many small tensors into a few entries, since a header per tensor would cost more than its data.

Tensors of the same group (`pick` of `pick:0.weight`) and type lie one after the other in an entry `packed:TYPE:GROUP`,
as zlib writes them once all first bytes of their numbers stand together, then all second ones, and so on: sign and
exponent, which repeat, apart from the rest. The entry `layout` says in order what they are.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from cpg_core.model.layers import Layers
from cpg_core.storage.files import as_bytes

LAYOUT = "layout"
ENTRY = "packed"
TYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int64": torch.int64,
}


def packed(tensors: Mapping[str, Tensor]) -> Layers:
    """The entries that stand for these tensors, `GROUP:NAME` each."""
    names = {dtype: name for name, dtype in TYPES.items()}
    raw, layout = dict[str, bytearray](), []
    for key, tensor in tensors.items():
        kind = names[tensor.dtype]
        layout.append([key, kind, list(tensor.shape)])
        raw.setdefault(f"{ENTRY}:{kind}:{key.partition(':')[0]}", bytearray()).extend(as_bytes(tensor))
    written = {LAYOUT: _compressed(json.dumps(layout, separators=(",", ":")).encode())}
    for entry, content in raw.items():
        size = TYPES[entry.split(":")[1]].itemsize
        written[entry] = _compressed(np.frombuffer(content, np.uint8).reshape(-1, size).T.tobytes())
    return written


def unpacked(entries: Mapping[str, Tensor]) -> Layers:
    """The tensors that were packed, in order."""
    content, at = dict[str, bytes](), dict[str, int]()
    tensors: Layers = {}
    for key, kind, shape in json.loads(zlib.decompress(as_bytes(entries[LAYOUT]))):
        entry, dtype = f"{ENTRY}:{kind}:{key.partition(':')[0]}", TYPES[kind]
        if entry not in content:
            planes = np.frombuffer(zlib.decompress(as_bytes(entries[entry])), np.uint8)
            content[entry], at[entry] = planes.reshape(dtype.itemsize, -1).T.tobytes(), 0
        begin = at[entry]
        at[entry] = begin + math.prod(shape) * dtype.itemsize
        taken = bytearray(content[entry][begin : at[entry]])
        tensors[key] = torch.frombuffer(taken, dtype=dtype).reshape(shape) if taken else torch.zeros(shape, dtype=dtype)
    return tensors


def _compressed(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(zlib.compress(content, 9)), dtype=torch.uint8)
