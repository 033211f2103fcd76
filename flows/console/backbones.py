"""The table of backbones."""

from __future__ import annotations

import importlib

import pandas as pd
import torch

from cpg_core import backbones as known
from cpg_core.backbones import Backbone
from cpg_core.errors import CpgError

DEFAULT = "DEFAULT"
"""torchvision's second name for its newest weights."""


def backbones(family: str | None) -> tuple[pd.DataFrame, list[str]]:
    """A row a backbone, or a row a network of a family, and why others of that family cannot be used."""
    names = known.names() if family is None else [f"{family}/{name}" for name in _members(family)]
    rows, refused = [], list[str]()
    for name in names:
        try:
            rows.append(_row(known.find(name)))
        except CpgError as error:
            refused.append(str(error))
    return pd.DataFrame(rows), refused


def _members(family: str) -> list[str]:
    module = importlib.import_module(f"{known.__name__}.{known.module_of(f'{family}/')}")
    names: list[str] = module.names()
    return names


def _row(backbone: Backbone) -> dict[str, object]:
    takes = backbone.input
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in backbone.build(1.0).parameters())
    return {
        "backbone": backbone.name,
        "input": f"{takes.channels}x{takes.size}x{takes.size}",
        "other sizes": "none" if takes.smallest is None else f"from {takes.smallest}",
        "parameters (M)": round(count / 1e6, 3),
        "growable": "yes" if backbone.growable else "no",
        "weights": ", ".join(name for name in backbone.weights() if name != DEFAULT) or "none",
    }
