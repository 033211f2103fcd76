"""Images as a request gives them in: text in lines, thin ones, and all that are broken named at once."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from cpg_core.backbones import Input
from cpg_core.errors import CpgError
from cpg_core.recall.predictor import read_images

SMALL = Input(channels=1, size=8)


def png(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize(size).save(file, "PNG")
    return file.getvalue()


def test_base64_with_line_breaks_is_the_same_image() -> None:
    content = png((64, 64))
    lines = base64.encodebytes(content).decode()
    assert lines.count("\n") > 1
    plain = read_images(base64.b64encode(content).decode(), SMALL)
    assert read_images([lines], SMALL).equal(plain)
    assert read_images(lines.replace("\n", "\r\n"), SMALL).equal(plain)


def test_a_thin_image_is_cropped() -> None:
    assert read_images([base64.b64encode(png((1, 50_000))).decode()], SMALL).shape == (1, 1, 8, 8)


def test_all_broken_images_are_named() -> None:
    good, broken = base64.b64encode(png((8, 8))).decode(), base64.b64encode(b"no image").decode()
    with pytest.raises(CpgError, match=r"(?s)3 of 4 images.*image 1: cannot read.*image 3: text.*image 4: expected"):
        read_images([broken, good, "no base64!", [[[1, 2]]]], SMALL)
