"""The similarity transform that brings a face to the standard position, and a picture that is drawn by it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Points = NDArray[np.float64]
"""Of a face, (x, y) in pixels `[5, 2]`: the eye on the left of the picture, the other, the tip of the nose, the corners
of the mouth from left to right. The centre of the first pixel is (0, 0)."""
Pixels = NDArray[np.uint8]
"""A picture, RGB `[H, W, 3]`."""

STANDARD_SIZE = 112
STANDARD: Points = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where the points lie in a picture of 112 pixels a side: those of SphereFace (Liu et al., CVPR 2017), whose pictures
are 96 wide, moved by 8, as ArcFace (Deng et al., CVPR 2019) has them."""


def standard_points(size: int) -> Points:
    """Where the points lie in a picture of so many pixels a side."""
    return STANDARD * (size / STANDARD_SIZE)


def similarity(points: Points, targets: Points) -> tuple[complex, complex]:
    """The turn, scale and shift that bring points nearest to their targets: `z` goes to `a z + b`, z = x + iy.

    The sum of squared distances is least (Umeyama, 1991, without reflection), in closed form:
    a = sum conj(z - mean z) (w - mean w) / sum |z - mean z|^2, b = mean w - a mean z.

    Raises:
        ValueError: all points are one.
    """
    z, w = (np.asarray(found, dtype=np.float64) @ (1, 1j) for found in (points, targets))
    from_mean = z - z.mean()
    spread = float((np.abs(from_mean) ** 2).sum())
    if spread == 0:
        raise ValueError("all points of the face are one")
    a = complex((from_mean.conj() * (w - w.mean())).sum() / spread)
    return a, complex(w.mean() - a * z.mean())


def aligned(pixels: Pixels, points: Points, size: int) -> Image.Image:
    """The face with these points in the standard position, `size` pixels a side; black where the picture ends.

    Bilinear; a face of more than twice the size is made smaller first, by the mean of whole pixels, so that no pixel of
    it is passed over.

    Raises:
        ValueError: all points are one.
    """
    a, b = similarity(points, standard_points(size))
    picture = Image.fromarray(pixels)
    smaller = max(1, int(1 / abs(a))) if a else 1
    if smaller > 1:
        picture = picture.reduce(smaller)
    # Pillow asks where each pixel comes from, and has the centre of the first at (0.5, 0.5).
    back = 1 / a
    corner = (0.5 + 0.5j) - back * (b + 0.5 + 0.5j)
    row_x, row_y = (back.real, -back.imag, corner.real), (back.imag, back.real, corner.imag)
    affine = tuple(value / smaller for value in (*row_x, *row_y))
    return picture.transform((size, size), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
