"""The angular layer of an embedding that was published without: the mean direction of each class's training images.

A row that points where the embeddings of its class point is what training such a layer tends to; a random one would
first drive the embedding away. Qi, Brown and Lowe, *Low-Shot Learning with Imprinted Weights*, CVPR 2018, equation 6.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from cpg_core.data.batches import eval_batches
from cpg_core.model.state import TaskState
from cpg_core.stages.context import TaskContext
from cpg_core.stages.train_state import network_of_state
from cpg_core.training.evaluation import eval_mode
from cpg_core.training.reporter import Interrupted


def mean_directions(context: TaskContext, state: TaskState, name: str) -> Tensor:
    """Float32 `[classes, embedding]`, rows of length 1. Every rank reads all images, so that all have the same bits.

    Args:
        context: the task, whose network gives embeddings `[N, embedding]` in evaluation mode.
        state: of its network, but for `name`.
        name: the private tensor that is wanted, whose values the embeddings do not depend on.

    Raises:
        Interrupted: the reporter asked to stop.
    """
    data, settings = context.data, context.settings
    shape = len(data.classes), len(state.private["head.weight"])
    network = network_of_state(context, replace(state, private=state.private | {name: torch.zeros(shape)}))
    batches = eval_batches(data.train, data.mean, data.std, settings.eval_batch_size, network.device)
    total = torch.zeros(shape, dtype=torch.float64)
    with eval_mode(network):
        for images, labels in batches:
            if context.ranks.stop(context.reporter.stop_requested()):
                raise Interrupted
            total.index_add_(0, labels.cpu(), normalize(network(images).cpu().double()))
    return normalize(total).float()
