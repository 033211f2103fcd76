"""`cpg align`: what is printed, the list of what gives no face, exit codes, and how to get the detector."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cpg_core.data.faces import detector
from cpg_core.data.faces.detector import Face
from cpg_core.data.faces.similarity import STANDARD, Pixels
from workflow.asking import cpg

ENDED = 99_999_999
"""No process has so high a number."""


def bright_half_is_a_face(pixels: Pixels) -> Sequence[Face]:
    return [Face((0, 0, 40, 40), STANDARD / 3)] * int(pixels.mean() > 100)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name, grey in (("ann/ann_0001.png", 200), ("ann/ann_0002.png", 20), ("bob/bob_0001.png", 200)):
        file = tmp_path / "in" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 40), grey, dtype=np.uint8)).save(file)
    return tmp_path / "in"


def run(*words: object) -> tuple[int, str]:
    result = cpg("align", *words)
    return result.exit_code, result.output


def test_faces_that_are_not_found_are_listed_and_the_rest_is_there(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "mtcnn", lambda: bright_half_is_a_face)
    to, listing = tmp_path / "out", tmp_path / "out-not-aligned.csv"
    (to / "ann").mkdir(parents=True)
    (to / "ann" / f".ann_0001.png.{ENDED}.part").write_bytes(b"what a killed process left")
    code, printed = run(pictures, "--to", to, "--size", 28)
    assert code == 1
    assert f"{to}: 2 aligned, 0 there already, 1 not aligned" in printed.replace("\n", " ")
    assert f"no face of {pictures / 'ann' / 'ann_0002.png'}: the reason of each is in {listing}" in printed.replace(
        "\n", ""
    ).replace("  ", " ")
    assert list(csv.reader(listing.open()))[1:] == [[str(pictures / "ann" / "ann_0002.png"), "0", "no face found"]]
    files = [path.relative_to(to).as_posix() for path in to.rglob("*") if path.is_file()]
    assert sorted(files) == ["ann/ann_0001.png", "bob/bob_0001.png"]

    (pictures / "ann" / "ann_0002.png").unlink()
    code, printed = run(pictures, "--to", to, "--size", 28)
    assert code == 0 and "0 aligned, 2 there already, 0 not aligned" in printed
    assert not listing.exists()


def test_files_of_others_and_of_a_second_command_stay(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "mtcnn", lambda: bright_half_is_a_face)
    folder = tmp_path / "out" / "ann"
    folder.mkdir(parents=True)
    others = [f".ann_0001.png.{os.getppid()}.part", f".notes.{ENDED}.part", ".video.part", ".tmpabc123"]
    for name in others:
        (folder / name).write_bytes(b"of others")
    run(pictures, "--to", tmp_path / "out", "--size", 28)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*others, "ann_0001.png"])


def test_a_folder_that_is_not_there_and_one_without_pictures_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "mtcnn", lambda: bright_half_is_a_face)
    code, printed = run(tmp_path / "none", "--to", tmp_path / "out")
    assert code == 2 and "there is no such folder" in printed
    code, printed = run(tmp_path, "--to", tmp_path / "out")
    assert code == 2 and "there are no images in this folder" in printed


def test_without_the_package_the_command_says_how_to_get_it(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)
    code, printed = run(pictures, "--to", tmp_path / "out")
    assert code == 2
    assert "pip install --no-deps facenet-pytorch" in " ".join(printed.split())


def test_stopped_it_says_that_the_same_command_goes_on(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped_at_the_second(pixels: Pixels) -> Sequence[Face]:
        if pixels.mean() < 100:
            raise KeyboardInterrupt
        return bright_half_is_a_face(pixels)

    monkeypatch.setattr(detector, "mtcnn", lambda: stopped_at_the_second)
    code, printed = run(pictures, "--to", tmp_path / "out", "--size", 28)
    assert (code, printed) == (130, "stopped; what was aligned is saved. Give the same command again to go on.\n")
    assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["ann_0001.png"]


def test_a_folder_without_a_name_of_its_own_has_its_list_beside_it(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "mtcnn", lambda: bright_half_is_a_face)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    code, _ = run(pictures, "--to", ".", "--size", 28)
    assert code == 1
    assert (tmp_path / "here-not-aligned.csv").is_file()
