"""The images of a sequence: fetched if need be, read and checked, and told by their number and digest."""

from __future__ import annotations

from pathlib import Path

from cpg_core.backbones import find as find_backbone
from cpg_core.data.spec import TaskSpec, load_sequence
from cpg_core.data.task import load_task_data

Manifest = dict[str, dict[str, object]]
"""By task: its classes, how many images it trains and tests on, and the SHA-256 of all of them."""


def manifest(sequence: str, definitions: Path) -> Manifest:
    """What a sequence's images are. It names no place, so that it is the same wherever they lie.

    Args:
        sequence: a sequence's name, or the path of its YAML file.
        definitions: the folder of the sequences.

    Raises:
        CpgError: the sequence, one of its sources or an image is missing or wrong.
    """
    found = load_sequence(sequence, definitions)
    takes = find_backbone(found.backbone).INPUT
    return {task.name: _images(task, takes.size, takes.channels) for task in found.tasks}


def _images(task: TaskSpec, size: int, channels: int) -> dict[str, object]:
    # No validation split is held out: which images that takes depends on the settings of a run.
    data = load_task_data(task, image_size=size, channels=channels, val_fraction=0, seed=0)
    counts = {"train": len(data.train), "test": len(data.test)}
    return {"classes": list(data.classes), **counts, "sha256": data.digest}
