"""Interim."""

from __future__ import annotations
from pathlib import Path
from cpg_core.backbones import find as find_backbone
from cpg_core.data.spec import load_sequence
from cpg_core.data.task import load_task_data


def manifest(sequence: str, root: Path) -> dict[str, object]:
    spec = load_sequence(sequence, root / "data")
    size = find_backbone(spec.backbone).INPUT
    out = {}
    for task in spec.tasks:
        data = load_task_data(task, image_size=size.size, channels=size.channels, val_fraction=0.1, seed=1)
        out[task.name] = {"classes": list(data.classes), "sha256": data.digest}
    return out
