"""Digits, parquet, torchvision and folder sources: the right rows with the right labels, and clear refusals."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn import datasets

from cpg_core.data.reading import load as loading
from cpg_core.data.reading.load import load
from cpg_core.data.reading.reading import Wanted
from cpg_core.data.sources.digits import DigitsSource, load_digits
from cpg_core.data.sources.folder import FolderSource
from cpg_core.data.sources.parquet import ParquetSource
from cpg_core.data.sources.torchvision import TorchvisionSource

Tells = Callable[..., AbstractContextManager[None]]
Write = Callable[..., Path]
NAMES = ["ant", "bee", "cat"]


def _rows(images: object) -> list[int]:
    """The row numbers that the parquet fixture paints into its images."""
    return np.asarray(images)[:, 0, 0, 0].tolist()


def test_digits_have_a_fixed_stratified_split() -> None:
    digits = DigitsSource(kind="digits")
    train, test = (load(digits.list_part(p), [str(k) for k in range(10)], Wanted(1, 8)) for p in PARTS)
    assert (len(train), len(test)) == (1438, 359)
    assert train.images is not None
    assert test.images is not None
    assert (int(train.images.max()), train.images.shape[1:]) == (255, (1, 8, 8))
    share = train.labels.bincount() / (train.labels.bincount() + test.labels.bincount())
    assert (share - 0.8).abs().max() < 0.01
    everything = {image.numpy().tobytes() for split in (train.images, test.images) for image in split}
    assert len(everything) == 1797, "no image is in both parts, none is lost"


PARTS = ("train", "test")


@pytest.fixture
def shards(tmp_path: Path, write_parquet: Write) -> Path:
    """Two train files and one test file; the classes of rows 0.. are abca|bcab, and those of rows 100.. abc."""
    write_parquet(tmp_path / "pq/data/train-00000-of-00002.parquet", [0, 1, 2, 0], NAMES)
    write_parquet(tmp_path / "pq/data/train-00001-of-00002.parquet", [1, 2, 0, 1], NAMES, first=4)
    write_parquet(tmp_path / "pq/data/test-00000-of-00001.parquet", [0, 1, 2], NAMES, first=100)
    return tmp_path / "pq"


def test_parquet_reads_the_wanted_rows_of_all_shards(shards: Path) -> None:
    source = ParquetSource(kind="parquet", folder=shards)
    split = load(source.list_part("train"), ["cat", "ant"], Wanted(3, 4))
    assert _rows(split.images) == [0, 2, 3, 5, 6]
    assert split.labels.tolist() == [1, 0, 1, 0, 1], "numbered by the order of the task's classes"
    assert split.images is not None
    assert split.images[3, :, 1, 2].tolist() == [5, 100, 200]
    assert _rows(load(source.list_part("test"), ["bee"], Wanted(3, 4)).images) == [101]


@pytest.mark.parametrize("kind", ["numbers", "names"])
def test_parquet_without_metadata_and_with_plain_bytes(shards: Path, tmp_path: Path, kind: str) -> None:
    table = pq.read_table(shards / "data/train-00000-of-00002.parquet")
    content = pa.array([cell["bytes"] for cell in table["image"].to_pylist()], pa.binary())
    labels = pa.array([5, 7, None, 5] if kind == "numbers" else ["x", "y", None, "x"])
    (tmp_path / "plain").mkdir()
    pq.write_table(pa.table({"pixels": content, "class": labels}), tmp_path / "plain/train.parquet")
    source = ParquetSource(kind="parquet", folder=tmp_path / "plain", image="pixels", label="class")
    listing = source.list_part("train")
    assert listing.names == (("5", "7") if kind == "numbers" else ("x", "y"))
    assert _rows(load(listing, listing.names, Wanted(3, 4)).images) == [0, 1, 3], "no label, no class"


def test_parquet_places_in_order(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tells: Tells, write_parquet: Write
) -> None:
    monkeypatch.chdir(tmp_path)
    source = ParquetSource(kind="parquet", env="TOY_DATA", subfolder="toys")
    monkeypatch.delenv("TOY_DATA", raising=False)
    with tells("data/raw/toys", "put them there"):
        source.list_part("train")
    write_parquet(Path("data/raw/toys/train-00000-of-00001.parquet"), [0], NAMES, first=50)
    monkeypatch.setenv("TOY_DATA", str(tmp_path / "roots"))
    with tells("roots/toys or data/raw/toys"):  # a half-finished download is not a data set
        source.list_part("train")
    write_parquet(Path("data/raw/toys/test-00000-of-00001.parquet"), [0], NAMES)
    assert _rows(load(source.list_part("train"), ["ant"], Wanted(3, 4)).images) == [50]
    (tmp_path / "roots").mkdir()
    shards.rename(tmp_path / "roots/toys")
    assert _rows(load(source.list_part("train"), ["ant"], Wanted(3, 4)).images) == [0, 3, 6]


def test_parquet_downloads_what_is_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_parquet: Write, tells: Tells
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[object] = []

    def download(repo: str, *, repo_type: str, local_dir: Path, allow_patterns: str) -> None:
        if repo == "some/gone":
            raise OSError("no network")
        asked.append((repo, repo_type, str(local_dir), allow_patterns))
        for part in PARTS:
            write_parquet(local_dir / f"conf/{part}-00000-of-00001.parquet", [0], NAMES)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    source = ParquetSource(kind="parquet", repo="some/toys", subfolder="toys")
    for _ in range(2):
        assert len(source.list_part("train").labels) == 1
    assert asked == [("some/toys", "dataset", "data/raw/toys", "*.parquet")], "once"
    with tells("'some/gone'", "no network", "data/raw/other"):
        ParquetSource(kind="parquet", repo="some/gone", subfolder="other").list_part("train")


def test_a_download_that_broke_off_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_parquet: Write, tells: Tells
) -> None:
    monkeypatch.chdir(tmp_path)
    folder, left = tmp_path / "data/raw/toys", ["train-00000-of-00002", "test-00000-of-00001", "train-00001-of-00002"]
    files_at_a_time = [2, 0, 1]

    def download(*_: object, **__: object) -> None:
        stop = files_at_a_time.pop(0)
        for name in left[:stop]:
            write_parquet(folder / f"{name}.parquet", [0], NAMES)
        del left[:stop]
        if left:
            raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    source = ParquetSource(kind="parquet", repo="some/toys", subfolder="toys")
    for told in ("found no train-*.parquet", "has 1 of the 2 train files"):
        with tells(told, "no network"):
            source.list_part("train")
    assert len(source.list_part("train").labels) == 2
    with tells("has 1 of the 2 train files"):
        (folder / "train-00001-of-00002.parquet").unlink()
        ParquetSource(kind="parquet", folder=folder).list_part("train")


def test_parquet_refusals(shards: Path, tells: Tells) -> None:
    def read(classes: tuple[str, ...] = ("ant",), **keys: str) -> None:
        load(ParquetSource(kind="parquet", folder=shards, **keys).list_part("train"), classes, Wanted(3, 4))

    with tells("column 'lable'", "did you mean 'label'", "image, label"):
        read(label="lable")
    with tells("column 'imag'", "did you mean 'image'"):
        read(image="imag")
    with tells("column 'label' holds int64, not encoded images"):
        read(image="label")
    with tells("neither class numbers nor names"):
        read(label="image")
    with tells("no class 'aunt'", "did you mean 'ant'"):
        read(("aunt",))
    with tells("no class 'x'", "'ant', 'bee', 'cat'"):
        read(("x",))
    second = shards / "data/train-00001-of-00002.parquet"
    content = second.read_bytes()
    second.write_bytes(content[:-40])
    with tells(second.name, "cut short"):
        read()
    second.unlink()
    with tells("has 1 of the 2 train files"):
        read()
    (shards / "again").mkdir()
    (shards / "again/train-00001-of-00002.parquet").write_bytes(content)
    with tells("again", "name one as the folder"):
        read()
    with tells("no test-*.parquet", "nowhere"):
        ParquetSource(kind="parquet", folder=shards / "nowhere").list_part("test")


def test_parquet_names_the_row_of_an_unreadable_image(shards: Path, tells: Tells) -> None:
    path = shards / "data/train-00001-of-00002.parquet"
    table = pq.read_table(path)
    cells = table["image"].to_pylist()
    cells[2]["bytes"] = b"rubbish"
    broken = pa.array(cells, table.schema.field("image").type)
    pq.write_table(table.set_column(0, "image", broken).replace_schema_metadata(table.schema.metadata), path)
    with tells(path.name, "row 6"):
        source = ParquetSource(kind="parquet", folder=shards)
        load(source.list_part("train"), ["ant"], Wanted(3, 4))


def test_folder_in_memory(write_folder: Write) -> None:
    folder = write_folder({"train/b": 2, "train/a": 3, "test/a": 1, "test/b": 1})
    (folder / "train/a/notes.txt").write_text("not an image")
    (folder / "train/a/.hidden.png").write_text("not an image")
    listing = FolderSource(kind="folder", folder=folder).list_part("train")
    assert listing.names == ("a", "b")
    split = load(listing, ["b", "a"], Wanted(3, 12))
    assert split.labels.tolist() == [1, 1, 1, 0, 0]
    assert split.images is not None
    with Image.open(folder / "train/a/1.png") as image:
        assert np.array_equal(split.images[1].permute(1, 2, 0), np.asarray(image))


def test_folder_streams_when_large(write_folder: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = FolderSource(kind="folder", folder=write_folder({"train/a": 2, "train/b": 1})).list_part("train")
    assert load(listing, ["a"], Wanted(3, 64)).images is not None
    large = load(listing, ["b", "a"], Wanted(3, 65))
    assert large.images is None
    assert [file.parent.name for file in large.files] == ["a", "a", "b"]
    monkeypatch.setattr(loading, "MEMORY_LIMIT", 3 * 12 * 12 * 2)
    assert load(listing, ["a"], Wanted(3, 12)).images is not None
    assert load(listing, ["a", "b"], Wanted(3, 12)).images is None


def test_other_sources_refuse_what_does_not_fit(shards: Path, monkeypatch: pytest.MonkeyPatch, tells: Tells) -> None:
    monkeypatch.setattr(loading, "MEMORY_LIMIT", 100)
    with tells("train part", "8 images of 4x4", "kind folder"):
        load(ParquetSource(kind="parquet", folder=shards).list_part("train"), NAMES, Wanted(3, 4))


def test_folder_refusals(write_folder: Write, tells: Tells) -> None:
    folder = write_folder({"train/cat": 1, "train/dog": 0})
    source = FolderSource(kind="folder", folder=folder)
    with tells(str(folder / "test"), "no such folder"):
        source.list_part("test")
    (folder / "test").mkdir()
    with tells(str(folder / "test"), "no class folders"):
        source.list_part("test")
    with tells(str(folder / "train"), "no images of class 'dog'"):
        load(source.list_part("train"), ["cat", "dog"], Wanted(3, 12))
    with tells("no class 'cut'", "did you mean 'cat'"):
        load(source.list_part("train"), ["cut"], Wanted(3, 12))
    with tells("2 channels", "1 (grey) or 3 (RGB)"):
        load(source.list_part("train"), ["cat"], Wanted(2, 12))
    (folder / "train/cat/0.png").write_text("rubbish")
    with tells(str(folder / "train/cat/0.png"), "cannot read"):
        load(source.list_part("train"), ["cat"], Wanted(3, 12))


def test_torchvision(tmp_path: Path, tells: Tells) -> None:
    """The raw files of MNIST, ten train and five test images, where torchvision looks for them."""
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    for name, count in (("train", 10), ("t10k", 5)):
        images = np.arange(count, dtype=np.uint8)[:, None, None] + np.zeros((count, 28, 28), dtype=np.uint8)
        head = np.array([0x803, count, 28, 28], dtype=">i4")
        (raw / f"{name}-images-idx3-ubyte").write_bytes(head.tobytes() + images.tobytes())
        labels = np.arange(count, dtype=np.uint8) % 5
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(
            np.array([0x801, count], dtype=">i4").tobytes() + labels.tobytes()
        )
    source = TorchvisionSource(kind="torchvision", dataset="MNIST", root=tmp_path)
    split = load(source.list_part("train"), ["3 - three", "1 - one"], Wanted(3, 28))
    assert (_rows(split.images), split.labels.tolist()) == ([1, 3, 6, 8], [1, 0, 1, 0])
    assert len(load(source.list_part("test"), ["1 - one"], Wanted(1, 28))) == 1
    with tells("no images of class '9 - nine'"):
        load(source.list_part("train"), ["9 - nine"], Wanted(1, 28))
    with tells("'MNST'", "did you mean 'MNIST'"):
        TorchvisionSource(kind="torchvision", dataset="MNST").list_part("train")
    with tells("ImageFolder", "no train and test parts"):
        TorchvisionSource(kind="torchvision", dataset="ImageFolder").list_part("train")
    with tells("MNIST, test part", "colour"):
        TorchvisionSource(kind="torchvision", dataset="MNIST", root=tmp_path, args={"colour": True}).list_part("test")


def test_digits_are_those_that_scikit_learn_gives() -> None:
    """It reads their file by itself: importing scikit-learn takes a second in each process."""
    levels, labels = load_digits()
    theirs = datasets.load_digits()
    assert np.array_equal(levels, theirs.images)
    assert np.array_equal(labels, theirs.target)
