"""Large images are decoded once: a second epoch reads no image file, and what is learned is the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from cpg_core.data.batches import eval_batches, train_batches
from cpg_core.data.fields import Augment
from cpg_core.data.reading import block_cache, fetch, reading
from cpg_core.data.reading.block_cache import NOTHING_KEPT, Keep
from cpg_core.data.sources.folder import FolderSource
from cpg_core.data.spec import TaskSpec
from cpg_core.data.task import TaskData, load_task_data
from cpg_core.storage import kept_blocks
from cpg_core.storage.kept_blocks import KeptBlocks

SIZE, BLOCK = 72, 4
TRAIN, ALL = 14, 18
FITTED = BLOCK * SIZE * SIZE * 3
PLAIN, CROPS = Augment(flip=True), Augment(random_resized_crop=True, flip=True)
AUGMENTS = pytest.mark.parametrize("augment", [PLAIN, CROPS], ids=["fitted", "random crops"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """JPEGs of different shapes, as photos are."""
    for part, count in (("train", TRAIN // 2), ("test", (ALL - TRAIN) // 2)):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for k in range(count):
                noise = torch.randint(256, (100 + 7 * k, 140, 3), dtype=torch.uint8).numpy()
                Image.fromarray(noise).save(tmp_path / part / name / f"{k}.jpg")
    return tmp_path


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which files are decoded, while a task is read and while batches are made. Blocks are small."""
    names: list[str] = []
    examine, decode = reading.examine, fetch.decode

    def examining(content: object, channels: int, where: str, **how: bool) -> object:
        names.append(where)
        return examine(content, channels, where, **how)  # type: ignore[arg-type]

    def decoding(file: Path, channels: int, where: str) -> object:
        names.append(where)
        return decode(file, channels, where)

    monkeypatch.setattr(block_cache, "ROWS", BLOCK)
    monkeypatch.setattr(reading, "examine", examining)
    monkeypatch.setattr(fetch, "decode", decoding)
    return names


@pytest.fixture
def blocks(tmp_path: Path) -> KeptBlocks:
    return KeptBlocks(tmp_path / "kept", "code")


def load(folder: Path, augment: Augment, keep: Keep = NOTHING_KEPT, cache_bytes: int = 2**30) -> TaskData:
    spec = TaskSpec(name="pets", source=FolderSource(kind="folder", folder=folder), augment=augment)
    return load_task_data(
        spec, image_size=SIZE, channels=3, val_fraction=0.3, seed=0, workers=2, keep=keep, cache_bytes=cache_bytes
    )


def epochs(data: TaskData) -> list[Tensor]:
    """Two epochs of training, each with its evaluation."""
    made: list[Tensor] = []
    for seed in (1, 2):
        made += [images for images, _ in train_batches(data, 4, seed, "cpu")]
        made += [images for images, _ in eval_batches(data.val, data.mean, data.std, 4, "cpu")]
    return made


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


@AUGMENTS
def test_each_file_is_decoded_once_and_all_bits_are_the_same(
    folder: Path, decoded: list[str], blocks: Keep, augment: Augment
) -> None:
    plain = load(folder, augment)
    without, told = epochs(plain), plain.summary
    decoded.clear()
    data = load(folder, augment, blocks)
    assert len(decoded) == TRAIN
    assert equal(epochs(data), without)
    assert len(decoded) == TRAIN, "no epoch reads a file"
    assert data.digest == plain.digest
    assert data.summary == told
    assert torch.equal(data.mean, plain.mean)
    assert len(decoded) == ALL
    decoded.clear()
    again = load(folder, augment, blocks)
    assert equal(epochs(again), without)
    assert again.digest == plain.digest
    assert not decoded, "nor does the same command again"


def test_without_a_cache_every_epoch_decodes(folder: Path, decoded: list[str], blocks: Keep) -> None:
    data = load(folder, PLAIN, blocks, cache_bytes=0)
    decoded.clear()
    epochs(data)
    assert len(decoded) == 2 * TRAIN


