"""Runs so small that a task takes a third of a second: the one table of settings that every law is tested with."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cpg_core.config.backbone import BackboneSpec
from cpg_core.config.settings import Settings, load_settings
from cpg_core.data.spec import load_sequence, select
from cpg_core.machine import versions
from cpg_core.methods import every
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network, shared_parameters
from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.storage.run_spec import RunSpec
from cpg_core.storage.runs import open_or_new, open_run, write_spec
from cpg_core.training.reporter import Silent

ROOT = Path(__file__).parents[2]

TINY = (
    "compute.threads=1",
    "base_width=0.5",
    "pick_train.epochs=3",
    "pick_train.score_lr=0.002",
    "pick_train.score_freeze_epoch=2",
    "prune.targets=[0.5, 0.8]",
    "prune.epochs=2",
    "prune.prune_epochs=1",
    "one_shot.epochs=2",
    "den.head_epochs=1",
    "den.split_epochs=1",
    "retrain.epochs=2",
    "retrain.score_lr=0.002",
)
GROWS = ("check.min_train_accuracy=1.0", "grow.first_task=false", "grow.max_x=2.0")
"""The check always fails, so every task but the first grows, x1 to x1.5 to x2."""

SHORT = (*GROWS, "batch_size=128", "pick_train.epochs=1", "prune.targets=[0.5]", "retrain.epochs=1")
DEEP: dict[str, dict[str, Any]] = {
    "vgg16_bn": {"backbone": "vgg16_bn", "overrides": (*SHORT, "base_width=0.03")},
    "resnet18_32": {"backbone": "resnet18_32", "overrides": (*SHORT, "base_width=0.03")},
    "efficientnet_lite0": {
        "backbone": {"name": "efficientnet_lite0", "size": 32},
        "overrides": (*SHORT, "grow.step_x=1.0", "base_width=0.1", "pick_train.lr=0.002", "prune.lr=0.001"),
    },
    "sphereface20": {
        "backbone": {"name": "sphereface20", "size": 16},
        "overrides": (*SHORT, "grow.step_x=1.0", "base_width=0.05"),
    },
}
"""Deep networks, so narrow that two tasks take seconds: a chain, residual sums, depthwise convolutions, and one without
batch norm whose heads read a flattened map."""

OPTIMIZERS = {
    "sgd": ("optimizer.kind=sgd",),
    "adamw": ("optimizer.kind=adamw", "pick_train.lr=0.004", "prune.lr=0.002", "optimizer.weight_decay=0.1"),
}
BY_ADAMW = ("cpg", "den", "sequential")
"""The methods that the laws are tested with under AdamW too: all share one optimizer, and DEN steps beside it."""


def learners(methods: Sequence[str]) -> list[tuple[str, str]]:
    """Every method with SGD, and those of `BY_ADAMW` with AdamW."""
    return [(method, name) for method in methods for name in OPTIMIZERS if name == "sgd" or method in BY_ADAMW]


KEEPING = sorted(name for name, method in every().items() if not method.overwrites)
FORGETTING = sorted(name for name, method in every().items() if method.overwrites)


def settings(*overrides: str) -> Settings:
    return load_settings(ROOT / "params.yaml", "digits", (*TINY, *overrides))


def spec(
    method: str = "cpg",
    tasks: str = "1-3",
    goal: float = 0.6,
    overrides: tuple[str, ...] = (),
    seed: int = 1,
    backbone: str | dict[str, Any] = "digits_cnn",
) -> RunSpec:
    chosen = select(load_sequence("digits-5", ROOT / "data"), tasks)
    return RunSpec(
        name="tiny",
        sequence="digits-5",
        ordering="0",
        method=method,
        backbone=BackboneSpec.model_validate(backbone),
        profile="digits",
        seed=seed,
        goals={task.name: goal for task in chosen},
        settings=settings(*overrides),
        tasks=chosen,
        versions=versions(),
        git_commit=None,
    )


def begun(root: Path, run_spec: RunSpec) -> Run:
    """A run whose `run.json` is there, and nothing more."""
    run = open_or_new(root, run_spec)
    write_spec(run)
    return run


def learn(root: Path, run_spec: RunSpec) -> Run:
    """A finished run."""
    run = open_or_new(root, run_spec)
    learn_sequence(run, Silent())
    return run


def copy(run: Run, to: Path) -> Run:
    """The same run in another place, to be damaged there."""
    for folder in ("checkpoints", "work"):
        shutil.copytree(run.root / folder, to / folder)
    return open_run(to, run.spec.name)


def frozen_bytes(run: Run) -> dict[str, bytes]:
    """Every file of the run's checkpoints but the one that holds clock times."""
    files = (path for path in run.folder.rglob("*") if path.is_file() and path.name != "seconds.json")
    return {str(path.relative_to(run.folder)): path.read_bytes() for path in files}


def bits(tensors: dict[str, Tensor]) -> dict[str, bytes]:
    """The bytes of tensors, so that -0.0 and 0.0, and two kinds of NaN, differ."""
    return {name: tensor.detach().contiguous().numpy().tobytes() for name, tensor in tensors.items()}


def random_layers(seed: int, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def values(net: Network) -> Layers:
    """The shared weights that a network computes with now."""
    return {name: parameter.detach().clone() for name, parameter in shared_parameters(net).items()}


def flip(path: Path) -> None:
    """Change a bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
