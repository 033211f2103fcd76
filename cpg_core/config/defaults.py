"""Recorded defaults for settings that older runs do not have, so that these runs can still be audited and extended.

A setting that is added to `cpg_core.config.settings` is added here too, with the value that earlier runs had in effect.
"""

from __future__ import annotations

from typing import Any

OLD_DEFAULTS: dict[str, Any] = {
    "finetune": {"lr": 5.0e-3},
    "ewc": {"strength": 10.0, "images": 200},
    "lwf": {"strength": 1.0, "temperature": 2.0},
    "den": {"l1": 1.0e-5, "head_epochs": 20, "group": 1.0e-3, "step_x": 0.1, "drift": 0.3, "split_epochs": 20},
    "progressive": {"column_width": 1.0},
    "compute": {"processes": 1},
}
"""Settings added later that stage keys and results tell at any value, as they always did."""

OLD_DEFAULTS_LEFT_OUT: dict[str, Any] = {
    "linear_init": "kaiming",
    "seeds": "shared",
    "pick_train": {"picks": {"kind": "adam"}, "keep": "last"},
    "grow": {"new_weights": "all", "reserve_x": 0.0},
    "prune": {
        "share": None,
        "unit": "weight",
        "room_share": "exact",
        "min_sparsity": 0.0,
        "recover_epochs": 0,
        "skip_empty": False,
        "keep": "last",
    },
    "one_shot": {"schedule": {"kind": "constant"}},
    "finetune": {"init_from": "random"},
    "retrain": {"compare": "compact"},
    "compute": {"precision": "float32", "cache_bytes": 8 * 2**30},
    "store": {"values": "float32", "private": "float32", "masks": "zlib"},
}
"""Settings added later. A value equal to the old default is left out of stage keys and results, so finished runs stay
valid. A setting that is added now belongs here.
"""


def with_old_defaults(settings: dict[str, Any], *defaults: dict[str, Any]) -> dict[str, Any]:
    """Settings from `run.json`, with old defaults filled in; values that are there are kept."""
    whole = dict(settings)
    for known in defaults or (OLD_DEFAULTS, OLD_DEFAULTS_LEFT_OUT):
        for name, value in known.items():
            inner = whole.get(name, {})
            if isinstance(value, dict) and isinstance(inner, dict):
                whole[name] = with_old_defaults(inner, value)
            else:
                whole.setdefault(name, value)
    return whole


def without_old_defaults(settings: dict[str, Any], omitted: dict[str, Any] = OLD_DEFAULTS_LEFT_OUT) -> dict[str, Any]:
    """The settings without those that have the value that was in effect before they could be set."""
    kept = {}
    for name, value in settings.items():
        if name not in omitted:
            kept[name] = value
        elif value != omitted[name]:
            groups = isinstance(value, dict) and isinstance(omitted[name], dict) and "kind" not in value
            kept[name] = without_old_defaults(value, omitted[name]) if groups else value
    return kept
