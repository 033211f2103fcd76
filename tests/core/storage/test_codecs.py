"""Values and masks to bytes and back, and groups of named tensors in one mapping."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
import torch

from core.tiny import bits
from cpg_core.errors import CpgError
from cpg_core.storage import delta as deltas
from cpg_core.storage.codecs import ENTRY, FIRST, codec_of
from cpg_core.storage.files import sha256, write_tensors
from cpg_core.storage.named_tensors import flatten, unflatten


def test_a_mask_is_a_bit_a_position_the_first_the_highest() -> None:
    mask = torch.tensor([True, False, False, False, False, False, True, True, False, True])
    stored = FIRST.masks.encode(mask)
    assert zlib.decompress(bytes(stored.tolist())) == bytes([0b10000011, 0b01000000])
    assert torch.equal(FIRST.masks.decode(stored, 10), mask)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 1000])
def test_a_mask_of_any_length_comes_back(count: int) -> None:
    mask = torch.rand(count, generator=torch.Generator().manual_seed(count)) < 0.3
    assert torch.equal(FIRST.masks.decode(FIRST.masks.encode(mask), count), mask)


def test_values_come_back_bit_for_bit() -> None:
    values = {"v": torch.tensor([0.0, -0.0, 1e-45, float("nan"), 3.0])}
    assert bits({"v": FIRST.values.decode(FIRST.values.encode(values["v"]))}) == bits(values)


def test_a_file_of_a_codec_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    one = torch.zeros(1)
    known = {deltas.PROBE: one}
    assert codec_of(known) is FIRST
    path = tmp_path / "delta.safetensors"
    write_tensors(path, {**known, ENTRY: torch.frombuffer(bytearray(b"int4"), dtype=torch.uint8)})
    with pytest.raises(CpgError, match=r"delta\.safetensors: .*codec 'int4'.*newer version"):
        deltas.read(path, sha256(path))


def test_groups_come_back_in_the_order_asked_for() -> None:
    one, two = torch.ones(1), torch.zeros(2)
    tensors = flatten({"own": {"0.weight": one, "a:b": two}, "pick": {"0.weight": two}}) | {"steps": one}
    assert list(tensors) == ["own:0.weight", "own:a:b", "pick:0.weight", "steps"]
    pick, own, none = unflatten(dict(reversed(tensors.items())), "pick", "own", "none")
    assert set(own) == {"0.weight", "a:b"} and torch.equal(own["a:b"], two)
    assert torch.equal(pick["0.weight"], two)
    assert none == {}
