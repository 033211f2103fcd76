"""Files of pairs, validation pairs, and what is wrong with either, in a line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from core.people import FOLDS, face_task, write_faces, write_people
from cpg_core.data.reading.reading import Wanted
from cpg_core.data.spec import load_task
from cpg_core.data.splits.identities import draw_pairs, read_pairs_split
from cpg_core.data.splits.pairs import PairsSource, list_pairs
from cpg_core.data.task import TaskData, load_task_data, load_test_split
from cpg_core.errors import CpgError

Tells = Callable[..., AbstractContextManager[None]]
PICTURES, EACH = 3, 2


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 people to train with 3 pictures, 20 others in 10 folds of 2 + 2 pairs of their 2 pictures."""
    return write_faces(tmp_path_factory.mktemp("faces"), trained=20, pictures=PICTURES, tested=20, each=EACH)


@pytest.fixture
def pairs(faces: Path, tmp_path: Path) -> Callable[..., PairsSource]:
    """`pairs(edit)`: the pairs of `faces`, their file changed by `edit` of its lines."""

    def change(edit: Callable[[list[str]], list[str]], name: str = "pairs.txt", **fields: object) -> PairsSource:
        lines = edit((faces / "pairs.txt").read_text().splitlines())
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return PairsSource.model_validate({"file": tmp_path / name, "images": faces / "test", "far": 0.05} | fields)

    return change


def _load(faces: Path, val_fraction: float = 0.2, seed: int = 1, **given: object) -> TaskData:
    return load_task_data(face_task(faces, **given), image_size=16, channels=3, val_fraction=val_fraction, seed=seed)


def _names(source: PairsSource) -> list[tuple[str, str, bool, int]]:
    """Each pair by the names of its files."""
    found = list_pairs(source)
    name = [file.stem for file in found.listing.files]
    of = found.pairs
    return [(name[a], name[b], bool(s), int(f)) for a, b, s, f in zip(of.left, of.right, of.same, of.fold, strict=True)]


