"""What a pretrained network answers to unlabelled images: the labels of the task that it is without its own data."""

from __future__ import annotations

import numpy as np
import torch

from cpg_core import backbones
from cpg_core.config.backbone import BackboneSpec
from cpg_core.data.batches import eval_batches
from cpg_core.data.listing import Listing
from cpg_core.data.reading import Progress, Wanted, read_rows, silent
from cpg_core.data.sources.imitation import Answers
from cpg_core.errors import CpgError
from cpg_core.model.layers import Layers
from cpg_core.model.network import build
from cpg_core.training.evaluation import eval_mode

BATCH = 64
FEWEST = 20
"""Images: half of them to train on, a quarter to decide by, a quarter to test."""


def answers_of(
    spec: BackboneSpec,
    base_width: float,
    tensors: Layers,
    images: Listing,
    classes: tuple[str, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    seed: int,
    progress: Progress = silent,
) -> Answers:
    """The answers of a backbone's weights. Half of the images, drawn by the seed, are to train on, half to judge by:
    one half of these decides, the other is read once, as a test split is.

    Args:
        spec: a backbone with weights.
        base_width: of its channels.
        tensors: of its network, from its weight file.
        images: without labels.
        classes: the network's outputs.
        mean: of pixels in [0, 1], a channel each; `std` likewise.
        seed: draws the halves.
        progress: told as images are read.

    Raises:
        CpgError: there are too few images.
    """
    count = len(images.labels)
    if count < FEWEST:
        raise CpgError(f"{images.where}: {count} image(s); give {FEWEST} or more, half of which judge the network")
    takes = backbones.input_of(spec)
    network = build(spec, base_width, len(classes))
    network.load_state_dict(tensors)
    network.place(torch.device("cpu"), "float32")
    wanted = Wanted(takes.channels, takes.size, progress=progress)
    none = np.zeros(count, dtype=np.int64)
    split = read_rows(images, "train", np.arange(count), none, wanted, streams=False).split
    batches = eval_batches(split, torch.tensor(mean), torch.tensor(std), BATCH, "cpu")
    with eval_mode(network), torch.no_grad():
        labels = torch.cat([network(batch).argmax(dim=1) for batch, _ in batches]).numpy()
    order = np.random.default_rng(seed).permutation(count)
    cuts = np.split(order, [count // 2, count // 2 + count // 4])
    parts = {part: np.sort(rows) for part, rows in zip(("train", "val", "test"), cuts, strict=True)}
    return Answers.model_validate(
        {
            "classes": classes,
            "rows": {part: rows.tolist() for part, rows in parts.items()},
            "labels": {part: labels[rows].tolist() for part, rows in parts.items()},
        }
    )
