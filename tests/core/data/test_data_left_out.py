"""What a source leaves out is counted and told by its reason, and stops where it is more than what is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cpg_core.data.reading.reading import Wanted
from cpg_core.data.sources.folder import FolderSource
from cpg_core.data.sources.torchvision import TorchvisionSource
from cpg_core.data.spec import TaskSpec
from cpg_core.data.task import TaskData, load_eval_split, load_task_data

Tells = Callable[..., AbstractContextManager[None]]
Write = Callable[..., Path]
PLAIN = {"train/cat": 4, "train/dog": 4, "test/cat": 2, "test/dog": 2}


def _load(folder: Path, classes: tuple[str, ...] | None = None, size: int = 12) -> TaskData:
    spec = TaskSpec(name="pets", source=FolderSource(kind="folder", folder=folder), classes=classes)
    return load_task_data(spec, image_size=size, channels=3, val_fraction=0.25, seed=0)


def _lines(data: TaskData) -> str:
    return "\n".join(data.summary.lines())


def _files(home: Path, content: Mapping[str, str | None]) -> None:
    """Files with that text; None: a picture, written as a JPEG whatever the suffix says."""
    for name, text in content.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            Image.new("RGB", (12, 12), "red").save(home / name, "JPEG")
        else:
            (home / name).write_text(text)


def test_one_line_where_all_is_plain(write_folder: Write) -> None:
    assert _load(write_folder(PLAIN)).summary.lines() == [
        "images of pets: 2 classes, 6 to train, 2 to validate, 4 to test"
    ]


def test_what_opens_is_taken_whatever_its_suffix(write_folder: Write) -> None:
    folder = write_folder(PLAIN)
    names = ("a.jfif", "b.jpe", "c.jpg_large", "d.JPG", "no_suffix")
    _files(folder / "train/cat", dict.fromkeys(names))
    data = _load(folder)
    assert int((data.train.labels == 0).sum() + (data.val.labels == 0).sum()) == 4 + len(names)
    assert len(data.summary.lines()) == 1


@pytest.mark.parametrize("size", [12, 100], ids=["in memory", "streamed"])
def test_what_is_left_out_is_counted_by_class_and_reason(write_folder: Write, size: int) -> None:
    folder = write_folder(PLAIN)
    _files(folder / "train/cat", {"notes.txt": "x", "about.md": "x", ".hidden": "x", "2023/1.png": "x"})
    _files(folder / "train", {"beside.png": "x"})
    told = _lines(_load(folder, size=size))
    assert "class 'cat': 4 taken, left out: 2 not an image" in told
    assert "1 in folders inside the class's" in told
    assert "1 hidden" in told
    assert "left out: 1 beside the class folders" in told
    assert "class 'dog'" not in told


@pytest.mark.parametrize(("deeper", "stops"), [(4, False), (5, True)])
def test_more_left_out_than_taken_stops(write_folder: Write, deeper: int, stops: bool, tells: Tells) -> None:
    folder = write_folder(PLAIN)
    _files(folder / "train/cat", {f"2023/{k}.png": "x" for k in range(deeper)})
    if not stops:
        assert f"left out: {deeper} in folders" in _lines(_load(folder))
        return
    with tells("class 'cat'", "more is left out than taken (4 taken)", "5 in folders inside the class's"):
        _load(folder)


def test_hidden_files_never_stop(write_folder: Write) -> None:
    folder = write_folder(PLAIN)
    _files(folder / "train/cat", {f"._{k}.png": "x" for k in range(9)})
    assert "4 taken, left out: 9 hidden" in _lines(_load(folder))


@pytest.mark.parametrize("subfolders", [False, True])
def test_thumbnails_inside_a_class_are_no_images_and_never_stop(write_folder: Write, subfolders: bool) -> None:
    thumbnails = ("@eaDir", ".ipynb_checkpoints", "may/@eaDir")
    folder = write_folder({**PLAIN, **{f"train/cat/{inside}": 9 for inside in thumbnails}})
    spec = TaskSpec(name="pets", source=FolderSource(kind="folder", folder=folder, subfolders=subfolders))
    data = load_task_data(spec, image_size=12, channels=3, val_fraction=0.25, seed=0)
    assert len(data.train) + len(data.val) == 8
    assert f"class 'cat': 4 taken, left out: {3 if subfolders else 2} hidden" in _lines(data)


@pytest.mark.parametrize("name", ["cat/caf\udce9.png", "caf\udce9/a.png", "cat/may/caf\udce9.png"])
def test_a_name_that_is_not_utf_8_is_refused_before_anything_is_read(
    write_folder: Write, name: str, tells: Tells
) -> None:
    """As Python has the name; nothing that is told or stored of it could be written."""
    folder = write_folder({**PLAIN, "train/cat/may": 1})
    (folder / "train" / name).parent.mkdir(exist_ok=True)
    (folder / "train" / name).write_bytes(b"no image")
    spec = TaskSpec(name="pets", source=FolderSource(kind="folder", folder=folder, subfolders=True))
    with tells("train/", "caf\\xe9", "this name is not valid UTF-8; rename it"):
        load_task_data(spec, image_size=12, channels=3, val_fraction=0.25, seed=0)


def test_what_is_left_out_may_have_any_name(write_folder: Write) -> None:
    folder = write_folder(PLAIN)
    _files(folder / "train/cat", {"caf\udce9.txt": "x"})
    assert "4 taken, left out: 1 not an image" in _lines(_load(folder))


def test_many_classes_with_something_left_out_take_few_lines(write_folder: Write) -> None:
    names = [f"c{k:02d}" for k in range(20)]
    folder = write_folder({f"{part}/{name}": 4 for part in ("train", "test") for name in names})
    for name in names:
        _files(folder / "train" / name, {"notes.txt": "x"})
    lines = _load(folder).summary.lines()
    assert len(lines) == 14
    assert "and of 8 more classes" in lines[-1]


def test_a_class_that_only_test_has_is_refused_unless_left_out(write_folder: Write, tells: Tells) -> None:
    folder = write_folder({**PLAIN, "test/bird": 2})
    with tells(str(folder / "test"), "class 'bird' is not in train", "classes: [...]"):
        _load(folder)
    assert _load(folder, ("cat", "dog")).classes == ("cat", "dog")


def test_other_folders_are_said_not_to_be_used(write_folder: Write) -> None:
    folder = write_folder({**PLAIN, "val/cat": 2, "raw/cat": 1})
    told = _lines(_load(folder))
    assert f"{folder / 'val'}: not used; validation images are held out of train" in told
    assert "only train and test are: raw" in told


def test_folders_of_the_file_system_are_no_classes(write_folder: Write) -> None:
    folder = write_folder(PLAIN)
    (folder / "train/lost+found").mkdir(mode=0o000)
    (folder / "train/__MACOSX/cat").mkdir(parents=True)
    data = _load(folder)
    assert data.classes == ("cat", "dog")
    assert "1 folder of the file system (lost+found)" in _lines(data)


def test_a_class_folder_that_cannot_be_read_is_named(
    write_folder: Write, monkeypatch: pytest.MonkeyPatch, tells: Tells
) -> None:
    """As a user without the right, whom root is not."""
    folder = write_folder({**PLAIN, "train/owl": 1})
    real = Path.iterdir

    def refuse(path: Path) -> object:
        if path.name == "owl":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with tells("no images of class 'owl'", "folder that cannot be read (Permission denied)"):
        _load(folder)
    assert _load(folder, ("cat", "dog")).classes == ("cat", "dog")
    monkeypatch.setattr(Path, "iterdir", lambda path: refuse(path / "owl"))
    with tells(f"{folder / 'train'}: cannot be read (Permission denied)"):
        _load(folder)


@pytest.mark.parametrize("size", [12, 100], ids=["in memory", "streamed"])
def test_equal_images_in_train_and_test_are_counted(write_folder: Write, size: int) -> None:
    folder = write_folder(PLAIN)
    (folder / "test/dog/1.png").write_bytes((folder / "train/cat/3.png").read_bytes())
    assert "1 of the 4 test images are equal to one of train" in _lines(_load(folder, size=size))


@pytest.mark.parametrize("size", [12, 100], ids=["in memory", "streamed"])
def test_animations_and_16_bit_files_are_told(write_folder: Write, size: int) -> None:
    folder = write_folder(PLAIN)
    frames = [Image.new("L", (12, 12), value) for value in (10, 200)]
    frames[0].save(folder / "train/cat/a.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.full((12, 12), 4095, dtype=np.uint16)).save(folder / "test/cat/b.png")
    Image.fromarray(np.full((12, 12), 4096, dtype=np.uint16)).save(folder / "test/cat/c.png")
    told = _lines(_load(folder, size=size))
    assert "1 hold several pictures, of which the first stands for all" in told
    assert "1 are grey pictures of 16 bits, scaled from 0..4095" in told
    assert "1 are grey pictures of 16 bits, scaled from 0..65535" in told


def test_one_class_alone_is_no_task(write_folder: Write, tells: Tells) -> None:
    folder = write_folder({"train/cat": 4, "test/cat": 2})
    with tells("a task needs two classes or more", "['cat']"):
        _load(folder)


def test_an_evaluation_stops_too(write_folder: Write, tells: Tells) -> None:
    folder = write_folder({"cat": 1}, root="mine")
    _files(folder / "cat", {"a.txt": "x", "b.txt": "x"})
    with tells("class 'cat'", "more is left out than taken"):
        load_eval_split(folder, ("cat", "dog"), Wanted(3, 12))


def test_labels_of_a_library_set_that_are_no_class_are_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tells: Tells
) -> None:
    class Odd:
        classes = ("a", "b")
        targets: object = [0, 1, 2, -1, 1]

        def __init__(self, root: str, train: bool) -> None:
            assert (root, train) == (str(tmp_path), True)

        def __getitem__(self, row: int) -> tuple[Image.Image, int]:
            raise KeyError(row)

    monkeypatch.setattr("torchvision.datasets.MNIST", Odd)
    source = TorchvisionSource(kind="torchvision", dataset="MNIST", root=tmp_path)
    listing = source.list_part("train")
    assert listing.labels.tolist() == [0, 1, -1, -1, 1]
    assert [(item.number, item.reason) for item in listing.left_out] == [(2, "labelled outside 0..1")]
    (item,) = listing.read(np.array([4]))
    assert "row 4: cannot be read (KeyError: 4)" in str(item.content)
    Odd.targets = [[0, 1], [1, 0]]
    with tells("MNIST, train part", "labels are not one class number an image"):
        source.list_part("train")
