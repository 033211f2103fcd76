"""Reading that was stopped goes on where it was, from blocks that can never be taken for others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from cpg_core.data.fields import MeanStd
from cpg_core.data.reading import block_cache, reading
from cpg_core.data.reading.block_cache import NOTHING_KEPT, Keep
from cpg_core.data.reading.reading import Broken, Progress, silent
from cpg_core.data.sources.digits import DigitsSource
from cpg_core.data.sources.folder import FolderSource
from cpg_core.data.sources.parquet import ParquetSource
from cpg_core.data.spec import TaskSpec
from cpg_core.data.task import TaskData, load_task_data
from cpg_core.storage.kept_blocks import KeptBlocks

Write = Callable[..., Path]
COUNTS = {"train/cat": 10, "train/dog": 10, "test/cat": 4, "test/dog": 4}
TRAIN, ALL, BLOCK = 20, 28, 4
IN_MEMORY, STREAMED = 12, 100
SIZES = pytest.mark.parametrize("size", [IN_MEMORY, STREAMED], ids=["in memory", "streamed"])


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Small blocks, all of them kept; and which images are decoded, as they are named in an error."""
    names: list[str] = []
    examine = reading.examine

    def counting(content: object, channels: int, where: str, **how: bool) -> object:
        names.append(where)
        return examine(content, channels, where, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(block_cache, "ROWS", BLOCK)
    monkeypatch.setattr(block_cache, "LEAST_BYTES", 1)
    monkeypatch.setattr(reading, "examine", counting)
    yield names


@pytest.fixture
def blocks(tmp_path: Path) -> KeptBlocks:
    return KeptBlocks(tmp_path / "kept", "code")


def pets(folder: Path, **how: object) -> TaskSpec:
    return TaskSpec(name="pets", source=FolderSource(kind="folder", folder=folder), **how)  # type: ignore[arg-type]


def load(
    spec: TaskSpec, size: int, keep: Keep = NOTHING_KEPT, progress: Progress = silent, channels: int = 3
) -> TaskData:
    return load_task_data(
        spec, image_size=size, channels=channels, val_fraction=0.2, seed=0, workers=1, progress=progress, keep=keep
    )


class Killed(BaseException):
    """As a signal that nothing catches."""


def killed_at(count: int) -> Progress:
    def progress(done: int, total: int) -> None:  # noqa: ARG001
        if done == count:
            raise Killed

    return progress


def assert_same(data: TaskData, fresh: TaskData) -> None:
    assert data.digest == fresh.digest
    assert torch.equal(data.mean, fresh.mean)
    assert torch.equal(data.std, fresh.std)
    assert data.summary == fresh.summary
    for one, other in zip((data.train, data.val, data.test), (fresh.train, fresh.val, fresh.test), strict=True):
        assert one.sha256s == other.sha256s
        if other.images is not None:
            assert one.images is not None
            assert torch.equal(one.images, other.images)
            assert one.images.stride() == other.images.stride()


@pytest.fixture
def folder(write_folder: Write) -> Path:
    """Noise, and one animation, of which there is something to say."""
    folder = write_folder(COUNTS)
    first, second = (Image.new("RGB", (12, 12), colour) for colour in ("red", "blue"))
    (folder / "train/cat/0.png").unlink()
    first.save(folder / "train/cat/0.gif", save_all=True, append_images=[second])
    return folder


@SIZES
def test_what_was_read_is_not_decoded_again(folder: Path, decoded: list[str], blocks: Keep, size: int) -> None:
    fresh = load(pets(folder), size)
    assert fresh.summary.remarks
    decoded.clear()
    with pytest.raises(Killed):
        load(pets(folder), size, blocks, killed_at(2 * BLOCK + 2))
    before = set(decoded[: 2 * BLOCK])
    decoded.clear()
    counts: list[tuple[int, int]] = []
    again = load(pets(folder), size, blocks, lambda done, total: counts.append((done, total)))
    assert len(decoded) == TRAIN - 2 * BLOCK
    assert not before & set(decoded)
    assert counts == [(done, TRAIN) for done in (0, BLOCK, *range(2 * BLOCK, TRAIN + 1))]
    assert_same(again, fresh)
    decoded.clear()
    assert_same(load(pets(folder), size, blocks), fresh)
    assert not decoded


def test_rows_of_parquet_files_too(write_parquet: Write, tmp_path: Path, decoded: list[str], blocks: Keep) -> None:
    home, names = tmp_path / "shards", ["cat", "dog"]
    for shard in (0, 1):
        write_parquet(home / f"train-0000{shard}-of-00002.parquet", [0, 1] * 5, names, first=10 * shard)
    write_parquet(home / "test-00000-of-00001.parquet", [0, 1] * 4, names)
    spec = TaskSpec(name="pets", source=ParquetSource(kind="parquet", folder=home))
    fresh = load(spec, 4, blocks)
    assert len(fresh.test) == 8
    assert len(decoded) == ALL
    decoded.clear()
    assert_same(load(spec, 4, blocks), fresh)
    assert not decoded
    write_parquet(home / "train-00001-of-00002.parquet", [0, 1] * 5, names, first=100)
    changed = load(spec, 4, blocks)
    assert len(decoded) == TRAIN, "all of train, none of test"
    assert_same(changed, load(spec, 4))
    assert changed.digest != fresh.digest


def test_other_rows_of_the_same_parquet_files_are_read(
    write_parquet: Write, tmp_path: Path, decoded: list[str], blocks: Keep
) -> None:
    for part in ("train", "test"):
        write_parquet(tmp_path / "shards" / f"{part}.parquet", [0, 1, 2] * 4, ["cat", "dog", "emu"])
    source = ParquetSource(kind="parquet", folder=tmp_path / "shards")
    load(TaskSpec(name="pets", source=source, classes=("cat", "dog")), 4, blocks)
    decoded.clear()
    other = TaskSpec(name="pets", source=source, classes=("cat", "emu"))
    data = load(other, 4, blocks)
    assert len(decoded) == 8
    assert_same(data, load(other, 4))


def test_what_streamed_is_read_anew_into_memory(
    folder: Path, decoded: list[str], blocks: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of one size stream or not, by how many there are."""
    with monkeypatch.context() as small:
        small.setattr("cpg_core.data.reading.load.MEMORY_LIMIT", 0)
        assert load(pets(folder, normalise="none"), IN_MEMORY, blocks).train.images is None
    decoded.clear()
    assert_same(
        load(pets(folder, normalise="none"), IN_MEMORY, blocks), load(pets(folder, normalise="none"), IN_MEMORY)
    )
    assert len(decoded) > TRAIN


@SIZES
def test_of_a_changed_file_its_block_is_read_anew(folder: Path, decoded: list[str], blocks: Keep, size: int) -> None:
    """Of the same size, and with the time of its content brought back, as some tools do."""
    old = load(pets(folder), size, blocks)
    file = folder / "train/dog/5.png"
    before = file.stat()
    content = (folder / "train/dog/6.png").read_bytes().ljust(before.st_size, b"\0")[: before.st_size]
    decoded.clear()
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    data = load(pets(folder), size, blocks)
    assert len(decoded) == BLOCK
    assert str(file) in decoded
    assert_same(data, load(pets(folder), size))
    assert data.digest != old.digest


OTHERS: dict[str, Callable[[Path, KeptBlocks], tuple[TaskSpec, int, Keep, int]]] = {
    "size": lambda folder, blocks: (pets(folder), 16, blocks, 3),
    "size that streams": lambda folder, blocks: (pets(folder), STREAMED, blocks, 3),
    "channels": lambda folder, blocks: (pets(folder), IN_MEMORY, blocks, 1),
    "code": lambda folder, blocks: (pets(folder), IN_MEMORY, KeptBlocks(blocks.folder, "other code"), 3),
}


@pytest.mark.parametrize("other", OTHERS)
def test_blocks_of_something_else_are_not_taken(
    folder: Path, decoded: list[str], blocks: KeptBlocks, other: str
) -> None:
    load(pets(folder), IN_MEMORY, blocks).summary  # noqa: B018  (reads test)
    spec, size, keep, channels = OTHERS[other](folder, blocks)
    decoded.clear()
    data = load(spec, size, keep, channels=channels)
    count = len(data.train) + len(data.val) + len(data.test)
    assert len(decoded) == count
    assert_same(data, load(spec, size, channels=channels))


def test_other_packages_or_instructions_read_anew(
    folder: Path, decoded: list[str], blocks: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(pets(folder), IN_MEMORY, blocks)
    others: dict[str, Callable[..., str]] = {
        "cpg_core.data.reading.block_cache.version": lambda _: "0",
        "torch.backends.cpu.get_cpu_capability": lambda: "OTHER",
    }
    for name, value in others.items():
        decoded.clear()
        monkeypatch.setattr(name, value)
        load(pets(folder), IN_MEMORY, blocks)
        assert len(decoded) == TRAIN


def test_levels_are_of_the_sampled_images(folder: Path, decoded: list[str], blocks: Keep) -> None:
    """Where mean and standard deviation are given none is sampled: that is another block."""
    given = pets(folder, normalise=MeanStd(mean=(0.5,) * 3, std=(0.5,) * 3))
    load(given, STREAMED, blocks)
    decoded.clear()
    assert_same(load(pets(folder), STREAMED, blocks), load(pets(folder), STREAMED))
    assert len(decoded) >= TRAIN


HARMS: dict[str, Callable[[Path], object]] = {
    "bit": lambda file: file.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1])),
    "cut": lambda file: os.truncate(file, file.stat().st_size - 1),
    "empty": lambda file: os.truncate(file, 0),
    "another's": lambda file: file.write_bytes(file.with_name("train-00001").read_bytes()),
    "no file": lambda file: (file.unlink(), file.mkdir()),
}


@SIZES
@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_block_is_read_anew(
    folder: Path, decoded: list[str], blocks: KeptBlocks, size: int, harm: str
) -> None:
    load(pets(folder), size, blocks)
    HARMS[harm](blocks.folder / "train-00002")
    decoded.clear()
    data = load(pets(folder), size, blocks)
    assert len(decoded) == BLOCK
    assert_same(data, load(pets(folder), size))


def test_once_a_broken_image_is_mended_only_its_block_is_read(folder: Path, decoded: list[str], blocks: Keep) -> None:
    good = (folder / "train/dog/3.png").read_bytes()
    (folder / "train/dog/3.png").write_text("no image")
    for _ in range(2):  # a block without all of its images is none
        with pytest.raises(Broken):
            load(pets(folder), IN_MEMORY, blocks)
    (folder / "train/dog/3.png").write_bytes(good)
    decoded.clear()
    data = load(pets(folder), IN_MEMORY, blocks)
    assert len(decoded) == BLOCK
    assert_same(data, load(pets(folder), IN_MEMORY))


@pytest.mark.usefixtures("decoded")
@pytest.mark.parametrize("fault", ["full", "unwritable"])
def test_where_nothing_can_be_kept_reading_goes_on(
    folder: Path, blocks: KeptBlocks, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "full":
        monkeypatch.setattr("cpg_core.storage.kept_blocks.LEAST_FREE", 2**80)
    else:
        blocks.folder.write_text("a file is in the way")
    assert_same(load(pets(folder), IN_MEMORY, blocks), load(pets(folder), IN_MEMORY))
    assert not list(blocks.folder.glob("*"))


def test_an_error_of_the_disk_leaves_nothing_half_written(blocks: KeptBlocks, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:  # noqa: ARG001
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cpg_core.storage.files._write_bytes", full)
    blocks.put("train-00000", "key", b"content")
    assert not list(blocks.folder.iterdir())
    assert blocks.get("train-00000", "key") is None


def test_small_images_leave_nothing(folder: Path, blocks: KeptBlocks) -> None:
    load(pets(folder), IN_MEMORY, blocks)
    assert not blocks.folder.exists()


@pytest.mark.usefixtures("decoded")
def test_those_of_a_library_leave_nothing_whatever_their_size(
    blocks: KeptBlocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_cache, "LEAST_BYTES", 0)
    load(TaskSpec(name="digits", source=DigitsSource(kind="digits")), 8, blocks, channels=1)
    assert not blocks.folder.exists()
