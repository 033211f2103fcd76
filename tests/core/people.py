"""People who do not exist: each a face shape, colours and marks, drawn in many poses with noise.

Enough for a verification task to be learned in seconds, and for a wrong loss, a leaked pair or an unsorted fold to be
seen. The same seed draws the same people; nobody of one seed is of another.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image, ImageDraw

from core.tiny import spec
from cpg_core import backbones
from cpg_core.data.spec import TaskSpec
from cpg_core.storage.run_spec import RunSpec

SIZE = 16
DRAWN = 64  # pixels a side, before it is made smaller
FOLDS = 10

BACKBONE = '''
"""Two convolutions for 16x16 pictures of people who do not exist."""

from torch import nn

from cpg_core.backbones import Input, channels

INPUT = Input(channels=3, size=16)


def build(width):
    first, second = channels(16, width), channels(32, width)
    network = nn.Sequential(
        nn.Conv2d(3, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.PReLU(first), nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=1, bias=False), nn.BatchNorm2d(second), nn.PReLU(second), nn.MaxPool2d(2),
        nn.Flatten(),
    )
    network.out_features = second * 16
    return network
'''

Colour = tuple[int, int, int]


class Person(NamedTuple):
    """What does not change: skin, how wide and tall the face is, and marks by angle, distance, size and colour."""

    skin: Colour
    wide: float
    tall: float
    marks: tuple[tuple[float, float, float, Colour], ...]


def person(seed: int, number: int) -> Person:
    luck = random.Random(f"{seed} {number}")

    def colour() -> Colour:
        return luck.randrange(256), luck.randrange(256), luck.randrange(256)

    marks = [(luck.uniform(0, math.tau), luck.uniform(0.2, 0.7), luck.uniform(0.15, 0.3), colour()) for _ in range(3)]
    return Person(colour(), luck.uniform(0.55, 0.9), luck.uniform(0.55, 0.9), tuple(marks))


def picture(who: Person, seed: int | str) -> Image.Image:
    """In a pose of its own: before something else, moved, turned, nearer or farther, in another light, with noise."""
    luck = random.Random(f"picture {seed}")
    scale, turn = DRAWN / 2 * luck.uniform(0.85, 1.1), luck.uniform(-0.3, 0.3)
    x, y = (DRAWN / 2 + luck.uniform(-4, 4) for _ in range(2))
    image = Image.new("RGB", (DRAWN, DRAWN), tuple(luck.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    draw.ellipse(_box(x, y, scale * who.wide, scale * who.tall), fill=who.skin)
    for angle, far, size, colour in who.marks:
        place = x + scale * far * math.cos(angle + turn), y + scale * far * math.sin(angle + turn)
        draw.ellipse(_box(*place, scale * size, scale * size), fill=colour)
    pixels = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BOX), dtype=np.float64)
    noise = np.random.default_rng(luck.randrange(2**32)).normal(0, 12, pixels.shape)
    return Image.fromarray((pixels * luck.uniform(0.8, 1.1) + noise).clip(0, 255).astype(np.uint8))


def _box(x: float, y: float, wide: float, tall: float) -> tuple[float, float, float, float]:
    return x - wide, y - tall, x + wide, y + tall


def write_people(folder: Path, seed: int, people: int, pictures: int) -> list[str]:
    """`folder/NAME/NAME_0001.png` and so on; their names."""
    names = [f"p{seed}-{number:03d}" for number in range(people)]
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        who = person(seed, number)
        for count in range(1, pictures + 1):
            picture(who, f"{seed} {number} {count}").save(folder / name / f"{name}_{count:04d}.png")
    return names


def pair_lines(names: list[str], pictures: int, seed: int = 0) -> list[list[str]]:
    """The lines of each of ten folds that share nobody: all pairs of one person, and as many of two."""
    luck, folds = random.Random(seed), []
    for k in range(FOLDS):
        members = names[k::FOLDS]
        same = [f"{name}\t{i}\t{j}" for name in members for i, j in combinations(range(1, pictures + 1), 2)]
        others = [sorted(luck.sample(members, 2)) for _ in same]
        numbers = [(luck.randint(1, pictures), luck.randint(1, pictures)) for _ in same]
        folds.append(same + [f"{a}\t{i}\t{b}\t{j}" for (a, b), (i, j) in zip(others, numbers, strict=True)])
    return folds


def write_faces(root: Path, trained: int = 40, pictures: int = 8, tested: int = 40, each: int = 3) -> Path:
    """`root/train`, `root/test` with people of their own, and `root/pairs.txt` as LFW has it."""
    write_people(root / "train", 1, trained, pictures)
    folds = pair_lines(write_people(root / "test", 2, tested, each), each)
    lines = [f"{FOLDS}\t{len(folds[0]) // 2}", *(line for fold in folds for line in fold)]
    (root / "pairs.txt").write_text("\n".join(lines) + "\n")
    return root


@contextmanager
def people_backbone(folder: Path) -> Iterator[None]:
    """The backbone `people_cnn` is there inside the block."""
    home = folder / "backbones"
    home.mkdir(parents=True, exist_ok=True)
    (home / "people_cnn.py").write_text(BACKBONE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "__path__", [*backbones.__path__, str(home)])
        patch.delitem(sys.modules, f"{backbones.__name__}.people_cnn", raising=False)
        yield


def face_task(root: Path, name: str = "faces", **given: object) -> TaskSpec:
    """Verification of the people that `write_faces` drew."""
    fields = {
        "name": name,
        "kind": "verification",
        "source": {"kind": "folder", "folder": root},
        "pairs": {"file": root / "pairs.txt", "images": root / "test", "far": 0.05},
        "embedding": 16,
        "loss": {"kind": "a_softmax"},
    }
    return TaskSpec.model_validate(fields | given)


def who_task(root: Path, name: str = "who") -> TaskSpec:
    """Which of two people: a classification of pictures that `root/who` holds."""
    if not (root / "who").exists():
        for part, seed in (("train", 3), ("test", 3)):
            write_people(root / "who" / part, seed, 2, 12)
    return TaskSpec.model_validate({"name": name, "source": {"kind": "folder", "folder": root / "who"}})


def people_spec(tasks: Sequence[TaskSpec], overrides: Sequence[str] = (), method: str = "cpg") -> RunSpec:
    """A run over such tasks, in the tiny settings."""
    common = spec(method=method, backbone="people_cnn", overrides=(*QUICK, *overrides))
    return common.model_copy(update={"tasks": tuple(tasks), "goals": {task.name: 0.55 for task in tasks}})


QUICK = (
    "batch_size=32",
    "val_fraction=0.2",
    "pick_train.epochs=2",
    "pick_train.score_freeze_epoch=1",
    "prune.targets=[0.3]",
    "retrain.epochs=1",
)
"""A fifth of the people are validated on."""
