"""A weight file's tensors as the tensors of a task's network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cpg_core.backbones import PublishedHead
from cpg_core.errors import CpgError, listed
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network

COUNTER = "num_batches_tracked"
"""Of batch norm; older files have none, and nothing that is computed here rests on it."""
SHOWN = 4


def imported(tensors: Mapping[str, Tensor], network: Network, head: PublishedHead, where: str) -> Layers:
    """For each tensor of `network`, by its name there, the one of the file; `head.from_images` may be absent.

    Args:
        tensors: of the file, by the names that the published network has.
        network: the task's; of its weights only names and shapes are looked at.
        head: what the published network ends in.
        where: the file, for errors.

    Raises:
        CpgError: tensors are missing, surplus, of another shape or not finite, each named; or the file has other
            outputs.
    """
    wanted = network.state_dict()
    _need_classes(tensors, wanted, head, where)
    there = {name: _name_there(name, head) for name in wanted}
    shapes = {there[name]: _shape_there(name, value, head) for name, value in wanted.items()}
    left_out = {there[name] for name in wanted if name.endswith(COUNTER) or name == f"head.{head.from_images}"}
    missing = [name for name in shapes if name not in tensors and name not in left_out]
    other = [name for name, shape in shapes.items() if name in tensors and list(tensors[name].shape) != shape]
    problems = [
        *_named("missing", missing),
        *_named("not of this network", [name for name in tensors if name not in shapes]),
        *_named("not finite", [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]),
        *_named(
            "of another shape", [f"{name} {list(tensors[name].shape)} instead of {shapes[name]}" for name in other]
        ),
    ]
    if set(other) & set(head.names.values()):
        problems[-1] += f"; the shapes of its head follow from {head.follows}"
    if problems:
        raise CpgError("\n".join(f"{where}: {problem}" for problem in problems))
    found = {}
    for name, value in wanted.items():
        tensor = tensors.get(there[name])
        if tensor is not None:
            found[name] = (tensor.t().contiguous() if _is_transposed(name, head) else tensor).to(value.dtype)
        elif name.endswith(COUNTER):
            found[name] = torch.zeros_like(value, device="cpu")
    return found


def _need_classes(tensors: Mapping[str, Tensor], wanted: Layers, head: PublishedHead, where: str) -> None:
    outputs = wanted.get(f"head.{head.rows[0]}")
    count, classes = head.count(tensors), None if outputs is None else len(outputs)
    if count is None or classes is None or count == classes:
        return
    name = head.names[head.rows[0]]
    cure = "with its own images, or with any images: cpg import"
    if head.from_images is not None:
        cure = f"of these {head.classes}; or leave {name} out of the file: the images of task 1 then give it"
    raise CpgError(
        f"{where}: its {name.rpartition('.')[0]} tells {count} {head.classes} apart, and task 1 has {classes}; let "
        f"task 1 be what it was trained for: {cure}"
    )


def _named(what: str, names: Sequence[str]) -> list[str]:
    return [f"{what}: {listed(names, SHOWN)}"] if names else []


def _is_transposed(name: str, head: PublishedHead) -> bool:
    return name.removeprefix("head.") in head.transposed and name.startswith("head.")


def _shape_there(name: str, value: Tensor, head: PublishedHead) -> list[int]:
    return list(value.shape[::-1] if _is_transposed(name, head) else value.shape)


def _name_there(name: str, head: PublishedHead) -> str:
    part, _, inner = name.partition(".")
    return head.names[inner] if part == "head" else inner