def test_a_file_of_folds_is_read_in_order(pairs: Callable[..., PairsSource], faces: Path) -> None:
    found = _names(pairs(lambda lines: lines))
    lines = (faces / "pairs.txt").read_text().splitlines()
    assert lines[0].split() == ["10", "2"]
    for k, line in enumerate(lines[1:]):
        fields = line.split()
        one, other = (fields[0], fields[1]), (fields[0] if len(fields) == 3 else fields[2], fields[-1])
        expected = [f"{name}_{int(number):04d}" for name, number in (one, other)]
        assert found[k] == (*expected, len(fields) == 3, k // 4)


def test_a_file_of_one_count_is_cut_into_ten_folds(pairs: Callable[..., PairsSource]) -> None:
    def by_kind(lines: list[str]) -> list[str]:
        same = [line for line in lines[1:] if len(line.split()) == 3]
        return [str(len(same)), *same, *(line for line in lines[1:] if len(line.split()) == 4)]

    in_folds, flat = (sorted(_names(pairs(edit))) for edit in (lambda lines: lines, by_kind))
    assert flat == in_folds


def test_a_csv_of_paths_is_the_same_pairs(pairs: Callable[..., PairsSource], faces: Path) -> None:
    listed = _names(pairs(lambda lines: lines))

    def rows(_lines: list[str]) -> list[str]:
        home = {file.stem: file.relative_to(faces / "test") for file in (faces / "test").rglob("*.png")}
        return ["left,right,same", *(f"{home[a]}, {home[b]},{int(same)}" for a, b, same, _ in listed)]

    assert _names(pairs(rows, "pairs.csv")) == listed
    assert _names(pairs(lambda lines: ["\ufeff" + rows(lines)[1], *rows(lines)[2:]], "excel.csv")) == listed
    assert _names(pairs(lambda lines: ["\ufeff" + lines[0], *lines[1:]], "excel.txt")) == listed


def test_paths_of_a_csv_may_lie_anywhere(pairs: Callable[..., PairsSource], faces: Path, tmp_path: Path) -> None:
    images = sorted((faces / "test").rglob("*.png"))[:4]
    outside = shutil.copy(images[0], tmp_path / "outside.png")
    source = pairs(lambda _: [f"{outside},{images[1]},1", f"{images[2]},{images[3]},0"] * 20, "anywhere.csv")
    found = list_pairs(source).listing
    assert Path(outside) in found.files
    assert str(outside) in found.version(np.arange(len(found.files)))


def test_pictures_are_found_whatever_their_suffix(tmp_path: Path) -> None:
    root = write_faces(tmp_path, trained=2, pictures=2, tested=20, each=EACH)
    (root / "test/p2-000/p2-000_0002.png").rename(root / "test/p2-000/p2-000_0002.jpeg")
    found = list_pairs(PairsSource(file=root / "pairs.txt", images=root / "test", far=0.05))
    assert "p2-000_0002.jpeg" in [file.name for file in found.listing.files]


def test_what_lies_beside_a_picture_is_not_taken_for_it(faces: Path) -> None:
    home = faces / "test/p2-000"
    for suffix in (".csv", ".json"):  # before .png, by the alphabet
        (home / f"p2-000_0001{suffix}").write_text("landmarks")
    found = list_pairs(PairsSource(file=faces / "pairs.txt", images=faces / "test", far=0.05))
    assert {file.suffix for file in found.listing.files} == {".png"}
    assert home / "p2-000_0001.png" in found.listing.files


def test_more_pairs_of_two_people_count_for_accept_rates_alone(pairs: Callable[..., PairsSource]) -> None:
    more = pairs(lambda lines: [line for line in lines if len(line.split()) == 4], "different.txt").file
    plain, both = (list_pairs(pairs(lambda lines: lines, different=also)).pairs for also in (None, more))
    assert (both.fold[: len(plain.fold)] == plain.fold).all()
    assert (both.fold[len(plain.fold) :] == -1).all()
    assert len(both.fold) == len(plain.fold) + 20


def replaced(number: int, line: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [*lines[:number], line, *lines[number + 1 :]]


WRONG = {
    "gone": (replaced(1, "p2-000 1 7"), ["line 2: there is no p2-000_0007 in", "p2-000_0001, p2-000_0002"]),
    "unknown": (replaced(1, "nobody 1 2"), ["line 2: there is no nobody_0001", "no picture", "(and 1 more)"]),
    "cut short": (lambda lines: lines[:-3], ["cut short", "10 x (2 + 2) pairs, and 37 are there"]),
    "too long": (lambda lines: [*lines, lines[-1]], ["longer than it says", "41 are there"]),
    "no count": (lambda lines: lines[1:], ["the first line must say"]),
    "empty": (lambda _lines: [], ["the first line must say"]),
    "cut line": (replaced(4, "p2-000 1 p2-010"), ["line 5: expected `name i j`", "p2-000 1 p2-010"]),
    "itself": (replaced(1, "p2-000 1 1"), ["line 2: p2-000 1 is compared with itself"]),
    "two of one": (replaced(3, "p2-000 1 p2-000 2"), ["line 4: two images of p2-000 as of different people"]),
    "order": (lambda lines: [lines[0], *lines[3:5], *lines[1:3], *lines[5:]], ["line 2: out of order"]),
    "shared": (replaced(5, "p2-000 1 2"), ["line 6: p2-000 is in fold 1 and in fold 2", "must not share a person"]),
    "one fold": (lambda lines: ["1 2", *lines[1:5]], ["one fold", "two or more"]),
    "few": (lambda lines: ["2", *lines[1:5]], ["2 pairs of one person and 2 of two", "a threshold cannot be found"]),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_with_a_file_is_a_line(pairs: Callable[..., PairsSource], wrong: str, tells: Tells) -> None:
    edit, told = WRONG[wrong]
    with tells("pairs.txt", *told):
        list_pairs(pairs(edit))


def test_a_person_of_the_pairs_with_one_picture(tmp_path: Path, tells: Tells) -> None:
    write_people(tmp_path, 7, 2, 1)
    (tmp_path / "pairs.txt").write_text("2 1\np7-000 1 2\np7-000 1 p7-001 1\nx 1 2\nx 1 y 1\n")
    with tells("line 2: there is no p7-000_0002", "holds one picture"):
        list_pairs(PairsSource(file=tmp_path / "pairs.txt", images=tmp_path, far=0.5))


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["a.png,b.png,1", "a.png,b.png,2"], "line 2: expected two paths and 1 (one person) or 0 (two)"),
        (["a.png,1"], "line 1: expected two paths and 1"),
        (["a.png,a.png,1"], "line 1: a.png is compared with itself"),
        ([f"a.png,b{k}.png,{k % 2}" for k in range(40)], "line 1: there is no"),
        (["a.png,b.png,1"] * 30, "30 pairs of one person and 0 of two; a threshold cannot be found: 10 folds"),
    ],
)
def test_what_is_wrong_with_a_csv_is_a_line(
    pairs: Callable[..., PairsSource], rows: list[str], told: str, tells: Tells
) -> None:
    with tells("pairs.csv", told):
        list_pairs(pairs(lambda _: rows, "pairs.csv"))


