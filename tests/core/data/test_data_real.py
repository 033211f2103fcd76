"""CIFAR-100 itself: twenty tasks, each with the images of its superclass."""

from __future__ import annotations

import io
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from cpg_core.data.reading.decode import Decoded, examine
from cpg_core.data.reading.load import choose
from cpg_core.data.sources.parquet import ParquetSource
from cpg_core.data.spec import TaskSpec, load_sequence
from cpg_core.data.task import load_task_data

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif("CPG_DATA" not in os.environ, reason="set CPG_DATA to the folder that holds cifar100"),
]
SEQUENCE = load_sequence("cifar100-20", Path(__file__).parents[3] / "data")


@pytest.fixture(scope="module")
def coarse() -> dict[str, tuple[list[str], list[str]]]:
    """For each part, the fine and the coarse name of every row."""
    source = SEQUENCE.tasks[0].source
    assert isinstance(source, ParquetSource)
    found = {}
    for part in ("train", "test"):
        fine, rough = (source.model_copy(update={"label": f"{kind}_label"}).list_part(part) for kind in KINDS)
        found[part] = ([fine.names[label] for label in fine.labels], [rough.names[label] for label in rough.labels])
    return found


KINDS = ("fine", "coarse")


@pytest.mark.parametrize("task", SEQUENCE.tasks, ids=lambda task: task.name)
def test_a_task_holds_its_whole_superclass(task: TaskSpec, coarse: dict[str, tuple[list[str], list[str]]]) -> None:
    assert task.classes is not None
    for part, count in (("train", 500), ("test", 100)):
        rows, labels = choose(task.source.list_part(part), task.classes)
        fine, rough = coarse[part]
        assert {rough[row] for row in rows} == {task.name}
        assert [task.classes[label] for label in labels] == [fine[row] for row in rows]
        assert [fine.count(name) for name in task.classes] == [count] * 5
        assert len(rows) == rough.count(task.name) == 5 * count


def test_the_images_of_a_task_are_decoded_once_those_of_others_never_and_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded = Counter[str]()

    def counted(content: Path | bytes | Image.Image, channels: int, where: str, *, draft: bool = False) -> Decoded:
        decoded[where] += 1
        return examine(content, channels, where, draft=draft)

    monkeypatch.setattr("cpg_core.data.reading.reading.examine", counted)
    data = load_task_data(SEQUENCE.tasks[0], image_size=32, channels=3, val_fraction=0.1, seed=0)
    assert (len(data.train), len(data.val), len(data.test)) == (2250, 250, 500)
    assert (len(decoded), set(decoded.values())) == (3000, {1})
    assert data.val.labels.bincount().tolist() == [50] * 5
    assert 0.3 < data.mean.min() < data.mean.max() < 0.7
    assert data.test.images is not None
    assert torch.equal(data.test.images[17], _nth_test_image("aquatic_mammals", 17))


def _nth_test_image(superclass: str, number: int) -> torch.Tensor:
    """Read in the plainest way: uint8 [3, 32, 32]."""
    table = pq.read_table(Path(os.environ["CPG_DATA"]) / "cifar100/test-00000-of-00001.parquet").to_pylist()
    wanted = sorted(task.name for task in SEQUENCE.tasks).index(superclass)
    encoded = [row["img"]["bytes"] for row in table if row["coarse_label"] == wanted][number]
    with Image.open(io.BytesIO(encoded)) as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)
