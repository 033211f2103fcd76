"""Balanced sampling: every class gives an epoch as many images, by draws that any batch can be entered with."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from cpg_core.data.batches import train_batches
from cpg_core.data.sampling import Sampling, epoch_rows
from cpg_core.data.sources.digits import DigitsSource
from cpg_core.data.spec import TaskSpec
from cpg_core.data.splits.split import Split
from cpg_core.data.task import TaskData

COUNTS = 20, 3, 1, 7
LABELS = torch.repeat_interleave(torch.arange(4), torch.tensor(COUNTS))


def rows(seed: int, sampling: Sampling | None = "balanced") -> torch.Tensor:
    return epoch_rows(LABELS, sampling, Generator().manual_seed(seed))


def toy(sampling: Sampling | None) -> TaskData:
    """Images whose pixels tell which one it is."""
    images = torch.arange(len(LABELS), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    split = Split(LABELS, (1, 4, 4), images)
    spec = TaskSpec(name="toy", source=DigitsSource(kind="digits"), sampling=sampling)
    return TaskData(spec, ("a", "b", "c", "d"), split, split, torch.zeros(1), torch.ones(1), lambda: split)


@pytest.mark.parametrize("seed", range(4))
def test_classes_come_as_often_and_so_do_the_images_of_a_class(seed: int) -> None:
    drawn = rows(seed)
    of_class = LABELS[drawn].bincount()
    assert len(drawn) == len(LABELS)
    assert sorted(of_class.tolist()) == [7, 8, 8, 8]
    for label in range(4):
        often = drawn.bincount(minlength=len(LABELS))[label == LABELS]
        assert often.max() - often.min() <= 1
    assert rows(seed, None).bincount().tolist() == [1] * len(LABELS), "without it each image comes once"


def test_the_seed_alone_decides_and_each_epoch_draws_other_images() -> None:
    assert torch.equal(rows(1), rows(1))
    drawn = [set(rows(seed).tolist()) for seed in range(8)]
    assert len(set(map(frozenset, drawn))) > 1
    assert set.union(*drawn) == set(range(len(LABELS))), "in the end every image is learned from"
    assert {int(LABELS[rows(seed)].bincount().argmin()) for seed in range(20)} == {0, 1, 2, 3}, "no class loses always"


@pytest.mark.parametrize("sampling", ["balanced", None])
def test_an_epoch_is_the_same_wherever_it_is_entered(sampling: Sampling | None) -> None:
    data = toy(sampling)
    epoch = list(train_batches(data, 5, 3, "cpu"))
    assert [len(labels) for _, labels in epoch] == [5] * 6, "as many batches as without"
    for start in range(6):
        for one, other in zip(train_batches(data, 5, 3, "cpu", start=start), epoch[start:], strict=True):
            assert all(map(torch.equal, one, other))
    images, labels = (torch.cat(parts) for parts in zip(*epoch, strict=True))
    assert torch.equal(LABELS[(images[:, 0, 0, 0] * 255).round().long()], labels)
    assert (labels.bincount(minlength=4).min() > 5) == (sampling == "balanced")
