"""Which differences make another run, and which do not: a goal file spelt otherwise, images that were moved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from core.people import face_task, people_backbone, people_spec, write_faces
from core.tiny import settings, spec
from cpg_core.config.backbone import BackboneSpec
from cpg_core.data.spec import TaskSpec
from cpg_core.errors import CpgError
from cpg_core.runner import learn_sequence
from cpg_core.storage.differences import with_moved_images
from cpg_core.storage.files import write_json
from cpg_core.storage.run import Run
from cpg_core.storage.run_spec import RunSpec
from cpg_core.storage.runs import existing_run, open_or_new, open_run
from cpg_core.training.reporter import Silent


def photos(folder: Path) -> RunSpec:
    """Two tasks of image files: the second is not learned in these tests."""
    tasks = [
        TaskSpec.model_validate({"name": name, "source": {"kind": "folder", "folder": folder}})
        for name in ("cats", "dogs")
    ]
    wanted = spec(tasks="1-2", goal=0.0, overrides=("pick_train.epochs=1", "prune.targets=[]"))
    return wanted.model_copy(update={"tasks": tuple(tasks), "goals": dict.fromkeys(("cats", "dogs"), 0.0)})


@pytest.fixture
def with_photos(tmp_path: Path, write_folder: Callable[..., Path]) -> Run:
    """A run whose first task, of the images in `images/`, is frozen."""
    folder = write_folder({f"{part}/{name}": 6 for part in ("train", "test") for name in ("one", "two")})
    wanted = photos(folder)
    first = open_or_new(tmp_path, wanted.model_copy(update={"tasks": wanted.tasks[:1]}))
    learn_sequence(first, Silent())
    write_json(first.folder / "run.json", wanted.model_dump(mode="json"))
    return open_run(tmp_path, "tiny")


@pytest.mark.usefixtures("with_photos")
def test_images_that_were_moved_are_the_same_run_at_their_new_place(tmp_path: Path) -> None:
    moved = (tmp_path / "images").rename(tmp_path / "photos")
    assert existing_run(tmp_path, photos(moved)) is not None
    learn_sequence(open_or_new(tmp_path, photos(moved)), Silent())
    read = open_run(tmp_path, "tiny")
    assert read.spec.tasks == photos(moved).tasks, "for the commands that only read it, too"
    assert read.data(1).digest == read.record(1).data_sha256


def test_a_list_of_validation_images_may_be_moved(tmp_path: Path, write_folder: Callable[..., Path]) -> None:
    def listed(folder: Path) -> RunSpec:
        wanted = photos(folder)
        raw = wanted.tasks[0].model_dump() | {"validation": {"files": folder / "val.txt"}}
        return wanted.model_copy(update={"tasks": (TaskSpec.model_validate(raw),), "goals": {"cats": 0.0}})

    folder = write_folder({f"{part}/{name}": 6 for part in ("train", "test") for name in ("one", "two")})
    (folder / "val.txt").write_text("one/0.png\ntwo/0.png\n")
    learn_sequence(open_or_new(tmp_path, listed(folder)), Silent())
    moved = listed(folder.rename(tmp_path / "photos"))
    assert open_or_new(tmp_path, moved).spec.tasks == moved.tasks
    (tmp_path / "photos/val.txt").write_text("one/1.png\ntwo/0.png\n")
    with pytest.raises(CpgError, match="its images are others than those that were learned"):
        open_or_new(tmp_path, moved)


def test_pairs_may_be_moved(tmp_path: Path) -> None:
    root = write_faces(tmp_path / "faces", trained=20, pictures=4, tested=20, each=2)
    with people_backbone(tmp_path / "own"):
        learn_sequence(open_or_new(tmp_path, people_spec([face_task(root)])), Silent())
        task = face_task(root.rename(tmp_path / "moved"))
        assert open_or_new(tmp_path, people_spec([task])).spec.tasks == (task,)
        assert task.pairs is not None
        other = task.model_copy(update={"pairs": task.pairs.model_copy(update={"far": 0.1})})
        with pytest.raises(CpgError, match=r"\(faces\): pairs.far: 0.05 there, 0.1 here"):
            open_or_new(tmp_path, people_spec([other]))


def test_a_weight_file_may_be_moved(with_photos: Run, tmp_path: Path) -> None:
    def imported(file: str, digest: str) -> RunSpec:
        backbone = BackboneSpec(name="digits_cnn", weights=file, weights_sha256=digest)
        return with_photos.spec.model_copy(update={"backbone": backbone})

    write_json(with_photos.folder / "run.json", imported("/a/net.pth", "a" * 64).to_json(tmp_path))
    moved = imported("/b/net.pth", "a" * 64)
    assert open_or_new(tmp_path, moved).spec.backbone == moved.backbone
    with pytest.raises(CpgError, match=r"backbone: .*a{64}.* there, .*b{64}.* here"):
        open_or_new(tmp_path, imported("/a/net.pth", "b" * 64))


def test_a_frozen_task_is_named_again_where_its_images_are_now(with_photos: Run, tmp_path: Path) -> None:
    """As `cpg add` asks for it, of a run that no sequence tells of."""
    cats = {"tasks": with_photos.spec.tasks[:1], "goals": {"cats": 0.0}}
    run = replace(with_photos, spec=with_photos.spec.model_copy(update=cats))
    write_json(run.folder / "run.json", run.spec.to_json(tmp_path))
    moved = photos((tmp_path / "images").rename(tmp_path / "photos")).tasks[0]
    learn_sequence(with_moved_images(run, moved, 0.0), Silent())
    assert open_run(tmp_path, "tiny").spec.tasks == (moved,)
    with pytest.raises(CpgError, match=r"has a task 'cats' already, and this is another:\n  goal of cats: 0.0 there"):
        with_moved_images(run, moved, 0.5)
    (tmp_path / "photos/train/one/0.png").write_bytes((tmp_path / "photos/train/two/0.png").read_bytes())
    with pytest.raises(CpgError, match=r"\(cats\): its images are others than those that were learned.*\nName the new"):
        with_moved_images(run, moved, 0.0)


def test_other_images_at_another_place_are_another_run(with_photos: Run, tmp_path: Path) -> None:
    before = (with_photos.folder / "run.json").read_bytes()
    moved = (tmp_path / "images").rename(tmp_path / "photos")
    (moved / "train" / "one" / "0.png").write_bytes((moved / "train" / "two" / "0.png").read_bytes())
    with pytest.raises(CpgError, match=r"\(cats\): source.folder: .*images there, .*photos here(.|\n)*are others than"):
        open_or_new(tmp_path, photos(moved))
    assert (with_photos.folder / "run.json").read_bytes() == before


def test_images_that_are_not_there_are_told(with_photos: Run, tmp_path: Path) -> None:
    with pytest.raises(CpgError, match=r"\(cats\): its images cannot be read: .*nowhere"):
        open_or_new(tmp_path, photos(tmp_path / "nowhere"))
    assert open_or_new(tmp_path, with_photos.spec).frozen() == 1


def test_another_field_of_a_task_is_named(damageable: Callable[..., Run]) -> None:
    run = damageable(tasks="1-2")
    task = run.spec.tasks[1].model_copy(update={"classes": ("2", "4")})
    wanted = run.spec.model_copy(update={"tasks": (run.spec.tasks[0], task)})
    with pytest.raises(CpgError, match=r"task 2 \(two-three\): classes: \['2', '3'\] there, \['2', '4'\] here"):
        open_or_new(run.root, wanted)


def test_a_goal_file_is_compared_by_its_goals(damageable: Callable[..., Run]) -> None:
    run = damageable(tasks="1-2")
    for spelling in ("g.yaml", "./g.yaml", "/elsewhere/g.yaml"):
        wanted = run.spec.model_copy(update={"settings": settings(f"goal={spelling}")})
        assert open_or_new(run.root, wanted).frozen() == 2
    with pytest.raises(CpgError, match=r"goal of zero-one: 0\.6 there, 0\.5 here"):
        open_or_new(run.root, run.spec.model_copy(update={"goals": {"zero-one": 0.5, "two-three": 0.6}}))


def test_a_goal_file_has_one_spelling() -> None:
    assert settings("goal=./g.yaml") == settings("goal=g.yaml") != settings("goal=h.yaml")
