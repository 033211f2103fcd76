"""What a run tells as it reads images: before it learns anything, with counts, and ready to stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.tiny import spec
from cpg_core.data.reading import block_cache, reading
from cpg_core.data.sources.folder import FolderSource
from cpg_core.data.spec import TaskSpec
from cpg_core.errors import CpgError
from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.storage.runs import extend, open_or_new, open_run
from cpg_core.training.reporter import Interrupted, Silent

COUNTS = {"train/cat": 20, "train/dog": 20, "test/cat": 3, "test/dog": 3}


class Told(Silent):
    """Keeps what it is told; asks to stop at so many images read, if that is asked for."""

    def __init__(self, stop_at: int | None = None, stop_after: str = "") -> None:
        self.said: list[str] = []
        self.stop_at = stop_at
        self.stop_after = stop_after

    def reading(self, task: str, done: int, total: int) -> bool:
        self.said.append(f"{task} {done}/{total}")
        return done == self.stop_at

    def stage_begins(self, task: str, stage: str, epochs: int) -> None:  # noqa: ARG002
        self.said.append(f"begins {stage}")

    def stop_requested(self) -> bool:
        return self.stop_after in self.said

    def note(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def pets(tmp_path: Path, write_folder: Callable[..., Path]) -> Run:
    """A run of one task, of files."""
    folder = write_folder(COUNTS, size=(8, 8), root="root/images")
    task = TaskSpec(name="pets", source=FolderSource(kind="folder", folder=folder))
    return open_or_new(tmp_path / "root", spec(tasks="1").model_copy(update={"tasks": (task,), "goals": {"pets": 0.1}}))


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


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Small blocks, all of them kept; and the images that are decoded."""
    names: list[str] = []
    examine = reading.examine

    def counting(content: object, channels: int, where: str, **how: bool) -> object:
        names.append(where)
        return examine(content, channels, where, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(block_cache, "ROWS", 4)
    monkeypatch.setattr(block_cache, "LEAST_BYTES", 1)
    monkeypatch.setattr(reading, "examine", counting)
    return names


def test_a_run_that_was_stopped_goes_on_reading_where_it_was(pets: Run, opened: list[str]) -> None:
    with pytest.raises(Interrupted):
        learn_sequence(pets, Told(stop_at=22))
    opened.clear()
    with pytest.raises(Interrupted):
        learn_sequence(open_or_new(pets.root, pets.spec), Told(stop_at=40))
    assert len(opened) == 40 - 20
    with pytest.raises(Interrupted):
        learn_sequence(open_or_new(pets.root, pets.spec), Told(stop_after="begins prune"))
    opened.clear()
    other = pets.work / "001-others" / "images"  # of a task that was to be the first, and was not learned
    other.mkdir(parents=True)
    learn_sequence(open_or_new(pets.root, pets.spec), Silent())
    assert not opened, "in a later stage, neither train nor test"
    assert not list(pets.work.glob("001-*")), "dropped at the freeze"


def test_what_is_learned_from_kept_images_is_the_same(pets: Run, opened: list[str]) -> None:
    whole = Run(pets.root.with_name("whole"), pets.spec)
    whole.root.mkdir()
    learn_sequence(open_or_new(whole.root, pets.spec), Silent())
    with pytest.raises(Interrupted):
        learn_sequence(pets, Told(stop_at=22))
    opened.clear()
    learn_sequence(open_or_new(pets.root, pets.spec), Silent())
    assert len(opened) < 46
    one, other = pets.record(1), whole.record(1)
    assert one.delta_sha256 == other.delta_sha256
    assert (one.data_sha256, one.mean, one.std) == (other.data_sha256, other.mean, other.std)


@pytest.mark.usefixtures("opened")
def test_what_was_read_of_a_refused_task_is_kept_and_the_task_is_not_added(pets: Run) -> None:
    learn_sequence(pets, Silent())
    folder = pets.root / "images"
    more = TaskSpec(name="more", source=FolderSource(kind="folder", folder=folder))
    (folder / "test/dog/0.png").write_text("no image")
    longer = extend(pets, more, 0.1)
    with pytest.raises(CpgError, match="cannot read this image"):
        learn_sequence(longer, Silent())
    assert list(longer.task_work(2).glob("images/*"))
    assert open_run(pets.root, pets.spec.name).spec == pets.spec


def test_a_project_that_was_moved_is_gone_on_with(pets: Run) -> None:
    learn_sequence(pets, Silent())
    moved = pets.root.rename(pets.root.with_name("moved"))
    folder = moved / "images"
    task = TaskSpec(name="pets", source=FolderSource(kind="folder", folder=folder))
    again = open_or_new(moved, pets.spec.model_copy(update={"tasks": (task,)}))
    assert again.frozen() == 1
    assert again.spec.tasks == (task.model_copy(update={"classes": again.spec.tasks[0].classes}),)
    assert again.data(1).digest == again.record(1).data_sha256
    assert str(pets.root) not in "".join(file.read_text() for file in again.folder.rglob("*.json"))


def test_earlier_tasks_whose_images_are_read_again_are_told(new_run: Callable[..., Run]) -> None:
    """Those that a penalty rests on, and those that are evaluated again because they were forgotten."""
    run, told = new_run(method="ewc", tasks="1-2"), Told()
    learn_sequence(run, told)
    begins = next(place for place, line in enumerate(told.said) if line.startswith("images of two-three"))
    first = run.data(1)
    again = {line for line in told.said[begins:] if line.startswith("zero-one ")}
    count, test = len(first.train) + len(first.val), len(first.test)
    assert {f"zero-one 1/{count}", f"zero-one {count}/{count}", f"zero-one {test}/{test}"} <= again
