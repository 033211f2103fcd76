"""Faces in a picture: what a detector says, which face is meant, and the detector that comes with a package."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from cpg_core.data.faces.similarity import Pixels, Points
from cpg_core.errors import CpgError

LEAST_FACE = 20
"""Pixels a side of the smallest face that is looked for, and of a picture that is looked at."""
LONGEST_SIDE = 1024
"""Pixels; a larger picture is made smaller to be searched."""
PACKAGE = "facenet-pytorch==2.6.0"


class Face(NamedTuple):
    """A face.

    Attributes:
        box: left, top, right and bottom in pixels.
        points: of it.
    """

    box: tuple[float, float, float, float]
    points: Points


Detector = Callable[[Pixels], Sequence[Face]]


def main_face(faces: Sequence[Face], pixels: Pixels) -> Face:
    """The face that a picture is of: a large one near its middle.

    The area of the box less twice the squared distance of its centre from the middle, as FaceNet's alignment has it; of
    equal ones the first.
    """
    height, width = pixels.shape[:2]

    def weight(face: Face) -> float:
        left, top, right, bottom = face.box
        away = math.hypot(left + right - width, top + bottom - height) / 2
        return (right - left) * (bottom - top) - 2 * away**2

    return max(faces, key=weight)


def mtcnn() -> Detector:
    """MTCNN (Zhang et al., 2016) of the package facenet-pytorch, with the weights that lie in it (MIT), on the CPU.

    Raises:
        CpgError: it is not installed.
    """
    try:
        from facenet_pytorch import MTCNN
    except ImportError as error:
        raise CpgError(
            f"faces are found by a package that is not installed ({error}): pip install --no-deps {PACKAGE} (without "
            "dependencies: it asks for an older torch, and works with the one that is here)"
        ) from error
    network = MTCNN(keep_all=True, min_face_size=LEAST_FACE, device=torch.device("cpu"))

    def detect(pixels: Pixels) -> list[Face]:
        smaller = math.ceil(max(pixels.shape[:2]) / LONGEST_SIDE)
        searched = pixels[::smaller, ::smaller]
        if min(searched.shape[:2]) < LEAST_FACE:
            return []
        with torch.inference_mode():
            boxes, _, points = network.detect(np.ascontiguousarray(searched), landmarks=True)
        if boxes is None:
            return []
        return [
            Face(tuple((box * smaller).tolist()), np.asarray(of, dtype=np.float64) * smaller)
            for box, of in zip(boxes, points, strict=True)
        ]

    return detect
