"""What every benchmark prints: a table for people, then one line of JSON with the same figures."""

from __future__ import annotations

import json

import pandas as pd
from rich.console import Console
from rich.table import Table


def show(title: str, frame: pd.DataFrame, figures: dict[str, object]) -> None:
    """Print the table, and the figures as the last line."""
    show_table(title, frame)
    print(json.dumps(figures))


def show_table(title: str, frame: pd.DataFrame) -> None:
    """Print the table alone."""
    table = Table(title=title)
    for column in frame.columns:
        table.add_column(str(column), justify="right")
    for row in frame.itertuples(index=False):
        table.add_row(*("-" if value is None else str(value) for value in row))
    Console(width=120).print(table)
