"""Grey values of more than 8 bits -> 8 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RANGES = {12: 4095.0, 16: 65535.0}
"""The greatest value, by bits. Cameras and scanners of 12 bits write files of 16."""
TAKEN_AS = {bits: f"are grey pictures of 16 bits, scaled from 0..{top:g}" for bits, top in RANGES.items()}
"""What is told of an image. Each is scaled by its own values alone, so that it is the same wherever it is read."""


def to_8_bit(values: NDArray[np.generic]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Scale grey values to 0..255; also what a person should know of it.

    Integers span 0..4095 if none is above that, as of a 12-bit camera, else 0..65535; floats 0..1, or 0..255 if any is
    above 1.
    Raises `ValueError` for values outside.
    """
    grey = values.astype(np.float64)
    low, high = (grey.min(), grey.max()) if grey.size else (0.0, 0.0)
    remarks: tuple[str, ...] = ()
    if np.issubdtype(values.dtype, np.integer):
        bits = 12 if high <= RANGES[12] else 16
        top, remarks = RANGES[bits], (TAKEN_AS[bits],)
    else:
        top = 1.0 if high <= 1 else 255.0
    if not (low >= 0 and high <= top):  # also true of NaN
        raise ValueError(f"its values span {low:g} to {high:g}; expected 0 to {top:g}")
    return np.rint(grey * (255.0 / top)).astype(np.uint8), remarks
