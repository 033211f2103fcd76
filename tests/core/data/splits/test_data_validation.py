"""Which images a task validates on: groups, folds, lists and parts of their own; and how the parts are called."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from cpg_core.data.sources.folder import FolderSource
from cpg_core.data.sources.parquet import ParquetSource
from cpg_core.data.spec import TaskSpec, load_task
from cpg_core.data.splits.grouped_split import by_groups, fold_of_groups, fold_of_images
from cpg_core.data.splits.split import Split
from cpg_core.data.splits.validation import Group, Validation
from cpg_core.data.task import TaskData, load_task_data
from cpg_core.errors import CpgError

Write = Callable[..., Path]
Tells = Callable[..., AbstractContextManager[None]]
COUNTS = {f"{part}/{name}": count for part, count in (("train", 12), ("test", 2)) for name in ("cat", "dog")}


def task(folder: Path, validation: object = None, **source: object) -> TaskSpec:
    how = {"kind": "folder", "folder": folder, **source}
    return TaskSpec.model_validate({"name": "pets", "source": how, "validation": validation})


def load(spec: TaskSpec, seed: int = 0, val_fraction: float = 0.25, size: int = 12) -> TaskData:
    return load_task_data(spec, image_size=size, channels=3, val_fraction=val_fraction, seed=seed)


def contents(split: Split) -> list[str]:
    return sorted(split.fingerprints)


def random_groups(count: int = 400, classes: int = 4, groups: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Groups of very different size, most of them of one class."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, rng.integers(1, groups, count) + 1)
    label = np.where(rng.random(count) < 0.9, group % classes, rng.integers(0, classes, count))
    return label, np.unique(group, return_inverse=True)[1]


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_no_group_is_on_both_sides_and_each_class_is_near_its_share(fraction: float) -> None:
    labels, groups = random_groups()
    held = by_groups(labels, groups, fraction, seed=3)
    assert not set(groups[held]) & set(groups[~held])
    assert abs(held.mean() - fraction) < 0.05
    for label in np.unique(labels):
        assert 0.4 * fraction < held[labels == label].mean() < 2 * fraction
    assert (by_groups(labels, groups, fraction, seed=3) == held).all()
    assert (by_groups(labels, groups, fraction, seed=4) != held).any()


def test_a_class_of_large_groups_gives_one_of_them() -> None:
    """Each is more than twice the share, so none of them brings the class nearer to it."""
    labels, groups = np.repeat([0, 1], 30), np.arange(60) // 10
    held = by_groups(labels, groups, 0.1, seed=0)
    assert np.bincount(labels[held]).tolist() == [10, 10]
    alone = by_groups(np.repeat([0, 1], 30), np.repeat([0, 1, 2], [30, 15, 15]), 0.1, seed=0)
    assert not alone[:30].any(), "the only group of a class stays to train on"


def test_folds_are_each_image_once_of_equal_size_and_keep_groups_together() -> None:
    labels, groups = random_groups()
    of_images = fold_of_images(labels, 5, seed=1)
    for fold in (of_images, of_images[labels == 2]):
        assert np.ptp(np.bincount(fold, minlength=5)) <= 1
    of_groups = fold_of_groups(labels, groups, 5, seed=1)
    for group in np.unique(groups):
        assert len(set(of_groups[groups == group])) == 1
    for fold in (of_groups, of_groups[labels == 2]):
        assert np.ptp(np.bincount(fold, minlength=5)) <= 0.1 * len(fold), "near to a fifth each"
    assert (of_images != fold_of_images(labels, 5, seed=2)).any()


def test_the_folds_of_a_task_cover_it(write_folder: Write) -> None:
    folder = write_folder(COUNTS)
    data = [load(task(folder, {"fold": {"of": 3, "index": k}}), val_fraction=0.1) for k in (1, 2, 3)]
    in_a_fold = sorted(image for d in data for image in contents(d.val))
    assert in_a_fold == sorted(contents(data[0].train) + contents(data[0].val))
    assert [len(d.val) for d in data] == [8, 8, 8]
    assert "pets: validated on fold 1 of 3" in data[0].summary.lines()
    assert len({d.digest for d in data}) == 3, "another split is another run"


def test_a_pattern_groups_by_path(write_folder: Write) -> None:
    folder = write_folder(COUNTS)
    for file in (folder / "train").glob("*/*.png"):
        file.rename(file.with_name(f"track{int(file.stem) // 3}_{file.stem}.png"))
    data = load(task(folder, {"group": r"(track\d+)_"}), val_fraction=0.25, size=100)
    tracks = [{file.name.split("_")[0] + file.parent.name for file in split.files} for split in (data.train, data.val)]
    assert not tracks[0] & tracks[1]
    assert len(data.val) == 6
    assert "3 groups by pattern '(track\\d+)_' to train, 1 others to validate" in "\n".join(data.summary.lines())
    random = load(task(folder), val_fraction=0.25, size=100)
    mixed = [
        {file.name.split("_")[0] + file.parent.name for file in split.files} for split in (random.train, random.val)
    ]
    assert mixed[0] & mixed[1], "without groups a track is on both sides"


def test_a_column_groups_rows_of_parquet_files(tmp_path: Path, write_parquet: Write, tells: Tells) -> None:
    home = tmp_path / "shards"
    for part in ("train", "test"):
        file = write_parquet(home / f"{part}.parquet", [0, 1] * 8, ["cat", "dog"])
        table = pq.read_table(file)
        pq.write_table(table.append_column("patient", pa.array([k // 4 for k in range(16)])), file)
    spec = TaskSpec.model_validate(
        {"name": "pets", "source": {"kind": "parquet", "folder": home}, "validation": {"group": {"column": "patient"}}}
    )
    data = load(spec, size=4)
    assert data.train.images is not None
    assert data.val.images is not None
    rows = [{int(row) // 4 for row in split.images[:, 0, 0, 0]} for split in (data.train, data.val)]  # type: ignore[index]
    assert not rows[0] & rows[1]
    assert len(rows[1]) == 1
    with tells("no column 'person'", "patient"):
        load(spec.model_copy(update={"validation": Validation(group=Group(column="person"))}), size=4)


def test_a_number_is_one_group_however_a_shard_holds_it(tmp_path: Path, write_parquet: Write, tells: Tells) -> None:
    """Tables write whole numbers as 7.0 where one of them is missing."""
    patients = [k // 2 for k in range(16)]
    kinds = {
        "train-0-of-2": pa.array(patients),
        "train-1-of-2": pa.array(map(float, patients)),
        "test": pa.array(patients),
    }
    for first, (name, column) in enumerate(kinds.items()):
        file = write_parquet(tmp_path / f"{name}.parquet", [0, 1] * 8, ["cat", "dog"], first=16 * first)
        pq.write_table(pq.read_table(file).append_column("patient", column), file)
    how = {"source": {"kind": "parquet", "folder": tmp_path}, "validation": {"group": {"column": "patient"}}}
    spec = TaskSpec.model_validate({"name": "pets", **how})
    data = load(spec, size=4)
    sides = [{int(row) % 16 // 2 for row in split.images[:, 0, 0, 0]} for split in (data.train, data.val)]  # type: ignore[index]
    assert sides[1] and not sides[0] & sides[1]
    pq.write_table(pq.read_table(file := tmp_path / "train-1-of-2.parquet").drop(["patient"]), file)
    missing = pa.array([float("nan"), *map(float, patients[1:])])
    pq.write_table(pq.read_table(file).append_column("patient", missing), file)
    with tells("1 of 32 images have no group"):
        load(spec, size=4)


def test_a_table_groups_files(write_folder: Write, tmp_path: Path, tells: Tells) -> None:
    folder = write_folder(COUNTS)
    lines = [f"{name}/{k}.png,{k % 4}" for name in ("cat", "dog") for k in range(12)]
    (tmp_path / "people.csv").write_text("\n".join(["file,person", *lines]))
    group = {"column": "person", "table": tmp_path / "people.csv"}
    data = load(task(folder, {"group": group}), size=100)
    people = [{int(file.stem) % 4 for file in split.files} for split in (data.train, data.val)]
    assert sorted([*people[0], *people[1]]) == [0, 1, 2, 3]
    (tmp_path / "people.csv").write_text("\n".join(["file,person", *lines[1:]]))
    with tells("1 of 24 images have no group", "cat/0.png"):
        load(task(folder, {"group": group}))
    twice = [*lines[:5], *(f"{line} " for line in lines[4:])]
    (tmp_path / "people.csv").write_text("\n".join(["file,person", *twice]))
    spaced = load(task(folder, {"group": group}), size=100)
    assert [file.name for file in spaced.val.files] == [file.name for file in data.val.files], "no group of its own"
    (tmp_path / "people.csv").write_text("\n".join(["file,person", *lines, "cat/0.png,3"]))
    with tells("cat/0.png has two groups, 0 and 3"):
        load(task(folder, {"group": group}))
    (tmp_path / "people.csv").write_text("path,person\n")
    with tells("people.csv", "no column 'file'"):
        load(task(folder, {"group": group}))


@pytest.mark.parametrize("by", ["files", "table"])
def test_a_path_of_several_images_says_nothing_of_them(
    tmp_path: Path, write_parquet: Write, tells: Tells, by: str
) -> None:
    """Some writers keep the names of files alone, and each class has a 0.png."""
    for name in ("train-0-of-2", "train-1-of-2", "test"):
        write_parquet(tmp_path / f"{name}.parquet", [0, 1] * 4, ["cat", "dog"])
    named = tmp_path / "named.csv"
    named.write_text("0.png\n" if by == "files" else "file,person\n" + "".join(f"{k}.png,{k}\n" for k in range(8)))
    validation = {"files": named} if by == "files" else {"group": {"column": "person", "table": named}}
    how = {"source": {"kind": "parquet", "folder": tmp_path}, "validation": validation}
    with tells("named.csv: 0.png is the path of 2 images"):
        load(TaskSpec.model_validate({"name": "pets", **how}), size=4)


def test_a_list_of_files(write_folder: Write, tmp_path: Path, tells: Tells) -> None:
    folder, listed = write_folder(COUNTS), tmp_path / "val.txt"
    listed.write_text("# fixed for all time\ncat/3.png\n\ndog/7.png\n")
    data = load(task(folder, {"files": listed}), size=100)
    assert [f"{file.parent.name}/{file.name}" for file in data.val.files] == ["cat/3.png", "dog/7.png"]
    assert len(data.train) == 22
    assert f"pets: validated on the 2 images that {listed} names" in data.summary.lines()
    listed.write_text("cat/3.png\ndog/8.png\n")
    assert load(task(folder, {"files": listed}), size=100).digest != data.digest
    listed.write_text("cat/3.png\n")
    with tells("class 'dog'", "the list", "0 to validate"):
        load(task(folder, {"files": listed}))
    listed.write_text("cat/99.png\ncat/1.png\n")
    with tells("val.txt", "1 of 2 paths", "cat/99.png", "cat/0.png"):
        load(task(folder, {"files": listed}))


@pytest.mark.parametrize("size", [12, 100], ids=["in memory", "streamed"])
def test_a_validation_folder_is_used_once_it_is_named(write_folder: Write, size: int) -> None:
    folder = write_folder({**COUNTS, "validation/cat": 3, "validation/dog": 2})
    unused = load(task(folder), size=size)
    assert (len(unused.train), len(unused.val)) == (18, 6)
    assert any("validation: not used" in line and "splits: {val: validation}" in line for line in unused.notes)
    used = load(task(folder, splits={"val": "validation"}), size=size)
    assert (len(used.train), len(used.val), len(used.test)) == (24, 5, 4)
    assert used.val.labels.tolist() == [0, 0, 0, 1, 1]
    assert f"pets: validated on {folder / 'validation'}" in used.summary.lines()
    assert not any("not used" in line for line in used.notes)
    assert not set(contents(used.val)) & set(contents(used.train))


def test_folders_by_other_names(write_folder: Write, tells: Tells) -> None:
    folder = write_folder({"training/cat": 4, "training/dog": 4, "testing/cat": 1, "testing/dog": 1, "val/cow": 1})
    with tells("train: there is no such folder", "testing, training", "splits: {train: NAME}"):
        load(task(folder))
    names = {"train": "training", "test": "testing"}
    data = load(task(folder, splits=names))
    assert (len(data.train), len(data.val), len(data.test)) == (6, 2, 2)
    with tells("val: class 'cow'", "not in train"):
        load(task(folder, splits=names | {"val": "val"}))


def test_shards_by_other_names(tmp_path: Path, write_parquet: Write, tells: Tells) -> None:
    for name, count in (("training", 8), ("eval", 2), ("validation", 3)):
        write_parquet(tmp_path / f"{name}-00000-of-00001.parquet", [0, 1] * count, ["cat", "dog"], first=len(name) * 9)
    how = {"kind": "parquet", "folder": tmp_path, "splits": {"train": "training", "test": "eval", "val": "validation"}}
    data = load(TaskSpec.model_validate({"name": "pets", "source": how}), size=4)
    assert (len(data.train), len(data.val), len(data.test)) == (16, 6, 4)
    with tells("no train-*.parquet", "splits: {train: NAME}"):
        ParquetSource(kind="parquet", folder=tmp_path).list_part("train")


def test_a_shard_is_of_the_longest_name_that_it_begins_with(tmp_path: Path, write_parquet: Write) -> None:
    """What is validated on must not be trained on."""
    for name, count in (("train", 8), ("train-val", 2), ("test", 3)):
        write_parquet(tmp_path / f"{name}.parquet", [0, 1] * count, ["cat", "dog"], first=len(name) * 9)
    how = {"kind": "parquet", "folder": tmp_path, "splits": {"val": "train-val"}}
    data = load(TaskSpec.model_validate({"name": "pets", "source": how}), size=4)
    assert (len(data.train), len(data.val), len(data.test)) == (16, 4, 6)


def test_subfolders_are_taken_when_asked_for(write_folder: Write) -> None:
    folder = write_folder({**COUNTS, "train/cat/2023/may": 2, "train/cat/.cache": 1})
    plain, deep = load(task(folder), val_fraction=0), load(task(folder, subfolders=True), val_fraction=0)
    assert (len(plain.train), len(deep.train)) == (24, 26)
    assert "2 in folders inside the class's (subfolders: true takes them), 1 hidden" in "\n".join(plain.summary.lines())
    assert deep.train.labels.bincount().tolist() == [14, 12]


WRONG = {
    "validation: {}": "expected group, fold or files",
    "validation: {fold: {of: 5, index: 6}}": "folds 1 to 5",
    "validation: {fold: {of: 5, index: 0}}": "validation > fold > index",
    "validation: {group: '(a'}": "no regular expression",
    "validation: {group: {table: a.csv}}": "give a regular expression",
    "validation: {group: {pattern: a, table: a.csv}}": "table is read by its column",
    "validation: {files: val.txt, fold: {of: 2, index: 1}}": "leave group and fold out",
    "sampling: fair": "balanced",
    "{sampling: balanced, loss: {kind: weighted_cross_entropy}}": "choose one of them",
    "source: {kind: folder, folder: x, splits: {train: test}}": "different names",
    "source: {kind: folder, folder: x, splits: {train: a/b}}": "name of a folder",
    "{source: {kind: folder, folder: x, splits: {val: v}}, validation: {group: a}}": "leave that name out",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_a_line_that_names_the_file(tmp_path: Path, wrong: str) -> None:
    content = {"name": "pets", "source": {"kind": "folder", "folder": "x"}, **yaml.safe_load(wrong)}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(CpgError) as error:
        load_task(tmp_path / "task.yaml")
    assert WRONG[wrong] in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "task.yaml"))


def test_paths_that_have_no_group_are_told(write_folder: Write, tells: Tells) -> None:
    folder = write_folder(COUNTS)
    with tells("20 of 24 images have no group by pattern", "such as cat/0.png"):
        load(task(folder, {"group": r"/(1\d)\.png"}))
    with tells("no file names", "a pattern"):
        load(TaskSpec.model_validate({"name": "d", "source": {"kind": "digits"}, "validation": {"group": "x"}}))
    with tells("have no columns"):
        load(task(folder, {"group": {"column": "person"}}))
    with tells("class 'cat'", "with whole groups", "add images of another group or change validation"):
        load(task(folder, {"group": "(cat|dog)/"}))


def test_nothing_is_written_of_what_was_not_said() -> None:
    plain = TaskSpec(name="pets", source=FolderSource(kind="folder", folder=Path("/x")))
    said = plain.model_dump(mode="json")
    assert not {"validation", "sampling"} & said.keys()
    assert said["source"].keys() == {"kind", "folder"}
    full = task(Path("/x"), {"group": "(a)", "fold": {"of": 2, "index": 1}}, splits={"train": "a"}, subfolders=True)
    assert TaskSpec.model_validate_json(full.model_dump_json()) == full


@pytest.mark.parametrize(("fewest", "folds"), [(5, 4), (2, 2)])
def test_what_is_advised_where_a_class_is_too_small_for_its_share_helps(
    write_folder: Write, fewest: int, folds: int
) -> None:
    folder = write_folder({**COUNTS, "train/cat": 5, "train/dog": fewest})
    with pytest.raises(CpgError, match=r"leaves [52] to train and 0 to validate on; add images, or say") as told:
        load(task(folder), val_fraction=0.1)
    (advised,) = re.findall(r" (validation: .*?) or source", str(told.value))
    validation = yaml.safe_load(advised)["validation"]
    assert validation == {"fold": {"of": folds, "index": 1}}
    data = load(task(folder, validation), val_fraction=0.1)
    assert all(split.labels.bincount().min() > 0 for split in (data.train, data.val))


def test_no_fold_is_advised_where_a_class_has_one_image(write_folder: Write) -> None:
    with pytest.raises(CpgError, match=r"0 to validate on; .* validates on: source: \{splits: \{val") as told:
        load(task(write_folder({**COUNTS, "train/dog": 1})), val_fraction=0.1)
    assert "fold:" not in str(told.value)


def test_a_broken_image_to_validate_on_is_named_with_the_others(write_folder: Write, tells: Tells) -> None:
    folder = write_folder({**COUNTS, "val/cat": 2, "val/dog": 2})
    for place in ("val/cat/0.png", "test/dog/0.png"):
        (folder / place).write_text("no image")
    with tells("2 of", "val/cat/0.png", "test/dog/0.png"):
        load(task(folder, splits={"val": "val"}))


def test_with_no_share_to_validate_on_groups_train_whole(write_folder: Write) -> None:
    loaded = load(task(write_folder(COUNTS), {"group": r"(\d+)"}), val_fraction=0.0)
    assert (len(loaded.train), len(loaded.val)) == (24, 0)
