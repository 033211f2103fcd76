"""Faces: the transform against numbers by hand, which face is meant, and a folder that is aligned in parts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cpg_core.data.faces.align import NO_FACE, Outcome, align, targets
from cpg_core.data.faces.detector import Face, main_face
from cpg_core.data.faces.similarity import STANDARD, Pixels, aligned, similarity, standard_points
from cpg_core.errors import CpgError

SQUARE = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0], [1.0, 1.0]])
SIZE = 28


def moved(points: np.ndarray, a: complex, b: complex) -> np.ndarray:
    z = a * (points @ (1, 1j)) + b
    return np.stack([z.real, z.imag], axis=1)


@pytest.mark.parametrize(
    ("targets", "a", "b"),
    [
        (SQUARE + np.array([3, -1]), 1, 3 - 1j),  # a shift
        (SQUARE * 5, 5, 0),  # five times as large
        ([[0, 0], [0, 2], [-2, 2], [-2, 0], [-1, 1]], 1j, 0),  # a quarter turn: right goes down, in pictures clockwise
        # One corner is 1 too far to the right. By hand, about the means (1, 1) and (1.2, 1): the sum of
        # conj(z) w is (-1+1j)(-1.2-1j) + (1+1j)(0.8-1j) + (1-1j)(1.8+1j) + (-1-1j)(-1.2+1j) = 9 - 1j; of |z|^2, 8.
        (SQUARE + np.outer([0, 0, 1, 0, 0], [1, 0]), (9 - 1j) / 8, 1.2 + 1j - (9 - 1j) / 8 * (1 + 1j)),
    ],
)
def test_the_transform_is_that_of_least_squares(targets: np.ndarray, a: complex, b: complex) -> None:
    found = similarity(SQUARE, np.asarray(targets, dtype=float))
    assert found == pytest.approx((a, b), abs=1e-12)


def test_points_that_are_one_have_no_transform() -> None:
    with pytest.raises(ValueError, match="all points of the face are one"):
        similarity(np.ones((5, 2)), STANDARD)


def spots(points: np.ndarray, side: int, wide: float) -> Pixels:
    """A black picture with a round spot at each point, bright in its middle."""
    y, x = np.mgrid[0:side, 0:side]
    bright = sum(np.exp(-((x - of_x) ** 2 + (y - of_y) ** 2) / (2 * wide**2)) for of_x, of_y in points)
    return np.repeat((255 * bright)[:, :, None].clip(0, 255).round().astype(np.uint8), 3, axis=2)


@pytest.mark.parametrize("scale", [1.0, 0.6, 3.3])
def test_an_aligned_face_has_its_points_in_the_standard_places(scale: float) -> None:
    """Turned, at another scale and place; a large one is made smaller, which must not move it."""
    points = moved(STANDARD, scale * np.exp(0.3j), 60 * scale + 10j * scale)
    found = np.asarray(aligned(spots(points, round(260 * scale), 2.5 * scale), points, 112))[:, :, 0].astype(float)
    y, x = np.mgrid[0:112, 0:112]
    for place in standard_points(112):
        near = found * (np.hypot(x - place[0], y - place[1]) < 10)
        centre = (near * x).sum() / near.sum(), (near * y).sum() / near.sum()
        assert centre == pytest.approx(place, abs=0.1)


def test_the_standard_places_scale_with_the_size() -> None:
    assert standard_points(224) == pytest.approx(2 * STANDARD)


def face(left: float, top: float, right: float, bottom: float) -> Face:
    return Face((left, top, right, bottom), moved(STANDARD, 0.25, left + 1j * top))


def test_the_face_that_a_picture_is_of_is_large_and_near_its_middle() -> None:
    picture = np.zeros((100, 100, 3), dtype=np.uint8)
    small, large, corner = face(45, 45, 55, 55), face(30, 30, 70, 70), face(0, 0, 45, 45)
    assert main_face([small, corner, large], picture) is large
    assert main_face([corner, small], picture) is small, "45 x 45, but 27 from the middle in both directions"


def fake(pixels: Pixels) -> Sequence[Face]:
    """As many faces as the first pixel's red value tells; one at a point if it is 99."""
    count = int(pixels[0, 0, 0])
    if count == 99:
        return [Face((0, 0, 1, 1), np.ones((5, 2)))]
    return [face(0, 0, SIZE, SIZE)] * count


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def picture(path: Path, faces: int) -> Path:
    pixels = np.full((40, 40, 3), 7, dtype=np.uint8)
    pixels[0, 0, 0] = faces
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def places(tmp_path: Path) -> dict[Path, Path]:
    files = [picture(tmp_path / "in" / "ann" / f"ann_{faces}.bmp", faces) for faces in (0, 1, 2, 99)]
    broken = tmp_path / "in" / "broken.jpg"
    broken.write_bytes(b"no picture")
    return targets(tmp_path / "in", [*files, broken], tmp_path / "out")


