"""Backbones: a file each, found by its name. Adding one means adding one file.

A backbone file defines

- `INPUT`: the `Input` that it takes;
- `build(width)`: a plain `nn.Module` from `[N, channels, size, size]` to features `[N, out_features]`, with an
  `out_features` attribute. Channels scale with `width`, and a wider network has the narrower one in its leading
  slices, so that growth can copy the old block into the leading corner. Parameter names are the same at any width. The
  network uses no randomness in training (no dropout), so that a resumed run ends in the same bytes. Every tensor it
  computes with is in its `state_dict` or made in `forward`;
- `GROWABLE = False`, where it has one width alone;
- `SIZED = True`, where the number of features depends on the size of the images: it is then `build(width, size)`;
- `HEAD`, the `PublishedHead` that it has in weight files: where a run can begin from a file; and `WEIGHTS`, a function
  to the `Pretrained` by their names: where it can find some.

What tasks share are the weights of its convolutions and linear layers; all else is private to each task.

`parts/` holds what several of them are built from. A file of `families/` gives the networks of another package by
`names()` and `find(name)`: `torchvision/mobilenet_v3_small` is one of `families/torchvision.py`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from cpg_core.config.backbone import BackboneSpec
from cpg_core.config.suggestions import unknown
from cpg_core.errors import CpgError


@dataclass(frozen=True)
class Input:
    """What images a backbone takes: `[N, channels, size, size]`.

    Attributes:
        size: pixels a side, where nothing else is asked for.
        smallest: the least size that may be asked for; None: it takes `size` alone.
    """

    channels: int
    size: int
    smallest: int | None = None


@dataclass(frozen=True)
class Pretrained:
    """Published weights of a backbone.

    Attributes:
        file: fetches the file if need be, and says where it is.
        mean: of pixels in [0, 1], a channel each, that its images were normalised by; `std` likewise.
        classes: its outputs.
    """

    file: Callable[[], Path]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class PublishedHead:
    """What a published network ends in, and how weight files name that. Tensors have their names in our head here.

    Attributes:
        kind: of the tasks that it is the head of.
        names: in weight files, of each tensor of the head; the first shows whether a file is of this network.
        rows: the tensors with a row for each class that the network was trained to tell apart.
        transposed: those that files hold with rows and columns exchanged.
        from_images: the one that files may leave out, since task 1's images give it; None: there is none.
        classes: what it tells apart, for people.
        follows: from what its shapes follow, for people.
    """

    kind: str
    names: Mapping[str, str]
    rows: tuple[str, ...]
    transposed: tuple[str, ...] = ()
    from_images: str | None = None
    classes: str = "classes"
    follows: str = "the network"

    def count(self, tensors: Mapping[str, Tensor]) -> int | None:
        """How many classes the tensors of a file tell apart; None: it has none of `rows`."""
        name = self.rows[0]
        found = tensors.get(self.names[name])
        return None if found is None or found.dim() == 0 else found.shape[-1 if name in self.transposed else 0]


def linear_head(name: str) -> PublishedHead:
    """A linear layer of that name, from features to logits."""
    return PublishedHead(
        "classification", {"weight": f"{name}.weight", "bias": f"{name}.bias"}, rows=("weight", "bias")
    )


def no_weights() -> Mapping[str, Pretrained]:
    """Of a backbone that is published without."""
    return {}


@dataclass(frozen=True)
class Backbone:
    """A backbone, and what it can do.

    Attributes:
        input: the images that it takes, at its default size.
        build: a width to the network with its channel counts times that; of one width: whatever is asked for.
        growable: whether it can be built at any width.
        sized: whether `build` also takes the size of the images; if it is not given, the default one.
        head: in weight files; None: it cannot begin from one.
        weights: the published ones by their names.
    """

    name: str
    input: Input
    build: Callable[..., nn.Module]
    growable: bool = True
    sized: bool = False
    head: PublishedHead | None = None
    weights: Callable[[], Mapping[str, Pretrained]] = no_weights


def names() -> list[str]:
    """The backbones there are, those of families apart."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def family_names() -> list[str]:
    """The packages whose networks can be taken."""
    return sorted(module.name for module in pkgutil.iter_modules([str(Path(place) / "families") for place in __path__]))


def find(name: str) -> Backbone:
    """The backbone of that name.

    Raises:
        CpgError: there is none.
    """
    family, _, member = name.rpartition("/")
    if family in family_names():
        return cast(Backbone, importlib.import_module(f"{__name__}.{module_of(name)}").find(member))
    if name not in names():
        raise unknown("backbone", name, [*names(), *(f"{family}/NETWORK" for family in family_names())])
    module = importlib.import_module(f"{__name__}.{name}")
    return Backbone(
        name,
        module.INPUT,
        module.build,
        growable=getattr(module, "GROWABLE", True),
        sized=getattr(module, "SIZED", False),
        head=getattr(module, "HEAD", None),
        weights=getattr(module, "WEIGHTS", no_weights),
    )


def module_of(name: str) -> str:
    """The module of this package that a backbone comes from."""
    family, _, _ = name.rpartition("/")
    return f"families.{family}" if family else name


def input_of(spec: BackboneSpec) -> Input:
    """What images a backbone takes, at the size asked for.

    Raises:
        CpgError: there is no such backbone, or it does not take that size.
    """
    default = find(spec.name).input
    if spec.size is None or spec.size == default.size:
        return default
    if default.smallest is None:
        raise CpgError(f"backbone {spec.name} takes images of {default.size} pixels a side alone, not {spec.size}")
    if spec.size < default.smallest:
        raise CpgError(
            f"backbone {spec.name} takes images of {default.smallest} pixels a side or more, not {spec.size}"
        )
    return Input(default.channels, spec.size, default.smallest)


def build(spec: BackboneSpec, width: float) -> nn.Module:
    """The network of a backbone at a width, for images of the size asked for.

    Raises:
        CpgError: as `input_of`.
    """
    backbone = find(spec.name)
    return backbone.build(width, input_of(spec).size) if backbone.sized else backbone.build(width)


def channels(count: int, width: float) -> int:
    """A channel count at a width: rounded, and at least 1."""
    return max(1, round(count * width))
