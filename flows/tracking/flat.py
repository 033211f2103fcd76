"""Settings by their dotted names, as MLflow's params."""

from __future__ import annotations


def flat(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    """`{"prune": {"lr": 1}}` to `{"prune.lr": 1}`."""
    out: dict[str, object] = {}
    for name, value in values.items():
        out |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return out
