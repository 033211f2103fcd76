"""Table 3: how large the models are, counted as the paper counts and as they lie on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cpg_core.config.settings import load_settings
from cpg_core.data.spec import load_backbone
from cpg_core.methods import find
from cpg_core.model.network import shared_shapes
from cpg_core.recall.metrics import MEGABYTE
from flows.parameters import PARAMS
from flows.reproduce.conversions import Converted
from flows.reproduce.plan import Plan
from flows.reproduce.result import RunResult, averages
from flows.reproduce.stored_sizes import Network, stored_rows
from flows.reproduce.tables import PAPER_SEQUENCE, beside_published
from flows.request import definitions


@dataclass(frozen=True)
class Published:
    """A model of the paper: its size in MB (Table 3) and its average test accuracy in percent (Table 2)."""

    method: str
    mb: float
    average: float


BITS_A_WEIGHT = 32
ONE_NETWORK = "VGG16-BN"
GOALS = ("avg", "max", "top")
MODELS = {
    "Scratch": ("scratch", "Individual Models"),
    "fine-Avg": ("finetune", "Individual Models"),
    "CPG avg": ("cpg", "CPG avg"),
    "CPG max": ("cpg", "CPG max"),
    "CPG top": ("cpg", "CPG top"),
}
"""For a row of Table 2: our name of the method, and the row of Table 3 that has its size."""


def base_network(plan: Plan, root: Path, width: float | None = None) -> Network:
    """The network of a plan's profile at budget x1, or the same at another width."""
    home = definitions(root)
    backbone = load_backbone(plan.sequence, home / "data")
    width = load_settings(home / PARAMS, plan.profile).base_width if width is None else width
    return Network(sum(shape.numel() for shape in shared_shapes(backbone, width).values()), width)


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


def one_network_mb(results: Iterable[RunResult]) -> float | None:
    """MB of one network in float32 on disk: the mean over those of independent models; None where none was learned."""
    sizes = [task.delta_bytes for result in results if result.method == "scratch" for task in result.tasks]
    return float(np.mean(sizes)) / MEGABYTE if sizes else None


def table_3(
    results: Mapping[str, RunResult],
    published: Path,
    base: Network,
    stored: Iterable[Converted] = (),
    full: Network | None = None,
) -> pd.DataFrame:
    """Table 3: a row a model and source; `mb` as the paper counts, `mb_on_disk` of all the files that recall needs.

    `networks` is either, on disk where there is such a figure, over that of ONE network in float32 of the same source.

    Args:
        results: all results of a profile.
        published: the folder with the paper's tables.
        base: the network at budget x1.
        stored: runs that were stored otherwise.
        full: the network of the published width.
    """
    one = one_network_mb(results.values())
    base = replace(base, mb_on_disk=one)
    rows: list[dict[str, object]] = []
    if scratch := [result for result in results.values() if result.method == "scratch"]:
        name = ONE_NETWORK if scratch[0].sequence == PAPER_SEQUENCE else "one model"
        rows.append({"method": name, "source": "reproduced", **_sizes(base.mb, one, base)})
        rows.append(_mean("Individual Models", scratch, base))
    for goal in GOALS:
        if chosen := [r for r in results.values() if (r.method, r.goal, r.ordering) == ("cpg", goal, "0")]:
            rows.append(_mean(f"CPG {goal}", chosen, base))
    rows += stored_rows(stored, base, full or base)
    frame = beside_published(rows, results, published / "table3.csv")
    if "paper" in set(frame.get("source", ())):
        paper = frame["source"] == "paper"
        network = frame.loc[paper & (frame["method"] == ONE_NETWORK), "mb"].item()
        frame.loc[paper, "networks"] = (frame.loc[paper, "mb"] / network).round(2)
    return frame


def _mean(method: str, chosen: list[RunResult], base: Network) -> dict[str, object]:
    counted = float(np.mean([counted_mb(result, base.weights) for result in chosen]))
    on_disk = float(np.mean([r.summary["model_mb"] for r in chosen]))
    average = round(float(np.mean(averages(chosen))), 1)
    sizes = _sizes(counted, on_disk, base)
    return {"method": method, "source": "reproduced", **sizes, "average": average, "n": len(chosen)}


def _sizes(counted: float, on_disk: float | None, base: Network) -> dict[str, float | None]:
    one = base.mb_on_disk
    networks = None if one is None or on_disk is None else round(on_disk / one, 2)
    return {"mb": round(counted, 2), "mb_on_disk": None if on_disk is None else round(on_disk, 2), "networks": networks}
