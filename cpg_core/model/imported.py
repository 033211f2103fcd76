"""A weight file's tensors as the tensors of a task's network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cpg_core.errors import CpgError
from cpg_core.model.layers import Layers
from cpg_core.model.network import Network

COUNTER = "num_batches_tracked"
"""Of batch norm; older files have none, and nothing that is computed here rests on it."""
SHOWN = 4


def imported(tensors: Mapping[str, Tensor], network: Network, head: str, where: str) -> Layers:
    """For each tensor of `network`, by its name there, the one of the file.

    Args:
        tensors: of the file, by the names that the published network has.
        network: the task's; of its weights only names and shapes are looked at.
        head: the classifier's name in the file.
        where: the file, for errors.

    Raises:
        CpgError: tensors are missing, surplus or of another shape, each named; or the file has other outputs.
    """
    wanted = network.state_dict()
    found = {_name_here(name, head): tensor for name, tensor in tensors.items()}
    outputs = found.get("head.weight")
    classes = len(wanted["head.weight"]) if "head.weight" in wanted else None
    if outputs is not None and classes is not None and len(outputs) != classes:
        raise CpgError(
            f"{where}: its {head} tells {len(outputs)} classes apart, and task 1 has {classes}; task 1 must "
            "be the problem that these weights were trained for"
        )
    missing = [name for name in wanted if name not in found and not name.endswith(COUNTER)]
    surplus = [name for name in found if name not in wanted]
    other = [name for name in wanted if name in found and found[name].shape != wanted[name].shape]
    problems = [
        *_named("missing", [_name_there(name, head) for name in missing]),
        *_named("not of this network", [_name_there(name, head) for name in surplus]),
        *_named(
            "of another shape",
            [
                f"{_name_there(name, head)} {list(found[name].shape)} instead of {list(wanted[name].shape)}"
                for name in other
            ],
        ),
    ]
    if problems:
        raise CpgError("\n".join(f"{where}: {problem}" for problem in problems))
    return {
        name: found.get(name, torch.zeros_like(value, device="cpu")).to(value.dtype) for name, value in wanted.items()
    }


def _named(what: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [f"{what}: {', '.join(names[:SHOWN])}{more}"]


def _name_here(name: str, head: str) -> str:
    return f"head.{name.removeprefix(f'{head}.')}" if name.startswith(f"{head}.") else f"backbone.{name}"


def _name_there(name: str, head: str) -> str:
    if name.startswith("head."):
        return f"{head}.{name.removeprefix('head.')}"
    return name.removeprefix("backbone.")
