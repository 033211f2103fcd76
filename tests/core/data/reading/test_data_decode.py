"""Images of every mode become the right 8-bit pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import RandomResizedCrop

from core.data.conftest import png
from cpg_core.data.reading.decode import DEEP_COLOUR, FRAMES, decode, examine
from cpg_core.data.reading.resize import fit, random_resized_crop
from cpg_core.errors import CpgError
from cpg_core.seeds import seeded

Tells = Callable[..., AbstractContextManager[None]]
RED_LUMA = 76  # 0.299 * 255


def _image(mode: str) -> Image.Image:
    """2x1 pixels: the left one is what its mode makes of it, the right one is black."""
    image = Image.new(mode, (2, 1))
    left: dict[str, int | float | tuple[int, ...]] = {
        "1": 255, "L": 200, "LA": (200, 255), "RGB": (255, 0, 0), "RGBA": (255, 0, 0, 255), "CMYK": (0, 255, 255, 0),
        "I;16": 51400, "I": 51400, "F": 0.5,
    }  # fmt: skip
    right: dict[str, tuple[int, ...]] = {"CMYK": (0, 0, 0, 255), "RGBA": (0, 0, 0, 255), "LA": (0, 255)}
    image.putpixel((0, 0), left[mode])
    image.putpixel((1, 0), right.get(mode, 0 if mode != "RGB" else (0, 0, 0)))
    return image


@pytest.mark.parametrize(
    ("mode", "suffix", "rgb", "grey"),
    [
        ("1", "png", (255, 255, 255), 255),
        ("L", "png", (200, 200, 200), 200),
        ("LA", "png", (200, 200, 200), 200),
        ("RGB", "png", (255, 0, 0), RED_LUMA),
        ("RGB", "bmp", (255, 0, 0), RED_LUMA),
        ("RGBA", "png", (255, 0, 0), RED_LUMA),
        ("CMYK", "tif", (255, 0, 0), RED_LUMA),
        ("I;16", "png", (200, 200, 200), 200),  # 51400 / 257; clipping would give 255
        ("I;16", "tif", (200, 200, 200), 200),
        ("I", "tif", (200, 200, 200), 200),
        ("F", "tif", (128, 128, 128), 128),
    ],
)
def test_modes(tmp_path: Path, mode: str, suffix: str, rgb: tuple[int, ...], grey: int) -> None:
    path = tmp_path / f"image.{suffix}"
    _image(mode).save(path)
    assert decode(path, 3, "it").tolist() == [[list(rgb), [0, 0, 0]]]
    assert decode(path, 1, "it").tolist() == [[[grey], [0]]]


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    rgba = Image.fromarray(np.array([[[255, 0, 0, 0], [0, 0, 0, 51]]], dtype=np.uint8))
    rgba.save(tmp_path / "rgba.png")
    assert decode(tmp_path / "rgba.png", 3, "it").tolist() == [[[255] * 3, [204] * 3]]
    Image.fromarray(np.array([[[9, 0], [9, 255]]], dtype=np.uint8), "LA").save(tmp_path / "la.png")
    assert decode(tmp_path / "la.png", 1, "it").tolist() == [[[255], [9]]]


def test_palettes(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 255, 0, 255, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "clear.png", transparency=0)
    image.save(tmp_path / "clear.gif", transparency=0)
    assert decode(tmp_path / "plain.png", 3, "it").tolist() == [[[0, 0, 255], [0, 255, 0]]]
    assert decode(tmp_path / "clear.png", 3, "it").tolist() == [[[255, 255, 255], [0, 255, 0]]]
    assert decode(tmp_path / "clear.gif", 3, "it").tolist() == [[[255, 255, 255], [0, 255, 0]]]


@pytest.mark.parametrize("mode", ["RGB", "I;16"])
def test_exif_orientation(tmp_path: Path, mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    _image(mode).save(tmp_path / "turned.png", exif=exif)
    upright = decode(tmp_path / "turned.png", 3, "it")
    assert upright.shape == (2, 1, 3)
    assert upright[0, 0].any()
    assert not upright[1, 0].any()


def test_floats_up_to_255_are_taken_as_they_are(tmp_path: Path) -> None:
    Image.fromarray(np.array([[12.0, 255.0]], dtype=np.float32)).save(tmp_path / "f.tif")
    assert decode(tmp_path / "f.tif", 1, "it").ravel().tolist() == [12, 255]


@pytest.mark.parametrize("values", [[[-1]], [[70000]], [[float("nan")]], [[-0.5]], [[300.5]]])
def test_values_out_of_range_are_not_clipped_in_silence(
    tmp_path: Path, values: list[list[float]], tells: Tells
) -> None:
    array = np.array(values)
    Image.fromarray(array.astype(np.int32 if array.dtype == np.int64 else np.float32)).save(tmp_path / "odd.tif")
    with tells("odd.tif", "expected 0 to"):
        decode(tmp_path / "odd.tif", 1, "odd.tif")


def test_unreadable_images(tmp_path: Path, tells: Tells) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("cut.jpg", "cut.png"):
        Image.fromarray(noise).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    (tmp_path / "text.png").write_text("no image")
    for name in ("cut.jpg", "cut.png", "text.png", "gone.png"):
        with tells(f"where {name} is", "cannot read"):
            decode(tmp_path / name, 3, f"where {name} is")
    with tells("row 7"):
        decode(b"", 3, "row 7")


def test_fit_keeps_the_ratio_and_the_middle() -> None:
    image = torch.zeros(1, 20, 40, dtype=torch.uint8)
    image[:, :, 10:30] = 255  # the middle square
    assert torch.equal(fit(image, 20), torch.full((1, 20, 20), 255, dtype=torch.uint8))
    assert fit(image, 10).shape == (1, 10, 10)
    assert fit(image, 10).float().mean() > 200, "a squeezed image would have the dark sides in it"
    assert fit(image, 50).shape == (1, 50, 50)
    assert fit(torch.zeros(3, 300, 400, dtype=torch.uint8), 224).shape == (3, 224, 224)


def test_fit_of_a_large_size_leaves_out_the_rim() -> None:
    image = torch.full((1, 256, 256), 255, dtype=torch.uint8)
    image[:, 10:246, 10:246] = 0
    assert not fit(image, 224).any(), "the 16 pixels around the middle 224 are cut off"


def test_random_resized_crop_follows_its_seed_alone() -> None:
    image = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8)
    before = torch.get_rng_state()
    first = random_resized_crop(image, 16, 1, 5)
    assert torch.equal(torch.get_rng_state(), before), "the global generator is left alone"
    torch.rand(3)
    assert torch.equal(random_resized_crop(image, 16, 1, 5), first)
    assert not torch.equal(random_resized_crop(image, 16, 1, 6), first)


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40), (10, 60), (1, 50), (50, 1), (96, 96)])
def test_crops_are_those_of_torchvision(height: int, width: int) -> None:
    """Which draws from the one generator that all threads share."""
    image = torch.randint(0, 256, (1, height, width), dtype=torch.uint8)
    theirs = RandomResizedCrop(16, antialias=True)
    for number in range(200):
        with seeded(1, number):
            expected = theirs(image)
        assert torch.equal(random_resized_crop(image, 16, 1, number), expected)


def test_crops_in_threads_are_those_in_turn() -> None:
    image = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8)
    in_turn = [random_resized_crop(image, 16, number) for number in range(200)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda number: random_resized_crop(image, 16, number), range(200)))
    assert all(map(torch.equal, together, in_turn))


def test_12_bits_in_16_keep_their_grey_levels(tmp_path: Path) -> None:
    """As a camera of 12 bits writes them: scaled as 16 bits, 17 levels would be left."""
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    Image.fromarray(ramp).save(tmp_path / "ramp.tif")
    for name in ("ramp.png", "ramp.tif"):
        seen = decode(tmp_path / name, 1, name)
        assert sorted(set(seen.ravel().tolist())) == list(range(256))
        assert (seen[0, 0, 0], seen[63, 63, 0]) == (0, 255)


@pytest.mark.parametrize("colours", [2, 4])
def test_colour_of_16_bits_loses_its_lower_half_and_that_is_told(colours: int) -> None:
    """Of RGB, and of grey with transparency: Pillow has 8 bits for these alone."""
    channels = {2: 3, 4: 2}[colours]

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head, row = struct.pack(">IIBBBBB", 1, 1, 16, colours, 0, 0, 0), b"\0" + struct.pack(">H", 0x0FFF) * channels
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    assert examine(file, 3, "deep.png").remarks == (DEEP_COLOUR,)
    assert examine(png(np.zeros((2, 2, 3), np.uint8)), 3, "plain.png").remarks == ()


def test_the_first_frame_of_an_animation_is_taken_and_told(tmp_path: Path) -> None:
    frames = [Image.new("L", (2, 1), value) for value in (10, 200)]
    for name in ("a.gif", "a.png", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert examine(tmp_path / name, 1, name)[1] == (FRAMES,)
        assert decode(tmp_path / name, 1, name).ravel().tolist() == [10, 10]
    frames[0].save(tmp_path / "one.gif")
    frames[0].convert("RGB").save(tmp_path / "stereo.mpo", save_all=True, append_images=[frames[1].convert("RGB")])
    for name in ("one.gif", "stereo.mpo"):
        assert examine(tmp_path / name, 1, name).remarks == ()


def test_an_image_that_is_too_large_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved anew it would be as large."""
    Image.new("RGB", (10, 10)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(CpgError, match=r"large\.png: this image has more than 40 pixels; make it smaller$"):
        decode(tmp_path / "large.png", 3, "large.png")
