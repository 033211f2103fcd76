"""`resize: squash`: the whole picture, in memory and streamed, to learn and to test and to be asked about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cpg_core.backbones import Input
from cpg_core.data.batches import eval_batches, train_batches
from cpg_core.data.reading.reading import Wanted
from cpg_core.data.reading.resize import described, fit
from cpg_core.data.spec import TaskSpec
from cpg_core.data.task import load_eval_split, load_task_data, load_test_split
from cpg_core.recall.predictor import read_images


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures three times as wide as high: black, with white ends that a crop of the middle loses."""
    made = tmp_path_factory.mktemp("wide")
    for part, name in ((part, name) for part in ("train", "test") for name in ("a", "b")):
        (made / part / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.zeros((90, 270, 3), np.uint8)
            pixels[:, :60] = pixels[:, -60:] = 255
            Image.fromarray(pixels).save(made / part / name / f"{number}.png")
    return made


def spec(folder: Path, resize: str) -> TaskSpec:
    augment = {"resize": resize, "cutout": 0}
    return TaskSpec.model_validate({"name": "t", "source": {"kind": "folder", "folder": folder}, "augment": augment})


def white(images: torch.Tensor) -> float:
    """The share of white pixels, of uint8."""
    return (images.float() / 255).mean().item()


@pytest.mark.parametrize("size", [30, 70], ids=["in memory", "streamed"])
@pytest.mark.parametrize(("resize", "expected"), [("squash", 120 / 270), ("crop", 0.0)])
def test_the_whole_picture_is_there_or_its_middle(folder: Path, size: int, resize: str, expected: float) -> None:
    task, how = spec(folder, resize), {"image_size": size, "channels": 3}
    data = load_task_data(task, **how, val_fraction=0.25, seed=1)
    assert (data.train.images is None) == (size == 70)
    zero, one = torch.zeros(3), torch.ones(3)
    wanted = Wanted(3, size, resize=task.augment.resize)
    splits = [data.val, data.test, load_test_split(data.spec, wanted), load_eval_split(folder, data.classes, wanted)]
    shown = [next(iter(eval_batches(split, zero, one, 8, "cpu")))[0] for split in splits]
    plain = load_task_data(task.model_copy(update={"normalise": "none"}), **how, val_fraction=0.25, seed=1)
    shown.append(next(iter(train_batches(plain, 6, 1, "cpu")))[0])
    for images in shown:
        assert images.shape[-2:] == (size, size)
        assert images.mean().item() == pytest.approx(expected, abs=0.02)
    asked = read_images(np.asarray(Image.open(folder / "test/a/0.png")), Input(3, size), task.augment.resize)
    assert white(asked) == pytest.approx(expected, abs=0.02)


def test_proportions_change_and_a_picture_of_the_size_does_not() -> None:
    high = torch.zeros(3, 40, 10, dtype=torch.uint8)
    high[:, :20] = 255
    squashed = fit(high, 20, "squash")
    assert squashed.shape == (3, 20, 20) and white(squashed[:, :10]) > 0.95 and white(squashed[:, 10:]) < 0.05
    assert fit(squashed, 20, "squash") is squashed


def test_what_is_done_is_told_to_those_who_do_it_elsewhere() -> None:
    assert described(224, "squash") == "resize the whole of it to 224 x 224 (antialiased bilinear)"
    told = "resize the short side to 256 (antialiased bilinear), then take the middle 224 x 224"
    assert described(224, "crop") == told
