"""What a task computes: its logits as it was trained, and as the product recalls them ever after.

The two come by different ways. What is kept at the freeze is computed here from the files of the stage alone, by plain
PyTorch: the witness has a model of its own, and knows nothing of deltas, owners or builders. What is recalled later is
what `evaluate`, `audit` and a served run use. So a fault of either the checkpoints or the recall shows, and one that
trained and recalled networks share does too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cpg_core import backbones
from cpg_core.data.batches import eval_batches
from cpg_core.data.splits.split import Split
from cpg_core.methods import assembly_of
from cpg_core.model.network import Network
from cpg_core.model.state import Shared
from cpg_core.runner import execute, learn_sequence, learn_task
from cpg_core.stages.context import TaskContext
from cpg_core.stages.freezing.recalled_network import network_of
from cpg_core.stages.request import Request
from cpg_core.storage.delta import Delta
from cpg_core.storage.records import StageRecord
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from cpg_core.training.evaluation import probe_images
from cpg_core.training.reporter import Silent


def look(network: nn.Module, run: Run, split: Split, mean: Tensor, std: Tensor) -> Tensor:
    """Logits of the probe and of real test images, one below the other."""
    probe = probe_images(run.input.channels, run.input.size).contiguous(memory_format=torch.channels_last)
    network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    with torch.inference_mode():
        batches = [probe, *(images for images, _ in eval_batches(split, mean, std, 64, "cpu"))]
        return torch.cat([network(images) for images in batches]).clone()


def recalled_network(run: Run, index: int, shared: Shared, delta: Delta) -> Network:
    return network_of(assembly_of(run), shared, run.record(index), delta)


def recalled(run: Run, index: int, shared: Shared | None = None, delta: Delta | None = None) -> Tensor:
    """Task `index` on the current model (or on another), all of it read from disk."""
    data = run.data(index)
    shared = shared or assembly_of(run).rebuild(run.frozen())
    return look(recalled_network(run, index, shared, delta or run.delta(index)), run, data.test, data.mean, data.std)


class Plain(nn.Module):
    """A backbone and a linear head."""

    def __init__(self, backbone: nn.Module, features: int, outputs: int) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(features, outputs)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))


@dataclass
class Witness:
    """Learns a run, and keeps what every task computed when it was trained and after every later one."""

    weights: dict[str, Tensor] = field(default_factory=dict)
    trained: dict[int, Tensor] = field(default_factory=dict)
    later: dict[tuple[int, int], Tensor] = field(default_factory=dict)

    def learn(self, run: Run) -> Witness:
        learn_sequence(run, Silent(), self._task)
        return self

    def _task(self, context: TaskContext) -> None:
        learn_task(context, self._stage)
        on_disk = open_run(context.run.root, context.run.spec.name)
        for index in range(1, context.index + 1):
            self.later[index, context.index] = recalled(on_disk, index)

    def _stage(self, context: TaskContext, request: Request) -> StageRecord:
        if request.stage == "freeze":
            (folder,) = context.run.task_work(context.index).glob(f"{request.source:02d}-*")
            self.trained[context.index] = self._in_training(context, folder, request.budget_x)
        return execute(context, request)

    def _in_training(self, context: TaskContext, folder: Path, budget_x: float) -> Tensor:
        """The task as it was trained: own values, the picked ones of earlier tasks, 0 elsewhere."""
        file, run, effective = load_file(folder / "state.safetensors"), context.run, {}
        for key in [key for key in file if key.startswith("own:")]:
            name = key.removeprefix("own:")
            own, value, pick = file[key], file[f"value:{name}"], file[f"pick:{name}"]
            older = torch.zeros_like(value)
            if name in self.weights:
                narrow = self.weights[name]
                older[tuple(map(slice, narrow.shape))] = narrow
            effective[f"backbone.{name}"] = torch.where(own, value, torch.where(pick, older, 0.0))
            self.weights[name] = torch.where(own, value, older)
        private = {key.removeprefix("private:"): value for key, value in file.items() if key.startswith("private:")}
        width = run.spec.settings.base_width * budget_x**0.5
        backbone = backbones.build(run.spec.backbone, width)
        private.pop("head.identities", None)  # which only training needs
        network = Plain(backbone, *private["head.weight"].T.shape)
        network.load_state_dict(effective | private)
        return look(network, run, context.data.test, context.data.mean, context.data.std)

    def forgotten(self) -> set[tuple[int, int]]:
        """The (task, later task) pairs after which a logit of the task is another than that of its training."""
        return {pair for pair, logits in self.later.items() if not torch.equal(logits, self.trained[pair[0]])}
