"""Several groups of named tensors in one flat mapping, as a file holds them: `group:name`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from cpg_core.model.layers import Layers


def flatten(groups: Mapping[str, Mapping[str, Tensor]]) -> Layers:
    """`{"own": {"0.weight": t}}` to `{"own:0.weight": t}`."""
    return {f"{group}:{name}": tensor for group, named in groups.items() for name, tensor in named.items()}


def unflatten(tensors: Mapping[str, Tensor], *groups: str) -> tuple[Layers, ...]:
    """The inverse of `flatten`: the named groups, in the order asked for; an absent group is empty.

    Tensors of other groups, and those without a group, are left out.
    """
    found: dict[str, Layers] = {group: {} for group in groups}
    for key, tensor in tensors.items():
        group, separator, name = key.partition(":")
        if separator and group in found:
            found[group][name] = tensor
    return tuple(found.values())
