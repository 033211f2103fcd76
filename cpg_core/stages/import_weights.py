"""Import: a pretrained network becomes task 1, in place of pick_train; it is measured, and then pruned as any task."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from cpg_core import backbones
from cpg_core.backbones import Pretrained
from cpg_core.config.backbone import HUB, BackboneSpec, is_file
from cpg_core.config.suggestions import unknown
from cpg_core.errors import CpgError
from cpg_core.model.imported import imported
from cpg_core.model.network import build, width
from cpg_core.model.state import TaskState
from cpg_core.objectives import Objective
from cpg_core.objectives.classification import OBJECTIVE as CLASSIFICATION
from cpg_core.stages.context import Outcome, Place, TaskContext
from cpg_core.stages.request import Request
from cpg_core.stages.train_state import accuracy_of_state
from cpg_core.storage.files import sha256
from cpg_core.storage.weight_files import read_weights


def import_weights(context: TaskContext, request: Request, state: TaskState | None, place: Place) -> Outcome:  # noqa: ARG001
    """The network of the run's weight file as the task's state, which holds all of its shared weights."""
    began = time.monotonic()
    spec = context.run.spec
    at = width(spec.settings.base_width, request.budget_x)
    tensors = network_tensors(spec.backbone, at, len(context.data.classes), context.objective)
    shared = {name: tensors.pop(f"backbone.{name}").float() for name in context.run.shapes(request.budget_x)}
    found = TaskState(
        budget_x=request.budget_x,
        own={name: torch.ones_like(weight, dtype=torch.bool) for name, weight in shared.items()},
        value=shared,
        pick={name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in shared.items()},
        private=tensors,
    )
    accuracy = accuracy_of_state(context, found)
    return Outcome(found, {"accuracy": accuracy}, seconds=time.monotonic() - began)


def network_tensors(
    spec: BackboneSpec, at: float, classes: int | None = None, objective: Objective = CLASSIFICATION
) -> dict[str, torch.Tensor]:
    """All tensors of a task's network at a width, from the weight file of its backbone.

    Args:
        spec: a backbone with weights.
        at: the width.
        classes: of the task; None: as many as the file tells apart.
        objective: of the task.

    Raises:
        CpgError: the file is missing, damaged, not the one that the run was made with, or another network's.
    """
    file = weight_file(spec)
    if spec.weights_sha256 is not None and sha256(file) != spec.weights_sha256:
        raise CpgError(f"{file}: not the file that the run was made with (SHA-256 {spec.weights_sha256[:12]}...)")
    head = backbones.find(spec.name).head
    if head is None:
        raise CpgError(f"backbone {spec.name}: it has no published classifier, so no weights; leave `weights` out")
    tensors = read_weights(file)
    if classes is None:
        if f"{head}.weight" not in tensors:
            raise CpgError(f"{file}: it has no {head}.weight, the classifier of backbone {spec.name}")
        classes = len(tensors[f"{head}.weight"])
    with torch.device("meta"):
        network = build(spec, at, classes, objective=objective)
    return imported(tensors, network, head, str(file))


def weight_file(spec: BackboneSpec) -> Path:
    """Where the weights are, fetched if need be.

    Raises:
        CpgError: the backbone has none of that name, or they cannot be fetched.
    """
    assert spec.weights is not None
    if spec.weights.startswith(HUB):
        return _of_the_hub(spec.weights)
    if is_file(spec.weights):
        if not Path(spec.weights).is_file():
            raise CpgError(f"{spec.weights}: there is no such file; check the path of the weights")
        return Path(spec.weights)
    return published(spec).file()


def published(spec: BackboneSpec) -> Pretrained:
    """The published weights that a backbone names.

    Raises:
        CpgError: it has none of that name.
    """
    known, name = backbones.find(spec.name).weights(), str(spec.weights)
    if name not in known:
        raise unknown(f"weights of backbone {spec.name}", name, [*known, "a .pth or .safetensors file"])
    return known[name]


def _of_the_hub(address: str) -> Path:
    from huggingface_hub import hf_hub_download

    parts = address.removeprefix(HUB).split("/", 2)
    if len(parts) != 3:
        raise CpgError(f"{address}: expected {HUB}OWNER/NAME/FILE")
    try:
        return Path(hf_hub_download(f"{parts[0]}/{parts[1]}", parts[2]))
    except Exception as error:  # of the net, of the hub, of the disk
        raise CpgError(f"{address}: cannot be fetched ({type(error).__name__}: {error})") from error


def checked(spec: BackboneSpec, base_width: float) -> BackboneSpec:
    """A backbone with the SHA-256 of its weight file, whose names and shapes fit; as it is where it has no weights.

    How many classes it has is only known with the images of task 1.

    Raises:
        CpgError: as `network_tensors`, but for the classes.
    """
    if spec.weights is None:
        return spec
    network_tensors(spec, base_width)
    return spec.model_copy(update={"weights_sha256": sha256(weight_file(spec))})