@AUGMENTS
def test_what_does_not_fit_is_told_and_decoded_in_each_epoch(
    folder: Path, decoded: list[str], blocks: KeptBlocks, augment: Augment
) -> None:
    without = epochs(load(folder, augment))
    room = 2 * FITTED if augment is PLAIN else 5 * FITTED
    decoded.clear()
    data = load(folder, augment, blocks, cache_bytes=room)
    told = [line for line in data.summary.lines() if "decoded in each epoch" in line]
    assert len(told) == 1
    assert "compute.cache_bytes" in told[0]
    on_disk = sum(file.stat().st_size for file in blocks.folder.glob("train-*"))
    assert FITTED < on_disk < room + 4 * 2**12, "and not more than was allowed, but for what is told of a block"
    decoded.clear()
    assert equal(epochs(data), without)
    assert 0 < len(decoded) < 2 * TRAIN


@pytest.mark.usefixtures("decoded")
def test_a_full_disk_is_told_and_harmless(folder: Path, blocks: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpg_core.storage.kept_blocks.LEAST_FREE", 2**80)
    data = load(folder, CROPS, blocks)
    assert any(f"{ALL:,} images do not fit" in line for line in data.summary.lines())
    assert equal(epochs(data), epochs(load(folder, CROPS)))


@pytest.mark.usefixtures("decoded")
def test_a_process_keeps_files_free_beside_the_blocks(
    folder: Path, blocks: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block that is mapped holds a file open."""
    most = len(list(Path("/proc/self/fd").iterdir())) + kept_blocks.OPEN_FILES + 1
    monkeypatch.setattr(kept_blocks.resource, "getrlimit", lambda _: (most, most))
    data = load(folder, PLAIN, blocks)
    assert data.train.cached is not None
    mapped = sum(block is not None for block in data.train.cached.blocks)
    assert 0 < mapped < len(data.train.cached.blocks)
    assert any("decoded in each epoch" in line for line in data.summary.lines())
    assert equal(epochs(data), epochs(load(folder, PLAIN)))


def test_a_changed_file_is_decoded_anew(folder: Path, decoded: list[str], blocks: Keep) -> None:
    old = load(folder, CROPS, blocks)
    file = folder / "train/dog/2.jpg"
    file.write_bytes((folder / "train/cat/6.jpg").read_bytes())
    decoded.clear()
    data = load(folder, CROPS, blocks)
    assert str(file) in decoded
    assert len(decoded) <= BLOCK
    assert data.digest != old.digest
    assert equal(epochs(data), epochs(load(folder, CROPS)))


@pytest.mark.usefixtures("decoded")
def test_what_is_mapped_stays_what_it_is_while_its_file_is_replaced_or_removed(
    folder: Path, blocks: KeptBlocks
) -> None:
    data = load(folder, PLAIN, blocks)
    before = epochs(data)
    load(folder, CROPS, blocks)
    for file in blocks.folder.iterdir():
        file.unlink()
    assert equal(epochs(data), before)


@pytest.mark.usefixtures("decoded")
def test_pages_that_were_read_are_not_kept_in_this_process(folder: Path, blocks: Keep) -> None:
    data = load(folder, PLAIN, blocks)
    assert data.train.cached is not None
    epochs(data)
    blocks_of_train = [block for block in data.train.cached.blocks if block is not None]
    starts = [block.fitted.__array_interface__["data"][0] for block in blocks_of_train]
    assert sum(resident(start) for start in starts) == 0
    assert blocks_of_train[0].fitted.max() > 0
    assert resident(starts[0]) > 0, "as this line would tell"


def resident(address: int) -> int:
    """Kilobytes of a mapping that are in this process's memory."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split(maxsplit=1)[0]
        if "-" in first and not first.endswith(":"):
            low, high = (int(end, 16) for end in first.split("-"))
            inside = low <= address < high
        elif inside and first == "Rss:":
            return int(line.split()[1])
    raise AssertionError("no such mapping")


def test_the_rest_of_a_block_is_read_where_it_was_stopped(folder: Path, decoded: list[str], blocks: Keep) -> None:
    class Killed(BaseException):
        pass

    def killed(done: int, total: int) -> None:  # noqa: ARG001
        if done == 2 * BLOCK + 1:
            raise Killed

    spec = TaskSpec(name="pets", source=FolderSource(kind="folder", folder=folder), augment=CROPS)
    with pytest.raises(Killed):
        load_task_data(
            spec, image_size=SIZE, channels=3, val_fraction=0.3, seed=0, progress=killed, keep=blocks, cache_bytes=2**30
        )
    decoded.clear()
    load(folder, CROPS, blocks)
    assert len(decoded) == TRAIN - 2 * BLOCK
