"""What a pretrained network answers to images: of which ones, how they are made square, and what may lie beside."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from cpg_core.config.backbone import BackboneSpec
from cpg_core.data.augment import normalise
from cpg_core.data.fields import MeanStd
from cpg_core.data.reading import load
from cpg_core.data.reading.decode import decode
from cpg_core.data.reading.resize import Resize, fit
from cpg_core.data.sources.imitation import ImitationSource, unlabelled
from cpg_core.data.spec import TaskSpec
from cpg_core.data.splits.split import Split
from cpg_core.errors import CpgError
from cpg_core.model.network import build
from cpg_core.recall import imitation
from cpg_core.recall.imitation import with_answers
from cpg_core.training.evaluation import eval_mode

WIDTH, CLASSES, SIDE, COUNT = 0.05, 7, 32, 24
HALF = MeanStd(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
Answered = Callable[..., ImitationSource]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twice as wide as high, so that it matters how they become square."""
    drawn = np.random.default_rng(1).integers(0, 255, (COUNT, SIDE, 2 * SIDE, 3), dtype=np.uint8)
    folder = tmp_path / "images"
    (folder / "part").mkdir(parents=True)
    for number, pixels in enumerate(drawn):
        Image.fromarray(pixels).save(folder / "part" / f"{number:02}.png")
    return folder


