"""What a run tells as it reads images: before it learns anything, with counts, and ready to stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.tiny import spec
from cpg_core.data.sources.folder import FolderSource
from cpg_core.data.spec import TaskSpec
from cpg_core.errors import CpgError
from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.storage.runs import begin
from cpg_core.training.reporter import Interrupted, Silent

COUNTS = {"train/cat": 20, "train/dog": 20, "test/cat": 3, "test/dog": 3}


class Told(Silent):
    """Keeps what it is told; asks to stop at so many images read, if that is asked for."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.said: list[str] = []
        self.stop_at = stop_at

    def reading(self, task: str, done: int, total: int) -> bool:
        self.said.append(f"{task} {done}/{total}")
        return done == self.stop_at

    def stage_begins(self, task: str, stage: str, epochs: int) -> None:  # noqa: ARG002
        self.said.append(f"begins {stage}")

    def note(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def pets(tmp_path: Path, write_folder: Callable[..., Path]) -> Run:
    """A run of one task, of files."""
    folder = write_folder(COUNTS, size=(8, 8), root="root/images")
    task = TaskSpec(name="pets", source=FolderSource(kind="folder", folder=folder))
    return begin(tmp_path / "root", spec(tasks="1").model_copy(update={"tasks": (task,), "goals": {"pets": 0.1}}))


def test_images_are_counted_and_told_before_anything_is_learned(pets: Run) -> None:
    told = Told()
    learn_sequence(pets, told)
    begins = told.said.index("begins pick_train")
    before = told.said[:begins]
    assert before[:2] == ["pets 0/40", "pets 1/40"]
    assert before.count("pets 6/6") == 1
    assert "images of pets: 2 classes, 36 to train, 4 to validate, 6 to test" in before
    after = [line for line in told.said[begins:] if line.startswith("pets ")]
    assert after == ["pets 6/6"], "at the freeze, of its test images"


def test_a_broken_test_image_is_told_before_anything_is_learned(pets: Run) -> None:
    (pets.root / "images/test/dog/2.png").write_text("no image")
    told = Told()
    with pytest.raises(CpgError, match=r"test/dog/2.png: cannot read"):
        learn_sequence(pets, told)
    assert not [line for line in told.said if line.startswith("begins")]


def test_a_stop_while_images_are_read_is_granted_between_two(pets: Run) -> None:
    told = Told(stop_at=5)
    with pytest.raises(Interrupted):
        learn_sequence(pets, told)
    assert told.said == [f"pets {done}/40" for done in range(6)]


def test_a_project_that_was_moved_is_gone_on_with(pets: Run) -> None:
    learn_sequence(pets, Silent())
    moved = pets.root.rename(pets.root.with_name("moved"))
    folder = moved / "images"
    task = TaskSpec(name="pets", source=FolderSource(kind="folder", folder=folder))
    again = begin(moved, pets.spec.model_copy(update={"tasks": (task,)}))
    assert again.frozen() == 1
    assert again.spec.tasks == (task.model_copy(update={"classes": again.spec.tasks[0].classes}),)
    assert again.data(1).digest == again.record(1).data_sha256
    assert str(pets.root) not in "".join(file.read_text() for file in again.folder.rglob("*.json"))
