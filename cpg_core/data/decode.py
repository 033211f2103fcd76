"""Any image a person may have -> 8-bit grey or RGB pixels."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cpg_core.errors import CpgError

MODE_OF_CHANNELS = {1: "L", 3: "RGB"}


def decode(file: Path | bytes, channels: int, where: str) -> NDArray[np.uint8]:
    """Read an image file, or its bytes, as uint8 [H, W, C]; `where` names it in an error.

    Raises `CpgError` if it is missing, not an image, cut short, or has values that do not fit 8 bits.
    """
    try:
        with Image.open(BytesIO(file) if isinstance(file, bytes) else file) as image:
            return to_pixels(ImageOps.exif_transpose(image), channels)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CpgError(f"{where}: cannot read this image ({error}); replace or remove it") from error


def to_pixels(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    """Convert an image of any mode to uint8 [H, W, C].

    Transparent parts show white. Grey becomes RGB by repeating; RGB becomes grey by luma (ITU-R 601-2).
    Raises `ValueError` for 32-bit integers outside 0..65535 and floats outside 0..255.
    """
    mode = MODE_OF_CHANNELS[channels]
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_to_8_bit(np.asarray(image)))
    elif image.has_transparency_data:
        colours = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), colours)
    return np.array(image.convert(mode)).reshape(image.height, image.width, channels)


def _to_8_bit(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale grey values: integers span 0..65535 (16-bit files), floats 0..1, or 0..255 if any is above 1."""
    grey = values.astype(np.float64)
    low, high = (grey.min(), grey.max()) if grey.size else (0.0, 0.0)
    float_top = 1.0 if high <= 1 else 255.0
    top = 65535.0 if np.issubdtype(values.dtype, np.integer) else float_top
    if not (low >= 0 and high <= top):  # also true of NaN
        raise ValueError(f"its values span {low:g} to {high:g}; expected 0 to {top:g}")
    return np.rint(grey * (255.0 / top)).astype(np.uint8)
