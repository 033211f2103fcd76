"""All tables of an experiment, by the names of their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from flows.reproduce.by_task import LAYOUTS, accuracy_table, data_table
from flows.reproduce.conversions import Converted
from flows.reproduce.plan import Plan
from flows.reproduce.result import RunResult, as_in_the_profile
from flows.reproduce.sizes import base_network, table_3
from flows.reproduce.tables import comparison, table

PUBLISHED = Path("results/published")
FULL_WIDTH = 1.0
"""The published channel width."""


def frames(
    plan: Plan, results: Mapping[str, RunResult], root: Path, stored: Iterable[Converted] = ()
) -> dict[str, pd.DataFrame]:
    """The paper's tables with what was reproduced beside them, and the comparison of all methods."""
    published, base = root / PUBLISHED, base_network(plan, root)
    rows = as_in_the_profile(results)
    if layout := LAYOUTS.get(plan.sequence):
        return {
            layout.data: data_table(layout, root / plan.folder / "data.json", published, plan.command("prepare")),
            layout.accuracy: accuracy_table(layout, rows, published, base.weights),
            "comparison": comparison(results),
        }
    return {
        "table1": table("table1", rows, published),
        "table2": table("table2", rows, published),
        "table3": table_3(rows, published, base, stored, base_network(plan, root, FULL_WIDTH)),
        "table8": table("table8", rows, published),
        "comparison": comparison(results),
    }
