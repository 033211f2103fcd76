"""Rewrites a task that came after a forgotten one: its new number, and the weights it inherits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from cpg_core.methods import find
from cpg_core.model.layers import Layers, leading_block
from cpg_core.model.ownership import count, owned_before, size
from cpg_core.model.state import Shared, TaskState, released_count
from cpg_core.recall.handover import Handover
from cpg_core.recall.metrics import stage_seconds
from cpg_core.storage import delta as deltas
from cpg_core.storage.assembly import Assembly
from cpg_core.storage.codecs import Codec, codec_for, format_fields
from cpg_core.storage.delta import Delta, Stored
from cpg_core.storage.files import as_bytes, read_json, sha256, write_json
from cpg_core.storage.run import DELTA, RECALL, RECORD, SECONDS


def rewrite(
    old: Assembly, new: Assembly, before: Shared, index: int, forgotten: int, shared: Shared, handover: Handover | None
) -> Shared:
    """Write a task's folder into the run without the forgotten task.

    Args:
        old: of the run with it.
        new: of the run without it, whose earlier tasks are written.
        before: the shared weights of those.
        index: the task's number before; it is one less then.
        forgotten: the number of the forgotten task.
        shared: the weights of all tasks before.
        handover: what becomes of those of the forgotten one; None: they were its own network's.

    Returns:
        The shared weights after the task.
    """
    run, number = old.run, index - 1
    record, folder = run.record(index), new.run.task_folder(number)
    delta, before = run.delta(index, record), new.before(before, record)
    if handover is not None:
        delta = _with_inherited(delta, index, before, shared, handover)
    sha = deltas.write(folder / DELTA, delta)
    after = deltas.apply(before, delta, number, overwrites=False)
    older = {name: owned_before(owner, number) for name, owner in before.owner.items()}
    using = {name: delta.picked(name, places) for name, places in older.items()}
    method, own = find(run.spec.method), count({name: owner == number for name, owner in after.owner.items()})
    allocated, released = method.count(size(after.owner), released_count(after), number)
    stood = read_json(run.task_folder(index) / RECALL)
    stood["earlier"] = [item for item in stood["earlier"] if item["task"] != run.spec.tasks[forgotten - 1].name]
    changed: dict[str, Any] = {
        "index": number,
        "allocated": allocated,
        "own": own,
        "sparsity": method.sparsity(own, size(after.owner) - count(older)),
        "released": released,
        "picked": count(using) / count(older) if count(older) else None,
        "delta_bytes": (folder / DELTA).stat().st_size,
        "delta_sha256": sha,
        "parent_sha256": sha256(new.run.task_folder(number - 1) / RECORD) if number > 1 else None,
    }
    missed = record.stored.missed if record.stored else None
    written = record.model_copy(update=changed | format_fields(delta.codec, missed))
    write_json(folder / RECALL, stood)
    write_json(folder / SECONDS, stage_seconds(run, index))
    write_json(folder / RECORD, written.model_dump(mode="json"))
    return after


def _with_inherited(delta: Delta, index: int, before: Shared, shared: Shared, handover: Handover) -> Delta:
    """A task's delta with the weights that it inherits among its own; `index` is its number before."""
    own, value, pick, inherits = {}, {}, {}, {}
    for name, shape in delta.shapes.items():
        was, weight = leading_block(shared.owner[name], shape), leading_block(shared.weight[name], shape)
        own[name] = leading_block(handover.owner[name], shape) == index - 1
        value[name] = torch.where(own[name], weight, 0.0)
        pick[name] = delta.picked(name, owned_before(was, index)) & ~own[name]
        inherits[name] = not torch.equal(own[name], was == index)
    codec = delta.codec
    values = _stored(codec, delta, own, value, inherits)
    if values is None:
        codec = _with_exact_values(codec)
        values = {name: codec.values.encode(value[name][own[name]], own[name]) for name in own}
    made = deltas.make(
        before, TaskState(before.budget_x, own, value, pick, delta.private), index - 1, overwrites=False, codec=codec
    )
    return replace(made, values=values, probe=delta.probe)


def _stored(codec: Codec, delta: Delta, own: Layers, value: Layers, inherits: dict[str, bool]) -> Stored | None:
    """The values as the codec stores them, those of a layer that inherits nothing as they are; None: it rounds them."""
    stored = dict(delta.values)
    for name in (name for name, does in inherits.items() if does):
        exact = value[name][own[name]]
        stored[name] = codec.values.encode(exact, own[name])
        if as_bytes(codec.values.decode(stored[name], own[name])) != as_bytes(exact):
            return None
    return stored


def _with_exact_values(codec: Codec) -> Codec:
    """The codec that differs in nothing but that it rounds no value."""
    return codec_for(codec.store.model_copy(update={"values": "float32"}))
