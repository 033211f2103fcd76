"""Images that cannot be read: each is named with the cause, all at once, and before anything is learned."""

from __future__ import annotations

import errno
import io
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from cpg_core.data.reading.decode import BROKEN_EXIF, decode, examine
from cpg_core.data.reading.prefetch import ahead
from cpg_core.data.reading.reading import SHOWN_BROKEN, Broken, Wanted
from cpg_core.data.reading.resize import fit
from cpg_core.data.sources.folder import FolderSource
from cpg_core.data.spec import TaskSpec
from cpg_core.data.task import TaskData, load_eval_split, load_task_data
from cpg_core.errors import CpgError

Tells = Callable[..., AbstractContextManager[None]]
Write = Callable[..., Path]
COUNTS = {"train/cat": 4, "train/dog": 4, "test/cat": 2, "test/dog": 2}
SIZES = pytest.mark.parametrize("size", [12, 100], ids=["in memory", "streamed"])


def _load(folder: Path, size: int, **how: object) -> TaskData:
    spec = TaskSpec(name="pets", source=FolderSource(kind="folder", folder=folder))
    return load_task_data(spec, image_size=size, channels=3, val_fraction=0.25, seed=0, **how)  # type: ignore[arg-type]


def odd_exif() -> bytes:
    """A JPEG to be turned by 90 degrees, whose EXIF block holds the rational number -1/0."""
    entries = [(0x0112, 3, 1, struct.pack(">HH", 6, 0)), (0x011A, 10, 1, struct.pack(">ii", -1, 0))]
    table, data, offset = struct.pack(">H", len(entries)), b"", 8 + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in entries:
        inline = len(value) <= 4
        table += struct.pack(">HHI", tag, kind, count) + (value if inline else struct.pack(">I", offset + len(data)))
        data += b"" if inline else value
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + table + b"\0\0\0\0" + data
    file = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(file, "JPEG", exif=exif)
    return file.getvalue()


