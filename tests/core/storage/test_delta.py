"""A delta says all that a task adds: written, read and applied, the task computes with the very same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.tiny import bits
from cpg_core.config.store import Store
from cpg_core.model.ownership import claim
from cpg_core.model.state import Shared, TaskState, effective, widened
from cpg_core.storage import delta as deltas
from cpg_core.storage.codecs import codec_for
from cpg_core.storage.files import Damaged

SHAPES = {"0.weight": torch.Size((5, 3, 3, 3)), "4.weight": torch.Size((7, 5, 1, 1)), "9.weight": torch.Size((6, 7))}
WIDER = {"0.weight": torch.Size((9, 3, 3, 3)), "4.weight": torch.Size((8, 9, 1, 1)), "9.weight": torch.Size((11, 8))}


def mask(generator: torch.Generator, shape: torch.Size, share: float) -> Tensor:
    return torch.rand(shape, generator=generator) < share


def random_case(seed: int, task: int = 4) -> tuple[Shared, TaskState]:
    """Shared weights of some earlier tasks and a state over them; now and then a layer is full, empty or unused."""
    generator = torch.Generator().manual_seed(seed)
    shares = torch.randint(0, 3, (4, len(SHAPES)), generator=generator) / 2
    weight, owner, own, value, pick = {}, {}, {}, {}, {}
    for place, (name, shape) in enumerate(SHAPES.items()):
        taken = mask(generator, shape, float(shares[0, place]))
        owner[name] = (torch.randint(1, task, shape, generator=generator) * taken).to(torch.int16)
        weight[name] = torch.randn(shape, generator=generator) * taken
        own[name] = ~taken & mask(generator, shape, float(shares[1, place]))
        value[name] = torch.randn(shape, generator=generator) * own[name]
        pick[name] = taken & mask(generator, shape, float(shares[2, place]))
    private = {"head.weight": torch.randn(2, 6, generator=generator), "1.num_batches_tracked": torch.tensor(seed)}
    return Shared(1.0, weight, owner), TaskState(1.0, own, value, pick, private)


def stored(folder: Path, delta: deltas.Delta) -> deltas.Delta:
    return deltas.read(folder / "delta.safetensors", deltas.write(folder / "delta.safetensors", delta))


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Equal as weights: 0.0 and -0.0 compute the same."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


STORES = [
    Store(values=v, private="float32", masks=m) for v in ("float32", "bfloat16", "int8") for m in ("zlib", "entropy")
]
ROUNDED = Store(values="int8", private="bfloat16", masks="entropy")


@pytest.mark.parametrize("store", STORES, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_a_state_comes_back_in_every_format(tmp_path: Path, seed: int, store: Store) -> None:
    """To the bit, or rounded as its type says."""
    shared, state = random_case(seed)
    made = deltas.make(shared, state, 4, overwrites=False, codec=codec_for(store))
    delta = stored(tmp_path, made)
    assert deltas.same(made, delta)
    found = deltas.state_of(shared, delta, 4, overwrites=False)
    assert same(found.own, state.own) and same(found.pick, state.pick)
    assert bits(found.private) == bits(state.private)
    after = deltas.apply(shared, delta, 4, overwrites=False)
    assert same(deltas.recalled(after, delta, 4, overwrites=False), effective(shared, found))
    assert same(found.value, state.value) == (
        store.values == "float32" or not any(v.any() for v in state.value.values())
    )


def test_private_tensors_are_rounded_by_setting_and_counters_are_not(tmp_path: Path) -> None:
    shared, state = random_case(0)
    state = replace(state, private={**state.private, "1.num_batches_tracked": torch.tensor(12345)})
    delta = stored(tmp_path, deltas.make(shared, state, 4, overwrites=False, codec=codec_for(ROUNDED)))
    head = state.private["head.weight"]
    assert torch.equal(delta.private["head.weight"], head.bfloat16().float())
    assert not torch.equal(delta.private["head.weight"], head)
    assert delta.private["1.num_batches_tracked"] == 12345


@pytest.mark.parametrize("seed", range(40))
def test_what_is_recalled_is_what_was_trained(tmp_path: Path, seed: int) -> None:
    shared, state = random_case(seed)
    delta = stored(tmp_path, deltas.make(shared, state, 4, overwrites=False))
    after = deltas.apply(shared, delta, 4, overwrites=False)
    trained = effective(shared, state)
    assert same(deltas.recalled(after, delta, 4, overwrites=False), trained)
    assert bits(delta.private) == bits(state.private)
    grown = widened(after, 2.0, WIDER)
    later = {
        name: (owner == 0) & (torch.arange(owner.numel()).view(owner.shape) % 2 == 0)
        for name, owner in grown.owner.items()
    }
    crowded = Shared(
        2.0,
        {name: torch.where(later[name], 7.0, weight) for name, weight in grown.weight.items()},
        {name: claim(owner, later[name], 5) for name, owner in grown.owner.items()},
    )
    assert same(deltas.recalled(crowded, delta, 4, overwrites=False), trained), "after growth and a later task"


@pytest.mark.parametrize("seed", range(10))
def test_applying_touches_nothing_but_the_tasks_own(seed: int) -> None:
    shared, state = random_case(seed)
    delta = deltas.make(shared, state, 4, overwrites=False)
    before = bits(shared.weight), bits(shared.owner)
    after = deltas.apply(shared, delta, 4, overwrites=False)
    assert (bits(shared.weight), bits(shared.owner)) == before
    for name, own in state.own.items():
        assert torch.equal(after.owner[name] == 4, own)
        assert torch.equal(after.owner[name][~own], shared.owner[name][~own])
        assert torch.equal(after.weight[name][~own], shared.weight[name][~own])


@pytest.mark.parametrize("seed", range(10))
def test_in_place_every_weight_is_the_latest_tasks(tmp_path: Path, seed: int) -> None:
    shared, state = random_case(seed)
    everything = {name: torch.ones_like(own) for name, own in state.own.items()}
    values = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    state = replace(state, own=everything, value=values)
    delta = stored(tmp_path, deltas.make(shared, state, 4, overwrites=True))
    after = deltas.apply(shared, delta, 4, overwrites=True)
    assert bits(after.weight) == bits(values)
    assert same(deltas.recalled(after, delta, 4, overwrites=True), values)


def test_a_layer_with_nothing_in_it_is_stored_too(tmp_path: Path) -> None:
    shared, state = random_case(0)
    nothing = {name: torch.zeros_like(own) for name, own in state.own.items()}
    empty = replace(
        state, own=nothing, pick=nothing, value={name: torch.zeros(shape) for name, shape in SHAPES.items()}
    )
    delta = stored(tmp_path, deltas.make(shared, empty, 4, overwrites=False))
    assert not any(weight.any() for weight in deltas.recalled(shared, delta, 4, overwrites=False).values())


def test_another_hash_is_refused(tmp_path: Path) -> None:
    shared, state = random_case(0)
    path = tmp_path / "delta.safetensors"
    found = deltas.write(path, deltas.make(shared, state, 4, overwrites=False))
    with pytest.raises(Damaged, match=r"delta\.safetensors.*damaged"):
        deltas.read(path, found[::-1])
