"""Runs that were made before a setting was: what stands for it, so that they can be audited and added to for ever.

A setting that is added to `cpg_core.config.settings` is added here too, with the value that earlier runs had in effect.
"""

from __future__ import annotations

from typing import Any

SINCE: dict[str, Any] = {
    "finetune": {"lr": 5.0e-3},
    "ewc": {"strength": 10.0, "images": 200},
    "lwf": {"strength": 1.0, "temperature": 2.0},
    "den": {"l1": 1.0e-5, "head_epochs": 20, "group": 1.0e-3, "step_x": 0.1, "drift": 0.3, "split_epochs": 20},
    "progressive": {"column_width": 1.0},
    "compute": {"processes": 1, "precision": "float32"},
}


def completed(settings: dict[str, Any], since: dict[str, Any] = SINCE) -> dict[str, Any]:
    """The settings of a `run.json`, with those that there were not yet; what it does say stays."""
    whole = dict(settings)
    for name, value in since.items():
        inner = whole.get(name, {})
        if isinstance(value, dict) and isinstance(inner, dict):
            whole[name] = completed(inner, value)
        else:
            whole.setdefault(name, value)
    return whole