@SIZES
def test_where_too_many_files_are_open_no_image_is_blamed(
    write_folder: Write, size: int, tells: Tells, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(COUNTS)

    def full(*_args: object, **_how: object) -> object:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("cpg_core.data.reading.decode.Image.open", full)
    monkeypatch.setattr(Path, "read_bytes", full)
    with tells("Too many open files", "allow more open files (ulimit -n)"):
        _load(folder, size)


@SIZES
def test_whatever_the_image_reader_raises_names_the_file(
    write_folder: Write, size: int, tells: Tells, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(COUNTS)
    load = PngImageFile.load

    def odd(image: PngImageFile) -> object:
        if image.size == (7, 7):
            raise struct.error("argument out of range")
        return load(image)

    Image.new("RGB", (7, 7)).save(folder / "train/cat/3.png")
    monkeypatch.setattr(PngImageFile, "load", odd)
    with tells(str(folder / "train/cat/3.png"), "cannot read this image (struct.error: ", "save it anew"):
        _load(folder, size)


def test_an_image_is_turned_though_other_exif_data_are_odd() -> None:
    assert decode(odd_exif(), 3, "it").shape == (8, 6, 3)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_pixels_are_taken_though_exif_data_cannot_be_read(kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(file, kind, exif=b"garbage")
    pixels, remarks = examine(file.getvalue(), 3, "it")
    assert (pixels.shape, remarks) == ((6, 8, 3), (BROKEN_EXIF,))


@SIZES
def test_broken_exif_data_are_counted(write_folder: Write, size: int) -> None:
    folder = write_folder(COUNTS)
    Image.new("RGB", (12, 12), "red").save(folder / "train/cat/0.png", exif=b"garbage")
    assert f"pets: 1 {BROKEN_EXIF}" in _load(folder, size).summary.lines()


@SIZES
def test_all_broken_images_are_named_at_once_those_of_test_too(write_folder: Write, size: int) -> None:
    folder = write_folder(COUNTS)
    broken = [folder / "train/cat/1.png", folder / "train/dog/0.png", folder / "test/dog/1.png"]
    broken[0].write_bytes(b"\x89PNG\r\n\x1a\n")
    broken[1].write_text("no image")
    content = broken[2].read_bytes()
    broken[2].write_bytes(content[: len(content) // 2])
    with pytest.raises(Broken, match=r"3 of 12 images cannot be read") as error:
        _load(folder, size)
    assert [str(one).split(":")[0] for one in error.value.errors] == [str(file) for file in broken]


@SIZES
def test_what_to_know_of_a_task_is_known_once_its_test_images_were_opened(write_folder: Write, size: int) -> None:
    folder = write_folder(COUNTS)
    (folder / "test/dog/1.png").write_text("no image")
    data = _load(folder, size)
    with pytest.raises(CpgError, match=r"test/dog/1.png: cannot read"):
        _ = data.summary


def test_broken_images_of_an_evaluation_are_named_at_once(write_folder: Write, tells: Tells) -> None:
    folder = write_folder({"cat": 3}, root="mine")
    for name in ("0.png", "2.png"):
        (folder / "cat" / name).write_text("no image")
    with tells("2 of 3 images", "cat/0.png", "cat/2.png"):
        load_eval_split(folder, ("cat", "dog"), Wanted(3, 100))


def test_very_many_broken_images_are_counted(write_folder: Write, tells: Tells) -> None:
    folder = write_folder({**COUNTS, "train/owl": SHOWN_BROKEN + 7, "test/owl": 1})
    for file in (folder / "train/owl").iterdir():
        file.write_text("no image")
    with tells(f"{SHOWN_BROKEN + 7} of", "and 7 more"):
        _load(folder, 12)


@pytest.mark.parametrize(("height", "width"), [(1, 100_000), (100_000, 1)])
def test_a_thin_image_is_cropped_before_it_is_resized(height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its short side made 32 first, it would have three million pixels; of a million of them, gigabytes."""
    seen = []
    resize = torch.nn.functional.interpolate

    def watched(image: torch.Tensor, *given: object, **how: object) -> torch.Tensor:
        made: torch.Tensor = resize(image, *given, **how)  # type: ignore[arg-type]
        seen.append(made.numel())
        return made

    monkeypatch.setattr("torchvision.transforms.v2.functional._geometry.interpolate", watched)
    image = torch.zeros(1, height, width, dtype=torch.uint8)
    image[0, height // 2 - 9 : height // 2 + 9, width // 2 - 9 : width // 2 + 9] = 255
    assert torch.equal(fit(image, 32), torch.full((1, 32, 32), 255, dtype=torch.uint8)), "the middle"
    assert max(seen) <= 16 * 32 * 32


def test_an_image_that_is_not_thin_keeps_its_ends_until_it_is_resized() -> None:
    image = torch.randint(0, 256, (1, 10, 160), dtype=torch.uint8)
    whole = torch.nn.functional.pad(image, (1, 1))
    assert not torch.equal(fit(image[:, :, 70:90], 10), fit(whole[:, :, :90], 10))
    assert torch.equal(fit(image, 10), image[:, :, 75:85])


@SIZES
def test_progress_counts_every_image_of_each_part(write_folder: Write, size: int) -> None:
    folder = write_folder(COUNTS)
    seen: list[tuple[int, int]] = []
    data = _load(folder, size, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 8) for done in range(9)]
    _ = data.summary
    assert seen[9:] == [(done, 4) for done in range(5)]
    before = len(seen)
    _ = (data.digest, data.summary, data.test)
    assert len(seen) == before, "read once"


@SIZES
def test_reading_stops_between_two_images(write_folder: Write, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder({**COUNTS, "train/owl": 80, "test/owl": 1})
    opened: list[object] = []
    real = Image.open
    monkeypatch.setattr("cpg_core.data.reading.decode.Image.open", lambda file: opened.append(file) or real(file))

    def stop(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _load(folder, size, workers=1, progress=stop)
    assert len(opened) < 10


def test_streamed_files_are_read_once_for_check_and_digest(
    write_folder: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(COUNTS)
    read: list[str] = []
    real = Path.read_bytes

    def counting(path: Path) -> bytes:
        read.append(str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", counting)
    data = _load(folder, 100)
    _ = (data.digest, data.summary)
    assert sorted(read) == sorted(str(file) for file in folder.rglob("*.png"))


def test_a_draft_shows_a_jpeg_that_is_cut_short(tmp_path: Path, tells: Tells) -> None:
    noise = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8).numpy()
    Image.fromarray(noise).save(tmp_path / "cut.jpg")
    from cpg_core.data.reading.decode import examine

    assert examine(tmp_path / "cut.jpg", 3, "it", draft=True).pixels.shape == (8, 8, 3)
    content = (tmp_path / "cut.jpg").read_bytes()
    with tells("it: cannot read"):
        examine(content[: len(content) * 3 // 4], 3, "it", draft=True)
    with tells("it: cannot read"):
        decode(content[: len(content) * 3 // 4], 3, "it")


def test_work_ahead_comes_in_order_and_its_errors_where_they_belong() -> None:
    assert list(ahead(lambda n: n * n, range(50), 3)) == [n * n for n in range(50)]
    results = ahead(lambda n: 1 // (3 - n), range(9), 2)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
