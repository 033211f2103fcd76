"""Values and masks to bytes and back, and groups of named tensors in one mapping."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.tiny import bits
from cpg_core.config.store import Store
from cpg_core.errors import CpgError
from cpg_core.storage import delta as deltas
from cpg_core.storage.codecs import ENTRY, FIRST, MASKS, PROBABILITIES, VALUES, codec_for, codec_of
from cpg_core.storage.files import sha256, write_tensors
from cpg_core.storage.named_tensors import flatten, unflatten
from cpg_core.storage.packing import packed, unpacked

SHAPES = [(1, 3), (1, 1), (7, 5), (4, 3, 3, 3), (64, 32, 3, 3)]


def random_mask(shape: tuple[int, ...], share: float) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(len(shape))) < share


def test_a_mask_is_a_bit_a_position_the_first_the_highest() -> None:
    mask = torch.tensor([[True, False, False, False, False, False], [True, True, False, True, False, True]])
    places = torch.ones_like(mask)
    places[1, 4] = False  # its bit is not written
    (stored,) = FIRST.masks.encode(mask, places)
    assert zlib.decompress(bytes(stored.tolist())) == bytes([0b10000011, 0b01100000])
    assert torch.equal(FIRST.masks.decode((stored,), places), mask)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shares", [(0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.7, 0.1), (0.5, 0.99)])
@pytest.mark.parametrize("codec", MASKS)
def test_a_mask_of_any_shape_comes_back(codec: str, shape: tuple[int, ...], shares: tuple[float, float]) -> None:
    places = random_mask(shape, shares[0])
    mask = places & random_mask(shape, shares[1]).flip(0)
    masks = MASKS[codec]()
    stored = masks.encode(mask, places)
    assert len(stored) == len(masks.parts)
    assert torch.equal(masks.decode(stored, places), mask)


def test_values_come_back_bit_for_bit() -> None:
    values, own = torch.tensor([0.0, -0.0, 1e-45, float("nan"), 3.0]), torch.ones(5, 1, dtype=torch.bool)
    assert bits({"v": FIRST.values.decode(FIRST.values.encode(values, own), own)}) == bits({"v": values})


@pytest.mark.parametrize("codec, steps", [("bfloat16", 128), ("int8", 127)])
def test_rounded_values_are_near(codec: str, steps: int) -> None:
    """int8: to half a step of the greatest value of their output channel; bfloat16: to half a step of their own."""
    own = random_mask((12, 5, 3, 3), 0.4)
    own[3] = False
    channel = torch.arange(12).view(-1, 1, 1, 1).expand(own.shape)
    laid = torch.randn(own.shape, generator=torch.Generator().manual_seed(1)) * own * 10.0 ** (channel - 6)
    laid[5] = 0.0
    values = VALUES[codec]
    stored = values.encode(laid[own], own)
    found = torch.zeros(own.shape)
    found[own] = values.decode(stored, own)
    greatest = laid.abs().flatten(1).amax(1).view(-1, 1, 1, 1) if codec == "int8" else laid.abs()
    assert ((found - laid).abs() <= 0.5 * 1.01 * greatest / steps).all()
    assert not torch.equal(found, laid)


def test_bits_take_what_the_densities_of_their_channels_say() -> None:
    """Channels that differ are paid for once; within a hundredth and 100 bytes of the entropy under the true ones."""
    channels = torch.linspace(-4, 4, 48)
    odds = channels[:, None] + channels - 1
    likely = odds.sigmoid().view(48, 48, 1, 1).expand(48, 48, 3, 3)
    mask = torch.rand(likely.shape, generator=torch.Generator().manual_seed(0)) < likely
    places = torch.ones_like(mask)
    stored, channel_odds = MASKS["entropy"]().encode(mask, places)
    ideal = -torch.where(mask, likely, 1 - likely).log2().sum() / 8
    assert len(stored) <= 1.01 * ideal + 100
    (plain,) = FIRST.masks.encode(mask, places)
    assert len(stored) + len(channel_odds) < 0.9 * len(plain)


def test_probabilities_are_those_of_the_file() -> None:
    """Another table reads the same bits otherwise: it is not one that the reader brings along."""
    mask, places = random_mask((16, 16), 0.3), torch.ones(16, 16, dtype=torch.bool)
    codec = codec_for(Store(values="float32", private="float32", masks="entropy"))
    stored = codec.masks.encode(mask, places)
    assert torch.equal(codec_of(codec.entries()).masks.decode(stored, places), mask)
    other = {**codec.entries(), PROBABILITIES: torch.full((41,), 1 << 15, dtype=torch.int32)}
    assert not torch.equal(codec_of(other).masks.decode(stored, places), mask)


def test_packed_tensors_come_back_in_order_with_their_types() -> None:
    tensors = {
        "value:a": torch.randn(3, 2),
        "value:b": torch.zeros(0),
        "norm:n": torch.tensor(7),
        "norm:m": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "value:c": torch.tensor([1, -1], dtype=torch.int8),
    }
    found = unpacked(dict(reversed(packed(tensors).items())))
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found[name], tensor)


def test_a_file_of_a_codec_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    one = torch.zeros(1)
    known = {deltas.PROBE: one}
    assert codec_of(known) is FIRST
    path = tmp_path / "delta.safetensors"
    for name in ("int4", "3 int8 float32 zlib", "2 int8 float32 zip"):
        write_tensors(path, {**known, ENTRY: torch.frombuffer(bytearray(name.encode()), dtype=torch.uint8)})
        with pytest.raises(CpgError, match=rf"delta\.safetensors: .*codec '{name}'.*newer version"):
            deltas.read(path, sha256(path))


def test_groups_come_back_in_the_order_asked_for() -> None:
    one, two = torch.ones(1), torch.zeros(2)
    tensors = flatten({"own": {"0.weight": one, "a:b": two}, "pick": {"0.weight": two}}) | {"steps": one}
    assert list(tensors) == ["own:0.weight", "own:a:b", "pick:0.weight", "steps"]
    pick, own, none = unflatten(dict(reversed(tensors.items())), "pick", "own", "none")
    assert set(own) == {"0.weight", "a:b"} and torch.equal(own["a:b"], two)
    assert torch.equal(pick["0.weight"], two)
    assert none == {}