def test_a_rate_that_no_threshold_gives(pairs: Callable[..., PairsSource], tells: Tells) -> None:
    with tells("false-accept rate of 0.001", "needs 1000 pairs of different people, and there are 20"):
        list_pairs(pairs(lambda lines: lines, far=0.001))


def test_files_that_are_not_there(pairs: Callable[..., PairsSource], tmp_path: Path, tells: Tells) -> None:
    with tells("gone.txt: cannot read these pairs"):
        list_pairs(pairs(lambda lines: lines).model_copy(update={"file": tmp_path / "gone.txt"}))
    with tells("no such folder", "pairs: images"):
        list_pairs(pairs(lambda lines: lines, images=tmp_path / "gone"))


def test_validation_pairs_are_of_people_who_are_not_trained(faces: Path) -> None:
    data = _load(faces)
    trained = {image.numpy().tobytes() for image in data.train.images}
    validated = {image.numpy().tobytes() for image in data.val.images}
    tested = {image.numpy().tobytes() for image in data.test.images}
    assert len(trained) == len(data.train) == 16 * PICTURES
    assert len(data.classes) == 16 and len(data.spec.classes or ()) == 20
    assert data.train.labels.unique().tolist() == list(range(16))
    assert not trained & validated and not (trained | validated) & tested
    of = data.val.pairs
    assert of is not None
    assert (of.same.sum(), (~of.same).sum()) == (4 * 3, 4 * 3)
    assert sorted(set(of.fold)) == [0, 1]
    assert data.val.labels.tolist() == list(range(of.images)) == list(range(len(data.val)))


def test_drawn_pairs_are_what_they_say_in_folds_that_share_nobody() -> None:
    who = np.repeat(np.arange(30), 4)
    used, of = draw_pairs(who, np.arange(5, 30), seed=1, far=0.1)
    left, right = who[used[of.left]], who[used[of.right]]
    assert (of.same == (left == right)).all()
    assert (of.left != of.right).all()
    people = [set(left[of.fold == k]) | set(right[of.fold == k]) for k in range(FOLDS)]
    assert sum(map(len, people)) == len(set.union(*people)) == 25


def test_the_same_seed_draws_the_same_pairs(faces: Path) -> None:
    digests = [_load(faces, seed=seed).val.digest for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]
    assert [_load(faces, name=name).val.digest for name in ("faces", "other")][1] != digests[0]


def test_other_pairs_over_the_same_images_are_other_data(faces: Path, pairs: Callable[..., PairsSource]) -> None:
    lines = (faces / "pairs.txt").read_text().splitlines()
    swap = [lines[0], lines[2], lines[1], *lines[3:]]
    found = [
        read_pairs_split(list_pairs(pairs(lambda _, given=given: given)), Wanted(3, 16)).digest
        for given in (lines, lines, swap)
    ]
    assert found[0] == found[1] != found[2]


def test_the_test_pairs_alone_are_those_of_the_task(faces: Path) -> None:
    data = _load(faces)
    assert load_test_split(data.spec, Wanted(3, 16)).digest == data.test.digest


def test_what_is_told_of_the_images(faces: Path) -> None:
    lines = _load(faces).summary.lines()
    assert "faces: tested on 20 pairs of one person and 20 of two, in 10 folds" in lines
    assert "faces: validated on 12 + 12 pairs drawn of 4 people who are not trained" in lines


def test_without_a_validation_split_all_people_are_trained(faces: Path) -> None:
    data = _load(faces, val_fraction=0.0)
    assert (len(data.classes), len(data.train), len(data.val)) == (20, 20 * PICTURES, 0)
    assert not [line for line in data.summary.lines() if "validated" in line]


def test_a_leaked_person_is_told(faces: Path) -> None:
    """The control of the line before it: people who are in both are told by name and by picture."""
    leaked = _load(faces, source={"kind": "folder", "folder": _as_train(faces)})
    told = "\n".join(leaked.summary.lines())
    assert "faces: in the test pairs and in training alike: p2-000, p2-001" in told
    assert "of the 40 test images are equal to one of train" in told
    assert "alike" not in "\n".join(_load(faces).summary.lines())


