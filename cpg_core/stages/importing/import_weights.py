"""Import: a pretrained network becomes task 1, in place of pick_train; it is measured, and then pruned as any task."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from cpg_core import backbones, objectives
from cpg_core.backbones import Pretrained, PublishedHead
from cpg_core.config.backbone import HUB, BackboneSpec, is_file
from cpg_core.config.suggestions import unknown
from cpg_core.errors import CpgError
from cpg_core.model.imported import imported
from cpg_core.model.layers import Layers
from cpg_core.model.network import build, width
from cpg_core.model.state import TaskState
from cpg_core.objectives import ObjectiveSpec
from cpg_core.stages.context import Outcome, TaskContext
from cpg_core.stages.importing.imprint import mean_directions
from cpg_core.stages.request import Request
from cpg_core.stages.train_state import accuracy_of_state
from cpg_core.storage.files import sha256
from cpg_core.storage.snapshot import Snapshots
from cpg_core.storage.weight_files import read_weights

CLASSIFICATION = ObjectiveSpec()


def import_weights(context: TaskContext, request: Request, state: TaskState | None, snapshots: Snapshots) -> Outcome:  # noqa: ARG001
    """The network of the run's weight file as the task's state, which holds all of its shared weights."""
    began = time.monotonic()
    spec = context.run.spec
    at = width(spec.settings.base_width, request.budget_x)
    data, head = context.data, _head_of(spec.backbone, context.data.spec.kind)
    classes = data.spec.classes or data.classes  # of verification, those who are held out are among them
    tensors = network_tensors(spec.backbone, at, data.spec, len(classes))
    tensors = _rows_of(data.classes, classes, head, tensors)
    shared = {name: tensors.pop(f"backbone.{name}").float() for name in context.run.shapes(request.budget_x)}
    found = TaskState(
        budget_x=request.budget_x,
        own={name: torch.ones_like(weight, dtype=torch.bool) for name, weight in shared.items()},
        value=shared,
        pick={name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in shared.items()},
        private=tensors,
    )
    if head.from_images is not None and (name := f"head.{head.from_images}") not in tensors:
        found = replace(found, private=tensors | {name: mean_directions(context, found, name)})
    accuracy = accuracy_of_state(context, found)
    return Outcome(found, {"accuracy": accuracy}, seconds=time.monotonic() - began)


def _head_of(spec: BackboneSpec, kind: str) -> PublishedHead:
    """What the published network of a backbone ends in, for a first task of a kind.

    Raises:
        CpgError: there is no such network, or it does tasks of another kind.
    """
    head = backbones.find(spec.name).head
    if head is None:
        raise CpgError(
            f"backbone {spec.name}: it has no published classifier, so no weights are known for it; begin with another "
            "(cpg backbones), or, in a sequence, leave `weights` out"
        )
    if head.kind != kind:
        raise CpgError(
            f"backbone {spec.name}: its published network does {head.kind}, and task 1 is of kind {kind}; let task 1 "
            f"be the {head.kind} that the weights were trained for, or leave `weights` out"
        )
    return head


def _rows_of(trained: Sequence[str], classes: Sequence[str], head: PublishedHead, tensors: Layers) -> Layers:
    """The tensors without the rows of classes that are not trained, since they are held out to validate on."""
    if len(trained) == len(classes):
        return tensors
    kept, rows = torch.tensor([classes.index(name) for name in trained]), {f"head.{name}" for name in head.rows}
    return {name: value[kept] if name in rows else value for name, value in tensors.items()}


def network_tensors(
    spec: BackboneSpec, at: float, task: ObjectiveSpec = CLASSIFICATION, classes: int | None = None
) -> Layers:
    """All tensors of a task's network at a width, from the weight file of its backbone.

    Of its head one may be absent, which the images of the task then give (`PublishedHead.from_images`).

    Args:
        spec: a backbone with weights.
        at: the width.
        task: what it says of its objective.
        classes: of the task; None: as many as the file tells apart.

    Raises:
        CpgError: the file is missing, damaged, not the one that the run was made with, another network's, of another
            kind of task, or of one class.
    """
    head = _head_of(spec, task.kind)
    file = weight_file(spec)
    if spec.weights_sha256 is not None and sha256(file) != spec.weights_sha256:
        raise CpgError(f"{file}: not the file that the run was made with (SHA-256 {spec.weights_sha256[:12]}...)")
    tensors = read_weights(file)
    if (first := next(iter(head.names.values()))) not in tensors:
        raise CpgError(f"{file}: it has no {first}, of the head of backbone {spec.name}; it may be another network's")
    if classes is None:
        classes = head.count(tensors)
        if classes == 1:
            raise CpgError(
                f"{file}: the network has one output; a task needs two classes or more. Of a network that tells two by "
                "one logit z, write a head of two rows: zeros, and that of z"
            )
    with torch.device("meta"):
        network = build(spec, at, classes or 1, objective=objectives.of(task))
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


def checked(spec: BackboneSpec, base_width: float, task: ObjectiveSpec = CLASSIFICATION) -> BackboneSpec:
    """A backbone with the SHA-256 of its weight file, whose names and shapes fit; as it is where it has no weights.

    How many classes it has is only known with the images of task 1, of which `task` says the objective.

    Raises:
        CpgError: as `network_tensors`, but for the classes.
    """
    if spec.weights is None:
        return spec
    network_tensors(spec, base_width, task)
    return spec.model_copy(update={"weights_sha256": sha256(weight_file(spec))})