def test_a_folder_is_aligned_and_what_gives_no_face_is_told(tmp_path: Path, places: dict[Path, Path]) -> None:
    none, one, two, point, broken = align(places, SIZE, fake, write)
    assert none[1:] == (0, NO_FACE)
    assert one[1:] == (1, None) and two[1:] == (2, None)
    assert point[1:] == (1, "all points of the face are one")
    assert broken.problem is not None and "broken.jpg: cannot read this image" in broken.problem
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert written == ["ann/ann_1.png", "ann/ann_2.png"]
    with Image.open(tmp_path / "out" / "ann" / "ann_1.png") as found:
        assert (found.size, found.mode) == ((SIZE, SIZE), "RGB")


def test_what_is_done_is_not_done_again(places: dict[Path, Path]) -> None:
    one, two = [file for file in places if file.name in ("ann_1.bmp", "ann_2.bmp")]
    seen: list[int] = []

    def counting(pixels: Pixels) -> Sequence[Face]:
        seen.append(int(pixels[0, 0, 0]))
        return fake(pixels)

    half = align(places, SIZE, counting, write)
    assert [next(half).file for _ in range(2)] == list(places)[:2]
    half.close()  # stopped here
    seen.clear()
    outcomes = {outcome.file: outcome for outcome in align(places, SIZE, counting, write)}
    assert seen == [0, 2, 99]
    assert outcomes[one] == Outcome(one, None) and outcomes[two].faces == 2


@pytest.mark.parametrize("change", ["size", "newer", "cut"])
def test_what_is_of_another_size_older_or_cut_short_is_done_again(places: dict[Path, Path], change: str) -> None:
    only = {file: target for file, target in places.items() if file.name == "ann_1.bmp"}
    ((source, target),) = only.items()
    list(align(only, SIZE, fake, write))
    assert next(align(only, SIZE, fake, write)).faces is None
    if change == "newer":
        later = target.stat().st_mtime + 10
        os.utime(source, (later, later))
    if change == "cut":
        target.write_bytes(target.read_bytes()[:10])
    assert next(align(only, SIZE + (change == "size"), fake, write)).faces == 1


@pytest.mark.parametrize("now", ["no face", "no picture"])
def test_the_face_of_a_picture_that_was_replaced_goes(places: dict[Path, Path], now: str) -> None:
    only = {file: target for file, target in places.items() if file.name == "ann_1.bmp"}
    ((source, target),) = only.items()
    list(align(only, SIZE, fake, write))
    source.write_bytes(b"no picture") if now == "no picture" else picture(source, 0)
    later = target.stat().st_mtime + 10
    os.utime(source, (later, later))
    assert next(align(only, SIZE, fake, write)).problem is not None
    assert not target.exists()


def test_a_target_inside_the_folder_and_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "in" / "a.jpg", tmp_path / "in" / "a.png"
    for to in ("in", "in/out", "."):
        with pytest.raises(CpgError, match="name another folder"):
            targets(tmp_path / "in", [one], tmp_path / to)
    with pytest.raises(CpgError, match=r"a\.jpg and a\.png: both would be written to .*a\.png"):
        targets(tmp_path / "in", [one, other], tmp_path / "out")