def test_people_in_several_folds_are_told_where_the_file_gives_no_folds(faces: Path) -> None:
    names = [f"p2-{k:03d}" for k in range(20)]
    alone = [f"{name}/{name}_0001.png,{name}/{name}_0002.png,1" for name in names]
    apart = [f"{a}/{a}_0001.png,{b}/{b}_0001.png,0" for a, b in zip(names[::2] * 2, names[1::2] * 2, strict=True)]
    beside = [line for k in range(10) for line in (apart[k], apart[10 + k])]  # a tenth has the people of one fold
    told = []
    for different in (beside, apart):
        file = faces / "mine.csv"
        file.write_text("\n".join([*alone, *different]))
        task = _load(faces, pairs={"file": file, "images": faces / "test", "far": 0.1})
        told.append([line for line in task.summary.lines() if "in several folds" in line])
    assert told[0] == []
    assert told[1][0].startswith("faces: in several folds of the test pairs: p2-000, p2-001")


def test_who_is_on_pictures_in_one_folder_is_not_known(faces: Path) -> None:
    flat = faces / "flat"
    flat.mkdir()
    for file in (faces / "test").rglob("*.png"):
        shutil.copy(file, flat / file.name)
    names = [f"p2-{k:03d}" for k in range(20)]
    alone = [f"{name}_0001.png,{name}_0002.png,1" for name in names]
    apart = [f"{a}_0001.png,{b}_0001.png,0" for a, b in zip(names[::2] * 2, names[1::2] * 2, strict=True)]
    (faces / "flat.csv").write_text("\n".join([*alone, *apart]))
    found = list_pairs(PairsSource(file=faces / "flat.csv", images=flat, far=0.1))
    assert (found.people, found.shared) == (frozenset(), frozenset())


def _as_train(faces: Path) -> Path:
    """A folder whose train part are the people of the test pairs."""
    folder = faces / "leaked"
    folder.mkdir(exist_ok=True)
    if not (folder / "train").exists():
        (folder / "train").symlink_to(faces / "test")
    return folder


@pytest.mark.parametrize(
    ("fraction", "told"), [(0.1, ["20 people", "18 to train and 2 to draw"]), (0.95, ["1 to train and 19"])]
)
def test_too_few_people_for_the_fraction(faces: Path, fraction: float, told: list[str], tells: Tells) -> None:
    with tells("'faces'", *told, "add people, or begin a run with another val_fraction"):
        _load(faces, fraction)


def test_a_person_with_one_training_picture(faces: Path, tmp_path: Path, tells: Tells) -> None:
    write_people(tmp_path / "train", 8, 6, 2)
    (tmp_path / "train/p8-004/p8-004_0002.png").unlink()
    with tells("one picture of p8-004", "two or more"):
        _load(faces, 0.5, source={"kind": "folder", "folder": tmp_path})


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("kind: verification", "a task of kind verification is tested on pairs"),
        ("pairs: {file: a.txt, images: b}", "pairs: tasks of kind classification have none"),
        ("loss: {kind: a_softmax}", "loss a_softmax sets a margin between angles"),
        ("kind: verification\npairs: {file: a.txt, images: b, far: 2}", "pairs > far: "),
        ("kind: verification\npairs: {file: a.txt, images: b}\nloss: {kind: a_softmax, n: 4}", "unknown key"),
    ],
)
def test_what_is_wrong_in_the_yaml_is_a_line(tmp_path: Path, lines: str, told: str) -> None:
    (tmp_path / "task.yaml").write_text(f"name: faces\nsource: {{kind: digits}}\n{lines}\n")
    with pytest.raises(CpgError) as error:
        load_task(tmp_path / "task.yaml")
    assert told in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_places_are_relative_to_the_yaml_file(tmp_path: Path) -> None:
    text = "name: faces\nkind: verification\nsource: {kind: digits}\npairs: {file: lfw/pairs.txt, images: lfw/test}\n"
    (tmp_path / "task.yaml").write_text(text)
    task = load_task(tmp_path / "task.yaml")
    assert task.pairs is not None
    assert (task.pairs.file, task.pairs.images) == (tmp_path / "lfw/pairs.txt", tmp_path / "lfw/test")
    written = task.model_dump(mode="json", context={"folder": tmp_path})
    assert written["pairs"] == {"file": "lfw/pairs.txt", "images": "lfw/test", "far": 0.001, "different": None}
    assert "loss" not in written and "embedding" not in written
