"""Law 8: whichever byte of a delta changes, in whichever format, it is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from core.tiny import random_layers

from cpg_core.config.store import Store
from cpg_core.model.state import Shared, TaskState
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
    """Of the second task: it owns a part of what was free, and picks a part of what the first one owns."""
    weights, choice = random_layers(2, SHAPES), random_layers(3, SHAPES)
    older = {name: layer > 0 for name, layer in random_layers(1, SHAPES).items()}
    own = {name: ~mask & (choice[name] > -0.5) for name, mask in older.items()}
    pick = {name: mask & (choice[name] > -0.5) for name, mask in older.items()}
    for name in SHAPES:
        assert own[name].any() and pick[name].any() and (older[name] & ~pick[name]).any()
    before = Shared(1.0, {n: weights[n] * older[n] for n in SHAPES}, {n: older[n].to(torch.int16) for n in SHAPES})
    private = {"head.weight": torch.ones(2, 4), "head.bias": torch.ones(2)}
    state = TaskState(1.0, own, {name: weights[name] * own[name] for name in SHAPES}, pick, private)
    delta = deltas.make(before, state, 2, overwrites=False, codec=codec_for(store))
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
