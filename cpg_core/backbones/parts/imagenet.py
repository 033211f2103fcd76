"""Networks that were trained on ImageNet: torchvision's weights by their names, and how their images are normalised."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import torch

from cpg_core.backbones import Pretrained
from cpg_core.errors import CpgError

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def torchvision_weights(network: str) -> Mapping[str, Pretrained]:
    """The weights that torchvision has for a network, by their names there."""
    from torchvision import models  # slow to import, and most networks do without

    found = {}
    for name, weights in models.get_model_weights(network).__members__.items():
        transforms = weights.transforms()
        found[name] = Pretrained(
            partial(_downloaded, weights),
            tuple(transforms.mean),
            tuple(transforms.std),
            tuple(weights.meta["categories"]),
        )
    return MappingProxyType(found)


def categories() -> tuple[str, ...]:
    """The 1,000 classes of ImageNet, in its order."""
    from torchvision import models

    return tuple(models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def _downloaded(weights: WeightsEnum) -> Path:
    """The file, where torchvision keeps it, fetched if need be.

    Raises:
        CpgError: it cannot be fetched.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(weights.url).path).name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(weights.url, str(file), hash_prefix=file.stem.rpartition("-")[2])
        except Exception as error:  # of the net, of the disk, or of a file that is not what its name says
            raise CpgError(
                f"{weights.url}: cannot be fetched ({type(error).__name__}: {error}); save it as {file}"
            ) from error
    return file
