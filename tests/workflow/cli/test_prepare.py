"""What `cpg prepare` says of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from workflow.asking import cpg


def test_prepare_tells_what_is_taken_and_left_out(tmp_path: Path, write_folder: Callable[..., Path]) -> None:
    folder = write_folder({f"{part}/{name}": 3 for part in ("train", "test", "val") for name in ("cat", "dog")})
    (folder / "train/cat/notes.txt").write_text("x")
    tasks = "tasks: [{name: one}, {name: two, classes: [cat, dog]}]"
    (tmp_path / "pets.yaml").write_text(
        f"name: pets\nbackbone: digits_cnn\nprofile: digits\nsource: {{kind: folder, folder: images}}\n{tasks}\n"
    )
    result = cpg("prepare", tmp_path / "pets.yaml", "--root", tmp_path)
    assert result.exit_code == 0, result.output
    assert "images of one: 2 classes, 6 to train, 6 to test" in result.output
    assert "images of two: 2 classes" in result.output
    assert result.output.count("of the images to train a run holds out its validation images: val_fraction") == 1
    assert result.output.count("class 'cat': 3 taken, left out: 1 not an image") == 1, "of a source that tasks share"
    assert result.output.count(f"{folder / 'val'}: not used") == 1
