"""Whether two images show one person: an embedding, learned by telling identities apart, measured on pairs.

In training the head ends in an angular layer over the identities, and is scored by the fraction of images whose
identity has the largest cosine. In recall it ends in the embedding, and the score is the accuracy by LFW's protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from cpg_core.errors import CpgError
from cpg_core.objectives import Objective, ObjectiveSpec, classification
from cpg_core.objectives.losses import AnyLoss
from cpg_core.objectives.losses.cross_entropy import CrossEntropy
from cpg_core.objectives.pairs import Pairs
from cpg_core.objectives.pairs.protocol import accuracy, best_threshold, distance_of, distances, roc_area, roc_points
from cpg_core.objectives.pairs.protocol import true_accept_rate as accepted

EMBEDDING = 512
LEAST_NORM = 1e-12


class AngularHead(nn.Linear):
    """Features to an embedding, and in training to its angles with a weight an identity.

    Args:
        features: what the backbone gives.
        identities: how many there are.
        embedding: numbers in an embedding.
    """

    def __init__(self, features: int, identities: int, embedding: int) -> None:
        super().__init__(features, embedding)
        self.identities = nn.Parameter(torch.empty(identities, embedding))
        nn.init.normal_(self.identities)

    def forward(self, features: Tensor) -> Tensor:
        """Features `[N, F]` to embeddings `[N, D]`; in training to the cosines to each identity and, as the last
        column, the embedding's norm: `[N, identities + 1]`."""
        embedding = super().forward(features)
        if not self.training:
            return embedding
        with torch.autocast(embedding.device.type, enabled=False):  # angles are rounded badly
            embedding = embedding.float() if embedding.dtype == torch.bfloat16 else embedding
            norms = embedding.norm(dim=1, keepdim=True)
            cosines = linear(embedding / norms.clamp(min=LEAST_NORM), normalize(self.identities))
            return torch.cat([cosines, norms], dim=1)


@dataclass(frozen=True)
class PairMeasure:
    """The measure of a split of pairs: what adds up are the embeddings, each in the row of its image.

    The labels of such a split are the rows of its images.
    """

    pairs: Pairs
    embedding: int

    def start(self, device: torch.device) -> Tensor:
        """Zeros, float32 `[images, embedding]`."""
        return torch.zeros(self.pairs.images, self.embedding, device=device)

    def add(self, total: Tensor, outputs: Tensor, labels: Tensor) -> None:
        """Write the embeddings of a batch into their rows."""
        total.index_copy_(0, labels, outputs)

    def score(self, total: Tensor) -> float:
        """The mean accuracy over the folds."""
        return accuracy(distances(total.cpu(), self.pairs), self.pairs.same, self.pairs.fold).mean

    def figures(self, total: Tensor) -> dict[str, float]:
        """What is told beside the accuracy."""
        distance, pairs = distances(total.cpu(), self.pairs), self.pairs
        in_folds = pairs.fold >= 0
        return {
            "standard_deviation": accuracy(distance, pairs.same, pairs.fold).standard_deviation,
            "true_accept_rate": accepted(distance, pairs.same, pairs.far),
            "false_accept_rate": pairs.far,
            "roc_area": roc_area(distance[in_folds], pairs.same[in_folds]),
        }

    def chosen(self, total: Tensor) -> dict[str, float]:
        """The distance below which two images are taken to show one person."""
        in_folds = self.pairs.fold >= 0
        distance = distances(total.cpu(), self.pairs)
        return {"threshold": best_threshold(distance[in_folds], self.pairs.same[in_folds])}

    def drawn(self, total: Tensor) -> dict[str, Any]:
        """The curve of true over false accepts of the pairs in folds, whose area is among the figures."""
        in_folds = self.pairs.fold >= 0
        distance = distances(total.cpu(), self.pairs)
        return {"roc": roc_points(distance[in_folds], self.pairs.same[in_folds])}


def loss_of(loss: AnyLoss, counts: Sequence[int]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """What minimises a loss over the outputs of the head in training."""
    of_angles = loss.of_angles(counts)
    return lambda outputs, labels, steps: of_angles(outputs[:, :-1], outputs[:, -1:], labels, steps)


def tally(outputs: Tensor, labels: Tensor) -> Tensor:
    """How many images of a batch have the largest cosine to their own identity, and how many there are."""
    return classification.tally(outputs[:, :-1], labels)


def answer(embeddings: Tensor, _identities: tuple[str, ...], figures: Mapping[str, float]) -> dict[str, object]:
    """The embedding of each image; of two images also their cosine, their distance, and whether it is one person."""
    said: dict[str, object] = {"embeddings": embeddings.tolist()}
    if len(embeddings) == 2:
        left, right = normalize(embeddings.double(), eps=LEAST_NORM)
        cosine = float(left @ right)
        distance = float(distance_of((left @ right).numpy()))
        same = distance < figures["threshold"]
        said |= {"similarity": cosine, "distance": distance, "threshold": figures["threshold"], "same": same}
    return said


def configured(spec: ObjectiveSpec, counts: Sequence[int]) -> Objective:
    """With a task's loss and size of embedding.

    Raises:
        CpgError: it names a metric of classes.
    """
    if spec.metric != "accuracy":
        raise CpgError("metric: tasks of kind verification are measured on pairs, which have no classes; leave it out")
    embedding = spec.embedding or EMBEDDING
    return Objective(
        head=partial(AngularHead, embedding=embedding),
        loss=loss_of(spec.loss or CrossEntropy(kind="cross_entropy"), counts),
        tally=tally,
        tally_size=2,
        score=classification.accuracy,
        measure=lambda pairs: PairMeasure(_given(pairs), embedding),
        answer=answer,
        configured=configured,
    )


def _given(pairs: Pairs | None) -> Pairs:
    assert pairs is not None, "a verification task is measured on pairs"
    return pairs


OBJECTIVE = configured(ObjectiveSpec(), ())
