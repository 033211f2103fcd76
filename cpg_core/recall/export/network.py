"""A task as one plain network: pixels in, normalised inside, logits or embeddings out."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torchvision.ops import StochasticDepth

from cpg_core.model.network import Network
from cpg_core.storage.records import TaskRecord


class PlainNetwork(nn.Module):
    """Images uint8 `[N, C, H, W]` to what the task answers, float32 `[N, numbers]`.

    Args:
        backbone: from normalised images to features.
        head: from features to logits or an embedding.
        mean, std: of the task's training images, a number a channel.
    """

    def __init__(self, backbone: nn.Module, head: nn.Linear, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.scale: Tensor
        self.shift: Tensor
        of_channel = torch.tensor(mean).view(-1, 1, 1), torch.tensor(std).view(-1, 1, 1)
        self.register_buffer("scale", 1 / (255 * of_channel[1]))
        self.register_buffer("shift", of_channel[0] / of_channel[1])

    def forward(self, pixels: Tensor) -> Tensor:
        """As recall computes it, in float32."""
        features: Tensor = self.head(self.backbone(pixels.float() * self.scale - self.shift))
        return features


def plain_network(network: Network, record: TaskRecord) -> PlainNetwork:
    """A copy of a recalled task's network, on the CPU, in evaluation mode, without what is there for training alone."""
    recalled = deepcopy(network).to(device="cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    head = recalled.head
    assert isinstance(head, nn.Linear)
    plain_head = nn.Linear(head.in_features, head.out_features, bias=head.bias is not None)
    plain_head.load_state_dict({name: value for name, value in head.state_dict().items() if name in ("weight", "bias")})
    backbone = recalled.backbone
    random = [name for name, module in backbone.named_modules() if isinstance(module, _DropoutNd | StochasticDepth)]
    for name in random:
        backbone.set_submodule(name, nn.Identity())
    made = PlainNetwork(backbone, plain_head, record.mean, record.std)
    return made.requires_grad_(requires_grad=False).eval()
