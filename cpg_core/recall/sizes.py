"""Where the bytes of a run are, and what it would take if it were stored otherwise."""

from __future__ import annotations

import pandas as pd
from safetensors.torch import save

from cpg_core.config.store import Store
from cpg_core.methods import assembly_of
from cpg_core.recall.metrics import percent
from cpg_core.storage.codecs import codec_for
from cpg_core.storage.delta import PRIVATE, PROBE, Delta, entries, make, private_kind, state_of
from cpg_core.storage.packing import ENTRY
from cpg_core.storage.run import Run

KIND_OF_GROUP = {
    "value": "values",
    "scale": "values",
    "where": "positions",
    "where.odds": "positions",
    "pick": "picks",
    "pick.odds": "picks",
    "norm": "norms, PReLU",
    "bias": "biases",
    "head": "head",
}
PRIVATE_KINDS = tuple(KIND_OF_GROUP[group] for group in ("norm", "bias", "head"))
VALUE_KINDS = (KIND_OF_GROUP["value"],)
MASK_KINDS = tuple(KIND_OF_GROUP[group] for group in ("where", "pick"))
REST = "rest"
"""Header of the file, shapes, probe logits, codec."""
KINDS = (*dict.fromkeys(KIND_OF_GROUP.values()), REST)


def by_kind(run: Run) -> pd.DataFrame:
    """A row a task: the bytes of each kind in its delta, and of the file.

    Raises:
        Damaged: naming the file that is damaged or missing.
    """
    rows = []
    for index in range(1, run.frozen() + 1):
        record = run.record(index)
        found = kinds_of(run.delta(index, record))
        found[REST] = record.delta_bytes - sum(found.values())
        rows.append({"task": record.name, **found, "bytes": record.delta_bytes})
    return pd.DataFrame(rows, columns=["task", *KINDS, "bytes"])


def kinds_of(delta: Delta) -> dict[str, int]:
    """Bytes of a delta by kind, as they lie in its file, but the rest."""
    found = dict.fromkeys(KINDS[:-1], 0)
    for key, tensor in entries(delta).items():
        first, _, name = key.partition(":")
        if first == ENTRY:
            first = name.partition(":")[2]
        elif first == PRIVATE:
            first = private_kind(name, delta.shapes)
        if first in KIND_OF_GROUP:
            found[KIND_OF_GROUP[first]] += tensor.nbytes
    return found


def by_setting(run: Run) -> pd.DataFrame:
    """A row a way to store the run: the bytes of its deltas, and the share that it saves of those it has now.

    What is rounded may make tasks miss their goals, which are then stored exactly: only `convert` finds that out.
    """
    now = run.spec.settings.store
    ways = {
        "as it is": None,
        "values bfloat16": now.model_copy(update={"values": "bfloat16"}),
        "values int8": now.model_copy(update={"values": "int8"}),
        "private bfloat16": now.model_copy(update={"private": "bfloat16"}),
        "masks entropy": now.model_copy(update={"masks": "entropy"}),
        "all of them": Store(values="int8", private="bfloat16", masks="entropy"),
    }
    total = dict.fromkeys(ways, 0)
    assembly = assembly_of(run)
    shared = assembly.rebuild(0)
    for index in range(1, run.frozen() + 1):
        record, delta = run.record(index), run.delta(index)
        before = assembly.before(shared, record)
        state = state_of(before, delta, index, overwrites=assembly.overwrites)
        for way, store in ways.items():
            if store is None:
                total[way] += record.delta_bytes
            else:
                total[way] += _size(
                    make(before, state, index, overwrites=assembly.overwrites, codec=codec_for(store)), delta
                )
        shared = assembly.add(shared, record, delta)
    rows = [
        {"stored": way, "bytes": size, "saves %": percent(1 - size / total["as it is"])} for way, size in total.items()
    ]
    return pd.DataFrame(rows)


def one_network(run: Run) -> int:
    """Bytes of one network of the base width in float32, with the private tensors of the first task."""
    shared = sum(shape.numel() for shape in run.shapes(1.0).values())
    return 4 * shared + sum(tensor.nbytes for tensor in run.delta(1).private.values())


def _size(made: Delta, delta: Delta) -> int:
    """Bytes of the file, with the probe logits of another."""
    return len(save({**entries(made), PROBE: delta.probe}))
