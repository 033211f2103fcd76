"""Sequence YAML files: what they mean, and what a person is told who got one wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from cpg_core.data.fields import Augment, MeanStd
from cpg_core.data.sources.digits import DigitsSource
from cpg_core.data.sources.folder import FolderSource
from cpg_core.data.sources.parquet import ParquetSource
from cpg_core.data.sources.torchvision import TorchvisionSource
from cpg_core.data.spec import SequenceSpec, TaskSpec, load_sequence, load_task, select
from cpg_core.errors import CpgError

Tells = Callable[..., AbstractContextManager[None]]
SEQUENCES = Path(__file__).parents[3] / "data"
SEQUENCE = """
name: toy
backbone: net
profile: quick
source: {kind: digits}
augment: {crop_padding: 1}
normalise: none
tasks:
  - {name: one, classes: ["0", "1"]}
  - {name: two, source: {kind: folder, folder: pictures}, augment: {flip: true}, normalise: {mean: [0.5], std: [0.1]}}
  - {name: three}
orderings: {1: [3, 1, 2], back: [3, 2, 1]}
"""


@pytest.fixture
def toy(tmp_path: Path) -> SequenceSpec:
    (tmp_path / "toy.yaml").write_text(SEQUENCE)
    return load_sequence("toy", tmp_path)


def test_tasks_inherit_or_set_their_own(toy: SequenceSpec, tmp_path: Path) -> None:
    one, two, three = toy.tasks
    assert one.source == three.source == DigitsSource(kind="digits")
    assert one.augment == Augment(crop_padding=1)
    assert one.normalise == "none"
    assert (one.classes, three.classes) == (("0", "1"), None)
    assert two.source == FolderSource(kind="folder", folder=tmp_path / "pictures"), "relative to the YAML file"
    assert two.augment == Augment(flip=True), "a task's own replaces the inherited one as a whole"
    assert two.normalise == MeanStd(mean=(0.5,), std=(0.1,))


def test_a_task_goes_through_json_unchanged(toy: SequenceSpec) -> None:
    for task in toy.tasks:
        assert TaskSpec.model_validate_json(task.model_dump_json()) == task
        assert TaskSpec.model_validate(task.model_dump(mode="json")) == task
    assert SequenceSpec.model_validate_json(toy.model_dump_json()) == toy


@pytest.mark.parametrize(
    ("tasks", "ordering", "names"),
    [
        (None, "0", "one two three"),
        (None, "1", "three one two"),
        ("1-2", "0", "one two"),
        ("1-2", "back", "three two"),
        ("3, 1", "0", "three one"),
        ("1,2-3", "1", "three one two"),
    ],
)
def test_select(toy: SequenceSpec, tasks: str | None, ordering: str, names: str) -> None:
    assert [task.name for task in select(toy, tasks, ordering)] == names.split()


@pytest.mark.parametrize(
    ("tasks", "ordering", "told"),
    [
        ("4", "0", ["no task 4", "1 to 3"]),
        ("0-1", "0", ["no task 0"]),
        ("3-1", "0", ["'3-1'", "1-3"]),
        ("one", "0", ["'one'"]),
        ("", "0", ["cannot read ''"]),
        ("1,1-2", "0", ["task 1", "twice"]),
        (None, "2", ["ordering '2'", "0, 1, back"]),
    ],
)
def test_select_refuses(toy: SequenceSpec, tasks: str | None, ordering: str, told: list[str], tells: Tells) -> None:
    with tells(*told):
        select(toy, tasks, ordering)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("name: one", "name: two", ["task 'two'", "twice"]),
        ("name: one", "name: One Task", ["item 1 ('One Task') > name", "'One Task'", "lowercase"]),
        ("name: one", "name: ../up", ["'../up'", "folder name"]),
        ("name: one", "name: -x", ["'-x'"]),
        ("name: one", "name: " + "x" * 65, ["64 at the most"]),
        ("name: one, ", "", ["tasks > item 1 > name", "required"]),
        ('["0", "1"]', '["0", "0"]', ["item 1 ('one') > classes", "class '0'", "twice"]),
        ('["0", "1"]', "[0, 1]", ["classes > item 1", "got 0", "quotes"]),
        ('["0", "1"]', "[2020-12-01, x]", ["classes > item 1", "got 2020-12-01", "quotes"]),
        ('["0", "1"]', "[2020-13-01, x]", ["not valid YAML", "'2020-13-01'", "quotes", "line 9"]),
        ('["0", "1"]', '["0"]', ["item 1 ('one') > classes", "two classes or more, not 1"]),
        ("classes:", "clases:", ["item 1 ('one') > clases", "did you mean 'classes'"]),
        ("{flip: true}", "{flipp: true}", ["item 2 ('two') > augment > flipp", "did you mean 'flip'"]),
        ("crop_padding: 1", "crop_padding: -1", ["toy.yaml: augment > crop_padding", "got -1"]),
        ("normalise: none", "normalise: sometimes", ["normalise", "'sometimes'"]),
        ("std: [0.1]", "std: [0.0]", ["item 2 ('two') > normalise > std", "greater than 0"]),
        ("std: [0.1]", "std: [0.1, 0.2]", ["item 2 ('two') > normalise", "mean has 1", "std 2"]),
        ("kind: digits", "kind: digitz", ["toy.yaml: source", "'digitz'; did you mean 'digits'?", "parquet"]),
        ("source: {kind: digits}", "", ["tasks > item 1 ('one') > source", "item 3 ('three') > source"]),
        ("folder: pictures", "foldr: pictures", ["item 2 ('two') > source > foldr", "did you mean 'folder'"]),
        ("kind: folder, folder: pictures", "kind: parquet, folder: a, repo: b/c", ["source", "either folder alone"]),
        ("kind: folder, folder: pictures", "kind: parquet, repo: b/c", ["item 2 ('two') > source", "subfolder"]),
        ("[3, 1, 2]", "[3, 1, 1]", ["ordering '1'", "1..3", ": 2"]),
        ("[3, 1, 2]", "[1, 2, 3, 4]", ["ordering '1'", ": 4"]),
        ("{1: [3, 1, 2]", "{0: [3, 1, 2]", ["'0'", "another name"]),
        ("backbone: net", "backbone: net\nbudget: 2", ["budget", "unknown key"]),
        ("backbone: net", "backbone: net\nname: twice", ["'name'", "given twice", "line"]),
        ("backbone: net", "", ["backbone", "required"]),
        ("backbone: net", "backbone: [", ["not valid YAML", "line"]),
    ],
)
def test_a_wrong_sequence_is_explained(tmp_path: Path, old: str, new: str, told: list[str], tells: Tells) -> None:
    assert old in SEQUENCE
    path = tmp_path / "toy.yaml"
    path.write_text(SEQUENCE.replace(old, new, 1))
    with tells("toy.yaml", *told):
        load_sequence(str(path), tmp_path)


def test_an_inherited_mistake_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(SEQUENCE.replace("crop_padding: 1", "crop_pading: 1"))
    with pytest.raises(CpgError, match=r"toy.yaml: augment > crop_pading: .* 'crop_padding'\?$"):
        load_sequence("toy", tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [("name: a\nbackbone: b\nprofile: c\ntasks: []\n", "tasks: there are none"), ("- a list\n", "keys"), ("", "keys")],
)
def test_not_a_sequence(tmp_path: Path, text: str, told: str, tells: Tells) -> None:
    (tmp_path / "odd.yaml").write_text(text)
    with tells("odd.yaml", told):
        load_sequence("odd", tmp_path)


def test_unknown_sequence_names_the_known_ones(tmp_path: Path, tells: Tells) -> None:
    (tmp_path / "toy.yaml").write_text(SEQUENCE)
    with tells("'toi'", "did you mean 'toy'", "Known sequences: toy"):
        load_sequence("toi", tmp_path)
    with tells("gone.yaml", "no such file"):
        load_sequence(str(tmp_path / "gone.yaml"), tmp_path)


def test_load_task(tmp_path: Path, tells: Tells) -> None:
    path = tmp_path / "cats.yaml"
    path.write_text("name: cats\nsource: {kind: folder, folder: ../pictures}\n")
    task = load_task(path)
    assert isinstance(task.source, FolderSource)
    assert task.source.folder == tmp_path.parent / "pictures"
    assert task.normalise == "per_task"
    path.write_text("name: cats\n")
    with tells("cats.yaml", "source", "required"):
        load_task(path)


def test_the_sequences_of_this_project() -> None:
    digits, cifar = (load_sequence(name, SEQUENCES) for name in ("digits-5", "cifar100-20"))
    assert [task.classes for task in digits.tasks] == [(str(k), str(k + 1)) for k in range(0, 10, 2)]
    assert len(digits.orderings) >= 2
    assert [len(task.classes or ()) for task in cifar.tasks] == [5] * 20
    assert [task.name for task in cifar.tasks] == sorted(task.name for task in cifar.tasks)
    assert len({name for task in cifar.tasks for name in task.classes or ()}) == 100
    starts = {name: order[:4] for name, order in cifar.orderings.items()}
    assert starts == {"1": (12, 9, 3, 2), "2": (2, 11, 1, 17), "3": (19, 13, 18, 10)}


def test_the_example_in_the_documents(tmp_path: Path) -> None:
    page = (SEQUENCES.parent / "docs/data.md").read_text()
    example = re.search(r"```yaml\n(name: mixed\n.*?)```", page, re.DOTALL)
    assert example
    (tmp_path / "mixed.yaml").write_text(example[1])
    kinds = [task.source.kind for task in load_sequence("mixed", tmp_path).tasks]
    assert kinds == ["digits", "torchvision", "folder", "parquet"]


@pytest.mark.parametrize(
    "repo",
    [
        "uoft-cs/cifar100",
        "datasets/uoft-cs/cifar100",
        "https://huggingface.co/datasets/uoft-cs/cifar100",
        "https://www.huggingface.co/datasets/uoft-cs/cifar100/tree/main/cifar100?row=1",
        "hf://datasets/uoft-cs/cifar100",
    ],
)
def test_a_data_set_of_the_hub_by_its_name_or_address(repo: str) -> None:
    assert ParquetSource(kind="parquet", repo=repo, subfolder="x").repo == "uoft-cs/cifar100"


@pytest.mark.parametrize("repo", ["https://example.com/a/b", "uoft-cs/cifar100/data", "two words", ""])
def test_what_is_no_data_set_of_the_hub_is_refused(tmp_path: Path, repo: str, tells: Tells) -> None:
    (tmp_path / "toy.yaml").write_text(
        SEQUENCE.replace("{kind: digits}", f"{{kind: parquet, repo: '{repo}', subfolder: x}}")
    )
    with tells("source > repo", "such as uoft-cs/cifar100", repr(repo)):
        load_sequence("toy", tmp_path)


def test_places_are_stored_relative_to_a_folder_that_may_move(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for home in (here, there):
        (home / "data").mkdir(parents=True)
        (home / "data/toy.yaml").write_text(SEQUENCE)
    old, new = (load_sequence("toy", home / "data").tasks for home in (here, there))
    assert old != new
    stored = [task.model_dump(mode="json", context={"folder": here}) for task in old]
    assert stored[1]["source"]["folder"] == "data/pictures"
    assert tuple(TaskSpec.model_validate(task, context={"folder": here}) for task in stored) == old
    assert tuple(TaskSpec.model_validate(task, context={"folder": there}) for task in stored) == new


def test_a_place_elsewhere_is_stored_as_it_is(tmp_path: Path) -> None:
    source = FolderSource(kind="folder", folder=tmp_path / "images")
    context = {"folder": tmp_path / "root"}
    stored = source.model_dump(mode="json", context=context)
    assert stored["folder"] == str(tmp_path / "images")
    assert FolderSource.model_validate(stored, context=context) == source


def test_the_default_place_of_downloads_is_the_working_folder(tmp_path: Path) -> None:
    source = TorchvisionSource(kind="torchvision", dataset="MNIST")
    stored = source.model_dump(mode="json", context={"folder": tmp_path})
    assert TorchvisionSource.model_validate(stored, context={"folder": tmp_path}) == source


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "toy.yaml").write_text(SEQUENCE.replace("folder: pictures", "folder: ~/pictures"))
    sequence = load_sequence("~/toy.yaml", Path("data"))
    assert sequence.tasks[1].source == FolderSource(kind="folder", folder=tmp_path / "pictures")
    (tmp_path / "cats.yaml").write_text("name: cats\nsource: {kind: folder, folder: cats}\n")
    assert load_task(Path("~/cats.yaml")).source == FolderSource(kind="folder", folder=tmp_path / "cats")


def test_a_place_may_begin_with_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tells: Tells) -> None:
    file = tmp_path / "task.yaml"
    file.write_text("{name: one, source: {kind: folder, folder: $PICTURES/mine/cats}}")
    monkeypatch.setenv("PICTURES", str(tmp_path / "here"))
    source = load_task(file).source
    assert isinstance(source, FolderSource) and source.folder == tmp_path / "here" / "mine" / "cats"
    monkeypatch.delenv("PICTURES")
    with tells("$PICTURES is not set", "the folder that holds mine/cats"):
        load_task(file)


def test_weights_may_be_named_by_a_variable_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tells: Tells) -> None:
    file = tmp_path / "toy.yaml"
    file.write_text(SEQUENCE.replace("backbone: net", "backbone: {name: net, weights: $NETWORKS/a/net.pth}"))
    monkeypatch.setenv("NETWORKS", str(tmp_path / "here"))
    assert load_sequence(str(file), tmp_path).backbone.weights == str(tmp_path / "here" / "a" / "net.pth")
    monkeypatch.delenv("NETWORKS")
    with tells("toy.yaml: backbone > weights", "$NETWORKS is not set", "the folder that holds a/net.pth"):
        load_sequence(str(file), tmp_path)


@pytest.mark.parametrize(
    ("place", "told"),
    [("~nobody-of-that-name/a", "write the folder out"), ("$PLACE/a", "/caf\\xe9/a: this name is not")],
)
def test_a_place_that_cannot_be_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tells: Tells, place: str, told: str
) -> None:
    monkeypatch.setenv("PLACE", "/caf\udce9")  # as Python has a byte that is no UTF-8
    (tmp_path / "one.yaml").write_text(f"{{name: one, source: {{kind: folder, folder: {place}}}}}")
    with tells("one.yaml: source", told):
        load_task(tmp_path / "one.yaml")


def test_the_faces_lie_where_cpg_data_says_and_not_where_dvc_would_take_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tells: Tells
) -> None:
    monkeypatch.setenv("CPG_DATA", str(tmp_path))
    found = load_sequence("faces-4", SEQUENCES)
    assert [(task.name, task.kind) for task in found.tasks][:2] == [
        ("verification", "verification"),
        ("gender", "classification"),
    ]
    places = [
        place for task in found.tasks for place in (task.source.location(), *(task.pairs.places if task.pairs else ()))
    ]
    assert all(place is not None and place.is_relative_to(tmp_path / "faces") for place in places)
    with tells("faces/utkface/gender/train", "there is no such folder"):
        found.tasks[1].source.list_part("train")