@pytest.fixture
def answered(tmp_path: Path, images: Path) -> Answered:
    """The source of a task, once its network has answered."""
    network = build("resnet18", WIDTH, CLASSES, 7).eval()
    with torch.no_grad():  # without this it answers one class to whatever it is shown
        shown = torch.rand(64, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
        network.head.bias.sub_(network(2 * shown - 1).mean(dim=0))
    named = {name.removeprefix("backbone.").replace("head.", "fc."): v for name, v in network.state_dict().items()}
    torch.save(named, tmp_path / "weights.pth")

    def made(resize: Resize = "crop", folder: Path = images) -> ImitationSource:
        task = TaskSpec.model_validate(
            {
                "name": "base",
                "source": {"kind": "imitation", "images": folder},
                "normalise": HALF,
                "augment": {"resize": resize},
            }
        )
        spec = BackboneSpec(name="resnet18", size=SIDE, weights=str(tmp_path / "weights.pth"))
        source = with_answers(task, spec, WIDTH, 1, tmp_path / "answers").source
        assert isinstance(source, ImitationSource)
        return source

    return made


def told(source: ImitationSource) -> list[tuple[Path, str]]:
    """The test images, and what the network answered to them."""
    listing = source.list_part("test")
    return [(file, listing.names[label]) for file, label in zip(listing.files, listing.labels, strict=True)]


def test_an_image_that_comes_later_changes_no_answer(answered: Answered, images: Path) -> None:
    source = answered()
    before = told(source)
    Image.new("RGB", (SIDE, SIDE)).save(images / "before_all.png")
    assert told(source) == before


def test_a_parquet_file_that_comes_later_changes_no_answer(answered: Answered, images: Path) -> None:
    source = answered()
    before = told(source)
    pq.write_table(pa.table({"note": ["mine"]}), images / "notes.parquet")
    assert told(source) == before
    with pytest.raises(CpgError, match=r"24 image file\(s\), such as 00\.png, and 1 parquet file\(s\), such as notes"):
        unlabelled(images)


def test_a_part_needs_its_own_images_alone(answered: Answered) -> None:
    source = answered()
    before = told(source)
    source.list_part("train").files[-1].unlink()
    assert told(source) == before
    with pytest.raises(CpgError, match=r"\.png: there is no such file; the pretrained network"):
        source.list_part("train")


def test_answers_to_other_images_are_another_file(answered: Answered, images: Path) -> None:
    first = answered()
    assert first.answers is not None and answered().answers == first.answers
    content = first.answers.read_bytes()
    Image.new("RGB", (SIDE, SIDE)).save(images / "before_all.png")
    second = answered()
    assert second.answers != first.answers and first.answers.read_bytes() == content
    assert answered().answers == second.answers


@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_images_that_stream_get_the_answers_of_those_in_memory(
    answered: Answered, images: Path, monkeypatch: pytest.MonkeyPatch, resize: Resize
) -> None:
    """JPEGs, of which a draft is decoded to see whether they can be read, and all pixels to answer."""
    drawn = np.random.default_rng(2).integers(0, 255, (COUNT, 3, 5, 3), dtype=np.uint8)
    for file, pixels in zip(sorted(images.rglob("*.png")), drawn, strict=True):
        Image.fromarray(pixels).resize((5 * SIDE, 9 * SIDE)).save(file.with_suffix(".jpg"))
        file.unlink()
    batches, seen = imitation.eval_batches, list[tuple[bool, Tensor]]()

    def watched(split: Split, *given: Any) -> Iterator[tuple[Tensor, Tensor]]:  # noqa: ANN401  (as it is called)
        made = list(batches(split, *given))
        seen.append((split.images is None, torch.cat([pixels for pixels, _ in made])))
        yield from made

    monkeypatch.setattr(imitation, "eval_batches", watched)
    there = answered(resize, images).known()
    monkeypatch.setattr(load, "MEMORY_LIMIT", 0)
    again = answered(resize, images.rename(images.with_name("again"))).known()
    assert [streamed for streamed, _ in seen] == [False, True]
    assert torch.equal(seen[0][1], seen[1][1])
    assert (there.rows, there.labels) == (again.rows, again.labels)


@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_the_network_sees_an_image_as_the_task_will(answered: Answered, tmp_path: Path, resize: Resize) -> None:
    other: Resize = "squash" if resize == "crop" else "crop"
    source = answered(resize)
    named = torch.load(tmp_path / "weights.pth", weights_only=True)
    network = build("resnet18", WIDTH, CLASSES)
    network.load_state_dict({name.replace("fc.", "head.", 1) if name.startswith("fc.") else f"backbone.{name}": value
                             for name, value in named.items()})  # fmt: skip
    agree = dict.fromkeys((resize, other), 0)
    for file, answer in told(source):
        pixels = torch.from_numpy(decode(file, 3, str(file))).permute(2, 0, 1)
        for how in agree:
            with eval_mode(network), torch.no_grad():
                image = normalise(fit(pixels, SIDE, how)[None], torch.tensor(HALF.mean), torch.tensor(HALF.std))
                agree[how] += str(int(network(image).argmax())) == answer
    assert agree[resize] == len(told(source)) > agree[other]


def test_what_the_file_system_made_is_no_image(answered: Answered, images: Path) -> None:
    for place in ("__MACOSX/00.png", ".hidden/00.png", "part/._00.png"):
        (images / place).parent.mkdir(exist_ok=True)
        (images / place).write_bytes(b"nothing")
    assert len(unlabelled(images).files) == COUNT and told(answered())


@pytest.mark.parametrize("name", ["caf\udce9.png", "caf\udce9.parquet"])
def test_an_image_whose_name_is_not_utf_8_is_refused(images: Path, name: str) -> None:
    (images / name).write_bytes(b"")
    with pytest.raises(CpgError, match=r"/caf\\xe9\.\w+: this name is not valid UTF-8; rename it"):
        unlabelled(images)


def parquet(folder: Path, images: Path, **columns: list[object]) -> Path:
    folder.mkdir()
    encoded = [{"bytes": file.read_bytes()} for file in sorted(images.rglob("*.png"))]
    pq.write_table(pa.table({"image": encoded, **columns}), folder / "b.parquet")
    return folder / "b.parquet"


def test_parquet_files_are_those_of_before_or_refused(answered: Answered, images: Path, tmp_path: Path) -> None:
    table = parquet(tmp_path / "tables", images)
    source = answered(folder=table.parent)
    assert len(source.list_part("test").labels) == COUNT // 4
    table.with_name("a.parquet").write_bytes(table.read_bytes())
    with pytest.raises(CpgError, match="its parquet files are not those"):
        source.list_part("test")
    table.with_name("a.parquet").write_bytes(table.read_bytes()[:100])
    with pytest.raises(CpgError, match=r"a\.parquet: cannot read this parquet file"):
        unlabelled(table.parent)


def test_parquet_files_that_could_not_be_trained_on_are_refused_before_they_are_decoded(
    answered: Answered, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = parquet(tmp_path / "tables", images)
    fits = COUNT // 2 * 3 * SIDE**2
    monkeypatch.setattr(load, "MEMORY_LIMIT", fits - 1)
    with monkeypatch.context() as patch, pytest.raises(CpgError, match="unpack them into"):
        patch.setattr(imitation, "read_rows", lambda *_, **__: pytest.fail("images are decoded"))
        answered(folder=table.parent)
    monkeypatch.setattr(load, "MEMORY_LIMIT", fits)
    assert len(answered(folder=table.parent).list_part("test").labels) == COUNT // 4


def test_numbers_that_label_images_are_in_order_as_numbers(images: Path, tmp_path: Path) -> None:
    """Of eleven classes 10 would come before 2 as text."""
    numbers: list[object] = [number % 11 for number in range(COUNT)]
    table = parquet(tmp_path / "tables", images, what=numbers)
    rows = {"train": [], "val": [], "test": list(range(COUNT))}
    known = {"classes": [f"class {k}" for k in range(11)], "rows": rows, "labels": rows}
    (tmp_path / "answers.json").write_text(json.dumps(known))
    source = ImitationSource(kind="imitation", images=table.parent, answers=tmp_path / "answers.json", label="what")
    found = source.true_labels("test")
    assert found is not None and found.tolist() == numbers
    numbers[3] = None
    with_gap = parquet(tmp_path / "with gap", images, what=numbers)
    found = source.model_copy(update={"images": with_gap.parent}).true_labels("test")
    assert found is not None and found.tolist() == [-1 if number is None else number for number in numbers]


def test_images_that_cannot_be_found_are_named(
    answered: Answered, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = images / "part" / "gone.png"
    gone.symlink_to(images / "nowhere.png")
    with pytest.raises(CpgError, match=r"gone\.png: cannot read this image"):
        answered()
    gone.unlink()

    def walk(_: Path, onerror: Callable[[OSError], None], **__: object) -> Iterator[tuple[str, list[str], list[str]]]:
        onerror(PermissionError(13, "Permission denied", str(images / "part")))
        yield str(images), [], []

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(CpgError, match="part: cannot be read"):
        answered()
