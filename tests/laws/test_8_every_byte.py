"""Law 8: whichever byte of a delta changes, in whichever format, it is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from core.tiny import random_layers

from cpg_core.config.store import Store
from cpg_core.model.state import TaskState, empty_shared
from cpg_core.storage import delta as deltas
from cpg_core.storage.codecs import EXACT, codec_for
from cpg_core.storage.files import Damaged

SHAPES = {"0.weight": torch.Size([3, 2, 3, 3]), "1.weight": torch.Size([4, 3])}
STORES = (
    EXACT,
    Store(values="bfloat16", private="bfloat16", masks="zlib"),
    Store(values="int8", private="bfloat16", masks="entropy"),
    Store(values="float32", private="float32", masks="entropy"),
)


@pytest.mark.parametrize("store", STORES, ids=lambda store: f"{store.values}-{store.private}-{store.masks}")
def test_every_byte_of_a_delta_that_is_flipped_is_noticed(tmp_path: Path, store: Store) -> None:
    own = {name: layer > 0 for name, layer in random_layers(1, SHAPES).items()}
    value = {name: torch.where(own[name], layer, 0.0) for name, layer in random_layers(2, SHAPES).items()}
    nothing = {name: torch.zeros(shape, dtype=torch.bool) for name, shape in SHAPES.items()}
    state = TaskState(1.0, own, value, nothing, {"head.weight": torch.ones(2, 4), "head.bias": torch.ones(2)})
    delta = deltas.make(empty_shared(SHAPES), state, 1, overwrites=False, codec=codec_for(store))
    file = tmp_path / "delta.safetensors"
    sha256 = deltas.write(file, delta)
    sound = file.read_bytes()
    noticed = 0
    for place in range(len(sound)):
        file.write_bytes(sound[:place] + bytes([sound[place] ^ 0xFF]) + sound[place + 1 :])
        try:
            deltas.read(file, sha256)
        except Damaged:
            noticed += 1
    assert noticed == len(sound) > 300
    file.write_bytes(sound)
    assert deltas.same(delta, deltas.read(file, sha256))
