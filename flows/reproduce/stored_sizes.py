"""Rows of Table 3 for runs that were stored otherwise, and what the same would take at full width."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cpg_core.recall.metrics import MEGABYTE
from flows.reproduce.conversions import Converted
from flows.reproduce.result import RunResult, averages


@dataclass(frozen=True)
class Network:
    """One dense network in float32: its shared weights and its channel width.

    Attributes:
        mb_on_disk: of such networks as they were learned and stored; None: none was.
    """

    weights: int
    width: float
    mb_on_disk: float | None = None

    @property
    def mb(self) -> float:
        """Of its shared weights in float32."""
        return 4 * self.weights / MEGABYTE


def stored_rows(stored: Iterable[Converted], base: Network, full: Network) -> list[dict[str, object]]:
    """Two rows a way to store the runs of a method and goal, in the sequence's own order; means over seeds.

    The second has the bytes at full width by calculation (`full_width_mb`), where what was learned is narrower.

    Args:
        stored: runs as they were learned, and stored otherwise.
        base: the network of the width that they have at budget x1.
        full: of the published width.
    """
    groups: dict[str, list[Converted]] = {}
    for one in stored:
        if one.after.ordering == "0":
            groups.setdefault(name_of(one.after), []).append(one)
    rows = []
    for name, group in groups.items():
        after = [one.after for one in group]
        on_disk = float(np.mean([result.summary["model_mb"] for result in after]))
        rates = [rate for result in after if (rate := bits_a_mask_bit(result, base)) is not None]
        rows.append(
            {
                "method": name,
                "source": "reproduced",
                "mb_on_disk": round(on_disk, 2),
                "networks": None if base.mb_on_disk is None else round(on_disk / base.mb_on_disk, 2),
                "average": round(float(np.mean(averages(after))), 1),
                "change": round(float(np.mean([change(one) for one in group])), 2),
                "bits_a_mask_bit": round(float(np.mean(rates)), 3) if rates else None,
                "n": len(group),
            }
        )
        wide = [mb for result in after if (mb := full_width_mb(result, base, full)) is not None]
        if wide and base.width != full.width:
            mb = float(np.mean(wide))
            rows.append(
                {
                    "method": name,
                    "source": f"calculated, width {full.width:g}",
                    "mb_on_disk": round(mb, 2),
                    "networks": round(mb / full.mb, 2),
                }
            )
    return rows


def name_of(result: RunResult) -> str:
    """A run by method, goal and what its values are stored as: `CPG avg, int8`; what else is unusual is told too."""
    store = result.store
    masks = ", zlib" if store.masks == "zlib" else ""
    usual = "float32" if store.values == "float32" else "bfloat16"
    private = "" if store.private == usual else f", private {store.private}"
    return f"{result.method.upper()} {result.goal}, {store.values}{private}{masks}"


def change(one: Converted) -> float:
    """Mean change of the tasks' test accuracy by storing them otherwise, in points, paired by task."""
    before = {task.name: task.final_accuracy for task in one.before.tasks}
    return float(np.mean([100 * (task.final_accuracy - before[task.name]) for task in one.after.tasks]))


def bits_a_mask_bit(result: RunResult, base: Network) -> float | None:
    """Bits on disk for each bit of the masks; None for results without the bytes of masks.

    A task has a bit for every weight at its budget: of those that were free, whether it owns them, and of those of
    earlier tasks, whether it picks them.
    """
    found = [task.mask_bytes for task in result.tasks]
    raw = sum(round(task.budget_x * base.weights) for task in result.tasks)
    return None if None in found else 8 * sum(size for size in found if size is not None) / raw


def full_width_mb(result: RunResult, base: Network, full: Network) -> float | None:
    """What a run would take at full width, with its densities, bits a mask bit and bits a weight.

    Values and masks grow with the shared weights; batch norm, biases and heads with the width, since a head reads the
    channels of the last layer; records do not grow. None for results without bytes by kind.
    """
    tasks = result.tasks
    shared = [(task.value_bytes, task.mask_bytes, task.private_bytes) for task in tasks]
    if any(size is None for sizes in shared for size in sizes):
        return None
    values, masks, private = (sum(size or 0 for size in sizes) / MEGABYTE for sizes in zip(*shared, strict=True))
    rest = result.summary["model_mb"] - values - masks - private
    return (values + masks) * full.weights / base.weights + private * full.width / base.width + rest
