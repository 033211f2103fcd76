"""Table 3: how large the models are, counted as the paper counts and as they lie on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cpg_core.config.settings import load_settings
from cpg_core.data.spec import load_sequence
from cpg_core.methods import find
from cpg_core.model.network import shared_shapes
from cpg_core.recall.metrics import MEGABYTE
from flows.reproduce.plan import PARAMS, Plan
from flows.reproduce.result import RunResult
from flows.reproduce.tables import PAPER_SEQUENCE, beside_published
from flows.request import definitions


@dataclass(frozen=True)
class Published:
    """A model of the paper: its size in MB (Table 3) and its average test accuracy in percent (Table 2)."""

    method: str
    mb: float
    average: float


BITS_A_WEIGHT = 32
GOALS = ("avg", "max", "top")
MODELS = {
    "Scratch": ("scratch", "Individual Models"),
    "fine-Avg": ("finetune", "Individual Models"),
    "CPG avg": ("cpg", "CPG avg"),
    "CPG max": ("cpg", "CPG max"),
    "CPG top": ("cpg", "CPG top"),
}
"""For a row of Table 2: our name of the method, and the row of Table 3 that has its size."""


def base_weights(plan: Plan, root: Path) -> int:
    """Shared weights of the base network of a plan's profile."""
    home = definitions(root)
    backbone = load_sequence(plan.sequence, home / "data").backbone
    width = load_settings(home / PARAMS, plan.profile).base_width
    return sum(shape.numel() for shape in shared_shapes(backbone, width).values())


def counted_mb(result: RunResult, base: int) -> float:
    """Size as the paper has it: 32 bits for each shared weight, and a mask bit for each of them a later task.

    With 1.5 times the weights of VGG16-BN and 19 masks it gives 306.6 MB; the paper's two such models have 308 and
    310, batch norm and heads among them.
    """
    masks = 0.0 if find(result.method).independent else sum(task.budget_x for task in result.tasks[1:])
    return base * (BITS_A_WEIGHT * result.summary["expansion_x"] + masks) / 8 / MEGABYTE


def counted_with_private_mb(result: RunResult, base: int) -> float | None:
    """Size as the paper's Table 6 has it: the weights, every task's batch norm and head, and mask bits.

    A later task costs a bit a weight where it has a mask of its own (CPG, Piggyback); under PackNet all of them need
    the number of the owner alone. None for results without the bytes of what is private.
    """
    private = [task.private_bytes for task in result.tasks]
    if None in private:
        return None
    later = len(result.tasks) - 1
    bits = {"packnet": later.bit_length(), "cpg": later, "piggyback": later}.get(result.method, 0)
    weights = base * result.summary["expansion_x"] * (BITS_A_WEIGHT + bits) / 8
    return (weights + sum(size for size in private if size is not None)) / MEGABYTE


def published_models(published: Path, results: Mapping[str, RunResult]) -> list[Published]:
    """The paper's models whose size and accuracy it gives; none beside results of other tasks."""
    if any(result.sequence != PAPER_SEQUENCE for result in results.values()):
        return []
    accuracy = pd.read_csv(published / "table2.csv").set_index("method")["average"]
    size = pd.read_csv(published / "table3.csv").set_index("method")["mb"]
    return [Published(method, float(size[row]), float(accuracy[name])) for name, (method, row) in MODELS.items()]


def table_3(results: Mapping[str, RunResult], published: Path, base: int) -> pd.DataFrame:
    """Table 3: a row a model and source; `mb` as the paper counts, `mb_on_disk` of all the files that recall needs.

    Args:
        results: all results of a profile.
        published: the folder with the paper's tables.
        base: shared weights of the base network.
    """
    rows: list[dict[str, object]] = []
    if scratch := [result for result in results.values() if result.method == "scratch"]:
        one = float(np.mean([task.delta_bytes for result in scratch for task in result.tasks])) / MEGABYTE
        base_network = "VGG16-BN" if scratch[0].sequence == PAPER_SEQUENCE else "one model"
        rows.append(_row(base_network, base * BITS_A_WEIGHT / 8 / MEGABYTE, one))
        rows.append(_mean("Individual Models", scratch, base))
    for goal in GOALS:
        if chosen := [r for r in results.values() if (r.method, r.goal, r.ordering) == ("cpg", goal, "0")]:
            rows.append(_mean(f"CPG {goal}", chosen, base))
    return beside_published(rows, results, published / "table3.csv")


def _mean(method: str, chosen: list[RunResult], base: int) -> dict[str, object]:
    counted = [counted_mb(result, base) for result in chosen]
    return _row(method, float(np.mean(counted)), float(np.mean([r.summary["model_mb"] for r in chosen])))


def _row(method: str, counted: float, on_disk: float) -> dict[str, object]:
    return {"method": method, "source": "reproduced", "mb": round(counted, 2), "mb_on_disk": round(on_disk, 2)}
