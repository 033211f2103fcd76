"""Any image a person may have -> 8-bit grey or RGB pixels."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from cpg_core.data.reading.grey import to_8_bit
from cpg_core.errors import CpgError, advice

MODE_OF_CHANNELS = {1: "L", 3: "RGB"}
SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".jp2", ".tga", ".ico")
)
"""Taken without a look. Any other file is taken if it opens as an image."""
FRAMES = "hold several pictures, of which the first stands for all"
DEEP_COLOUR = "are in colour of 16 bits, of which the upper 8 are taken: those of 12-bit cameras come out dark"
BROKEN_EXIF = "have EXIF data that cannot be read, and are taken as not turned"
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation, what makes an image upright."""
STILL = frozenset({"MPO"})
"""Formats whose further pictures are previews or the other eye's view of the same photo."""


class Unreadable(CpgError):
    """An image that cannot be read."""


class Decoded(NamedTuple):
    """Pixels, uint8 [H, W, C], and what a person should know of how they came about."""

    pixels: NDArray[np.uint8]
    remarks: tuple[str, ...] = ()


def decode(file: Path | bytes, channels: int, where: str) -> NDArray[np.uint8]:
    """Read an image file, or its bytes, as uint8 [H, W, C]; `where` names it in an error.

    Raises `Unreadable` if it is missing, not an image, cut short, or has values that do not fit 8 bits.
    """
    return examine(file, channels, where).pixels


def examine(content: Path | bytes | Image.Image, channels: int, where: str, *, draft: bool = False) -> Decoded:
    """As `decode`, with remarks. A draft of a JPEG has fewer pixels, and shows faster whether all of it can be read.

    Raises `Unreadable`, as `decode` does.
    """
    try:
        if isinstance(content, Image.Image):
            return _decoded(content, channels)
        with Image.open(BytesIO(content) if isinstance(content, bytes) else content) as image:
            if draft:
                image.draft(MODE_OF_CHANNELS[channels], (max(1, image.width // 8), max(1, image.height // 8)))
            return _decoded(image, channels)
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise Unreadable(f"{where}: this image has more than {most:,} pixels; make it smaller") from error
    except Exception as error:  # readers of image formats raise anything at a damaged file
        why = str(error) or "no reason given"
        named = f"{type(error).__module__.removeprefix('builtins')}.{type(error).__name__}".lstrip(".")
        kind = "" if isinstance(error, OSError | ValueError) else f"{named}: "
        raise Unreadable(
            f"{where}: cannot read this image ({kind}{why}); {advice(error, 'replace it, save it anew, or remove it')}"
        ) from error


def is_image(file: Path) -> bool:
    """Whether a file is taken for an image: by its suffix, else if it opens as one.

    Raises `CpgError` if a file of another suffix cannot be opened at all.
    """
    return file.suffix.lower() in SUFFIXES or opens(file)


def opens(file: Path) -> bool:
    """Whether Pillow takes a file for an image, by its first bytes.

    Raises `CpgError` if the file cannot be opened at all.
    """
    try:
        with Image.open(file):
            return True
    except PermissionError as error:
        raise CpgError(f"{file}: cannot be opened ({error.strerror}); change its rights or remove it") from error
    except Exception:  # what is no image may fail in any way
        return False


def to_pixels(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    """Convert an image of any mode to uint8 [H, W, C].

    Transparent parts show white. Grey becomes RGB by repeating; RGB becomes grey by luma (ITU-R 601-2).
    Raises `ValueError` for 32-bit integers outside 0..65535 and floats outside 0..255.
    """
    return _convert(image, channels).pixels


def _decoded(image: Image.Image, channels: int) -> Decoded:
    several = (FRAMES,) if image.format not in STILL and getattr(image, "is_animated", False) else ()
    deep = (DEEP_COLOUR,) if _is_deep_colour(image) else ()
    turn, odd = _turn(image)
    pixels, remarks = _convert(image if turn is None else image.transpose(turn), channels)
    return Decoded(pixels, (*several, *deep, *odd, *remarks))


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether Pillow is about to cut 16 bits to 8, which the raw mode of the file's pixels tells before they load."""
    tiles = getattr(image, "tile", ())
    return image.mode in ("RGB", "RGBA") and any(re.search(r";16[BLN]", str(tile[3])) for tile in tiles)


def _turn(image: Image.Image) -> tuple[Image.Transpose | None, tuple[str, ...]]:
    """What makes an image upright, and a remark where its EXIF data do not tell.

    `ImageOps.exif_transpose` also writes the data anew, which fails where any of them is odd: the pixels are fine.
    """
    image.load()
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1)), ()
    except Exception:  # readers of EXIF raise anything at damaged data
        return None, (BROKEN_EXIF,)


def _convert(image: Image.Image, channels: int) -> Decoded:
    remarks: tuple[str, ...] = ()
    mode = MODE_OF_CHANNELS[channels]
    if image.mode.startswith(("I", "F")):
        grey, remarks = to_8_bit(np.asarray(image))
        image = Image.fromarray(grey)
    elif image.has_transparency_data:
        colours = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), colours)
    return Decoded(np.array(image.convert(mode)).reshape(image.height, image.width, channels), remarks)
