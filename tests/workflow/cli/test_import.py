"""`cpg import`: a pretrained network is task 1, by its own answers to unlabelled images; tasks are added to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from core.tiny import ROOT, spec
from PIL import Image

from cpg_core.backbones.parts.imagenet import MEAN, STD
from cpg_core.config.backbone import BackboneSpec
from cpg_core.data.fields import MeanStd
from cpg_core.data.reading.reading import silent
from cpg_core.data.sources.imitation import ImitationSource, unlabelled
from cpg_core.data.spec import TaskSpec
from cpg_core.errors import CpgError
from cpg_core.model.network import build
from cpg_core.recall.audit import audit
from cpg_core.recall.forget import carry_out, plan
from cpg_core.recall.metrics import summary
from cpg_core.runner import learn_sequence
from cpg_core.stages.importing.import_weights import network_tensors
from cpg_core.storage.files import read_json
from cpg_core.storage.forgotten import Forgotten
from cpg_core.storage.run import Run
from cpg_core.storage.runs import extend
from cpg_core.storage.weight_files import read_weights
from cpg_core.training.reporter import Silent
from flows.cli.import_request import ImportRequest, imported
from flows.reproduce.result import result_of
from flows.request import SequenceRequest, normalise_of_weights, run_of_request, run_with_added_task
from workflow.asking import cpg

WIDTH = 0.05
OVERRIDES = ("batch_size=16", f"base_width={WIDTH}", "grow.max_x=1.0", "prune.epochs=1", "prune.prune_epochs=1",
             "pick_train.epochs=1", "prune.targets=[0.5]", "retrain.epochs=1")  # fmt: skip
WITHOUT_TARGETS = tuple(override for override in OVERRIDES if not override.startswith("prune.targets"))
CLASSES = 7


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    network = build(BackboneSpec(name="resnet18"), WIDTH, CLASSES, 7).eval()
    with torch.no_grad():  # without this it answers one class to whatever it is shown
        shown = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        network.head.bias.sub_(network(2 * shown - 1).mean(dim=0))
    named = {name.removeprefix("backbone.").replace("head.", "fc."): v for name, v in network.state_dict().items()}
    torch.save(named, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    drawn = np.random.default_rng(1).integers(0, 255, (40, 32, 32, 3), dtype=np.uint8)
    for number, pixels in enumerate(drawn):
        home = tmp_path / "images" / f"part{number % 3}"
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(home / f"{number}.png")
    return tmp_path / "images"


@pytest.fixture
def request_of(tmp_path: Path, weights: Path, images: Path) -> Callable[..., Run]:
    def made(**more: Any) -> Run:  # noqa: ANN401  (fields of the request)
        name, pictures, file = more.pop("run", "base"), more.pop("images", images), more.pop("weights", weights)
        half = (0.5, 0.5, 0.5)
        fields: dict[str, Any] = {
            "size": 32,
            "mean": half,
            "std": half,
            "profile": "digits",
            "overrides": OVERRIDES,
            "keep": 0.25,
        }
        request = ImportRequest("resnet18", str(file), pictures, name, **{**fields, **more})
        return imported(request, tmp_path / "root", silent)

    return made


def test_it_is_pruned_to_the_share_judged_by_agreement_and_picked_from(request_of: Callable[..., Run]) -> None:
    run = request_of()
    assert not run.folder.exists()
    learn_sequence(run, Silent())
    record = run.record(1)
    assert [stage.stage for stage in record.stages] == ["import", "check", "prune", "freeze"]
    assert record.stages[0].accuracy == 1.0  # unpruned, it agrees with itself
    assert record.sparsity == pytest.approx(0.75, abs=0.001)
    assert record.classes == tuple(str(place) for place in range(CLASSES))
    assert record.task["source"]["kind"] == "imitation"
    second = extend(run, spec(tasks="2").tasks[0], 0.0)
    learn_sequence(second, Silent())
    assert second.record(2).picked is not None
    assert all(finding.ok for finding in audit(second))
    agreement, accuracy = (second.record(index).test_accuracy for index in (1, 2))
    assert agreement != accuracy  # or the next line cannot fail
    assert (summary(run)["average_accuracy"], summary(second)["average_accuracy"]) == (agreement, accuracy)
    assert [record.goal_met for record in second.records()] == [True, True]
    assert (summary(run)["goals_met"], summary(second)["goals_met"]) == (1, 1)


def test_a_weight_file_of_the_project_is_named_by_its_place_in_it(
    request_of: Callable[..., Run], weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "root").mkdir()
    file = weights.rename(tmp_path / "root/net.pth")
    run = request_of(weights=file, images=None, keep=1.0, overrides=WITHOUT_TARGETS)
    learn_sequence(run, Silent())
    record = read_json(run.task_folder(1) / "record.json")
    assert record["backbone"]["weights"] == "net.pth"
    assert str(tmp_path / "root") not in (run.task_folder(1) / "record.json").read_text()


@pytest.mark.parametrize(("overrides", "left"), [((), 0.375), (("grow.reserve_x=0",), 0.0)])
def test_a_task_that_is_added_leaves_half_of_what_was_released(
    request_of: Callable[..., Run], overrides: tuple[str, ...], left: float
) -> None:
    run = request_of(overrides=(*WITHOUT_TARGETS, "prune.targets=[]", *overrides))
    learn_sequence(run, Silent())
    added = extend(run, spec(tasks="2").tasks[0], 1.0)
    learn_sequence(added, Silent())
    assert added.record(2).redundancy_x == pytest.approx(left, abs=0.005)


def test_an_added_task_is_normalised_as_the_network_was_trained(request_of: Callable[..., Run], tmp_path: Path) -> None:
    run = request_of(images=None, keep=1.0, overrides=WITHOUT_TARGETS)
    learn_sequence(run, Silent())
    task = {"name": "more", "source": {"kind": "digits"}, "classes": ["2", "3"]}
    file = tmp_path / "more.yaml"
    for told, expected in ({}, run.spec.tasks[0].normalise), ({"normalise": "per_task"}, "per_task"):
        file.write_text(json.dumps(task | told))
        assert run_with_added_task(run.root, run.spec.name, file, 0.5).spec.tasks[1].normalise == expected


def test_once_it_is_forgotten_a_task_is_normalised_as_its_weights_were(tmp_path: Path) -> None:
    """Whichever task is the first then, and whichever says its own."""
    half, own = ({"mean": [value] * 3, "std": [value] * 3} for value in (0.5, 0.25))
    raw = [{"name": name, "source": {"kind": "digits"}, "normalise": how}
           for name, how in (("base", half), ("own", own), ("plain", "per_task"), ("more", half))]  # fmt: skip
    tasks = [TaskSpec.model_validate(task) for task in raw]
    gone = [Forgotten(index=index, time="2026-01-01T00:00:00Z", own=1, freed=1) for index in (1, 2)]

    def known(weights: str | None, tasks: Sequence[TaskSpec], *forgotten: Forgotten) -> MeanStd | None:
        backbone = BackboneSpec(name="resnet18", weights=weights)
        given = {"backbone": backbone, "tasks": tuple(tasks), "forgotten": forgotten}
        return normalise_of_weights(spec().model_copy(update=given))

    file, base, plain, more = str(tmp_path / "net.pth"), tasks[0], tasks[2], tasks[3]
    assert known(None, tasks) is None
    assert known(file, tasks) == known(file, [base, plain], gone[1]) == base.normalise
    assert known(file, [plain, more], gone[0]) == more.normalise
    assert known(file, [plain], gone[0]) is None
    published = MeanStd(mean=MEAN, std=STD)
    for left in ([], tasks[1:], [plain]):
        assert known("IMAGENET1K_V1", left, gone[1], gone[0]) == published
    assert known("IMAGENET1K_V1", [base, plain], gone[1]) == base.normalise


def test_once_it_is_forgotten_the_next_task_is_learned_and_not_imported(
    request_of: Callable[..., Run], tmp_path: Path
) -> None:
    run = request_of(images=None, keep=1.0, overrides=WITHOUT_TARGETS)
    learn_sequence(run, Silent())
    file = tmp_path / "more.yaml"
    file.write_text(json.dumps({"name": "more", "source": {"kind": "digits"}, "classes": ["2", "3"]}))
    after = run_with_added_task(run.root, carry_out(plan(run, "resnet18")).spec.name, file, 0.5)
    learn_sequence(after, Silent())
    assert after.record(1).stages[0].stage == "pick_train"


def test_what_recovers_is_no_worse_than_pruning_alone(request_of: Callable[..., Run], weights: Path) -> None:
    """At a rate that ruins it, it is left pruned and not trained: with the values of the file."""
    run = request_of(keep=0.95, overrides=(*OVERRIDES, "prune.lr=0.3", "prune.min_train_accuracy=0.99"))
    learn_sequence(run, Silent())
    prune, added, file = run.record(1).stages[2], run.delta(1), read_weights(weights)
    assert prune.accuracy is not None and prune.accuracy > prune.epochs[-1].accuracy
    assert (prune.train_accuracy, prune.gate) == (None, None)  # that was of what is not kept
    whole, kept = file["conv1.weight"], torch.cat(added.values["conv1.weight"])
    assert len(kept) == whole.numel() - int(0.05 * whole.numel()) and torch.isin(kept, whole).all()


def test_without_images_all_weights_are_kept(request_of: Callable[..., Run]) -> None:
    run = request_of(images=None, keep=0.9999999, overrides=WITHOUT_TARGETS)
    learn_sequence(run, Silent())
    record = run.record(1)
    assert [stage.stage for stage in record.stages] == ["import", "check", "freeze"]
    assert (record.test_accuracy, record.sparsity, record.released) == (1.0, 0.0, 0)
    assert all(finding.ok for finding in audit(run))


def test_what_its_accuracies_mean_is_told_and_what_comes_next(
    request_of: Callable[..., Run], weights: Path, tmp_path: Path
) -> None:
    run = request_of(overrides=(*OVERRIDES, "check.tolerance=0.01"))
    assert run.required_accuracy("resnet18") == 0.0  # it has no goal, which no tolerance takes below nothing
    assert run.data(1).summary.lines()[1:] == [
        "resnet18: accuracy is the share of images, not trained on, that get the unpruned network's answer"
    ]
    words = [part for override in WITHOUT_TARGETS for part in ("--set", override)]
    words += ["--size", "32", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "--profile", "digits", "--plain"]
    given = ["import", "resnet18", "--weights", weights, "--keep", "1", "--run", "base", "--no-track", *words]
    result = cpg(*given, "--root", tmp_path / "root")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.endswith("\nnext: cpg add base TASK.YAML\n")


def test_a_share_is_kept_by_whatever_method_or_refused(request_of: Callable[..., Run]) -> None:
    assert request_of(method="packnet").spec.tasks[0].settings["one_shot"]["sparsity"] == 0.75
    for method, keep in (("packnet", 1.0), ("piggyback", 0.5)):
        with pytest.raises(CpgError, match=rf"--keep {keep:g}: method {method} prunes"):
            request_of(method=method, keep=keep)


def sequence_of(home: Path, weights: Path, images: Path) -> SequenceRequest:
    task = {"name": "base", "source": {"kind": "imitation", "images": str(images), "label": "what"}}
    half = {"mean": [0.5] * 3, "std": [0.5] * 3}
    named = {"name": "photos", "profile": "digits", "normalise": half, "tasks": [task]}
    (home / "photos.yaml").write_text(
        json.dumps({**named, "backbone": {"name": "resnet18", "size": 32, "weights": str(weights)}})
    )
    return SequenceRequest(str(home / "photos.yaml"), overrides=(*OVERRIDES, "prune.share=0.25"))


def test_a_sequence_may_begin_so_and_tells_accuracy_by_a_column_of_labels(
    weights: Path, images: Path, tmp_path: Path
) -> None:
    """The labels are the network's own answers here, so that accuracy by them and agreement are counted alike."""
    files = sorted(images.rglob("*.png"))
    encoded = [{"bytes": file.read_bytes()} for file in files]
    home, table = tmp_path / "home", tmp_path / "table"
    for folder in (home, table):
        folder.mkdir()
    network = build(BackboneSpec(name="resnet18", size=32), WIDTH, CLASSES)
    network.load_state_dict(network_tensors(BackboneSpec(name="resnet18", weights=str(weights)), WIDTH))
    pixels = torch.tensor(np.stack([np.asarray(Image.open(file)) for file in files])).permute(0, 3, 1, 2)
    with torch.no_grad():
        answers = network.eval()(pixels / 127.5 - 1).argmax(dim=1).tolist()
    answers[:CLASSES] = range(CLASSES)  # a column tells as many classes apart as the network does
    known = [*(f"n{label}" for label in answers[:-1]), None]
    pq.write_table(pa.table({"image": encoded, "what": known}), table / "a.parquet")
    request = sequence_of(home, weights, table)
    run = run_of_request(request, tmp_path)
    written = {file: file.stat().st_mtime_ns for file in (tmp_path / "data/prepared").glob("answers-*.json")}
    assert len(written) == 1
    learn_sequence(run, Silent())
    figures = run.record(1).figures
    right = figures["labelled_accuracy"] * (len(known) - 1)
    assert right >= 1 and right == pytest.approx(round(right)), "an image without a label is not among them"
    agreed = result_of(run).tasks[0]
    assert agreed.agreement and agreed.figures["labelled_accuracy"] == figures["labelled_accuracy"]
    assert run_of_request(request, tmp_path).frozen() == 1
    assert {file: file.stat().st_mtime_ns for file in written} == written  # the network was not asked again
    pq.write_table(pa.table({"image": encoded, "what": ["n1"] * len(files)}), table / "a.parquet")
    with pytest.raises(CpgError, match="tells 1 classes apart and the network 7"):
        run.spec.tasks[0].source.true_labels("test")


def test_names_in_a_file_of_windows(request_of: Callable[..., Run], tmp_path: Path) -> None:
    names, file = [f"name {place}" for place in range(CLASSES)], tmp_path / "names.txt"
    file.write_text("\r\n".join(names), encoding="utf-8-sig")
    source = request_of(classes=file).spec.tasks[0].source
    assert isinstance(source, ImitationSource) and list(source.known().classes) == names


def test_the_same_request_goes_on_with_the_same_run(request_of: Callable[..., Run]) -> None:
    run = request_of()
    learn_sequence(run, Silent())
    assert request_of().frozen() == 1
    with pytest.raises(CpgError, match="another run"):
        request_of(keep=0.5)


def test_the_answers_are_of_images_in_three_parts(request_of: Callable[..., Run], images: Path) -> None:
    run = request_of()
    known = json.loads(run.spec.tasks[0].source.answers.read_text())  # type: ignore[attr-defined]
    assert {part: len(rows) for part, rows in known["rows"].items()} == {"train": 20, "val": 10, "test": 10}
    assert sorted(row for rows in known["rows"].values() for row in rows) == list(range(40))
    assert len(unlabelled(images).files) == 40


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"keep": 1.5}, "--keep 1.5: expected a share"),
        ({"images": None}, "--keep 0.5: the weights that are kept recover on images"),
        ({"mean": (0.5,)}, "--mean: expected 3 numbers"),
        ({"std": (0.5, 0.0, 0.5)}, "^cpg import: std: .*greater than 0"),
        ({"size": 0}, "^cpg import: size: .*greater than or equal to 1"),
        ({"keep": 1.0, "overrides": ("grow.reserve_x=0.5",)}, r"--keep 1: every task leaves .*reserve_x is 0\.5"),
        ({"classes": ROOT / "Makefile"}, "the network has 7 outputs"),
        ({"overrides": (*OVERRIDES, "prune.min_sparsity=0.6")}, "--keep 0.5: profile digits releases at least 0.6"),
        ({"images": ROOT / "cpg_core/errors"}, "no such folder"),
        ({"images": ROOT / "tests/core/config"}, "no images in it"),
        ({"images": Path("/caf\udce9")}, r"^cpg import: images: /caf\\xe9: this name is not valid UTF-8"),
        ({"images": Path("~nobody-of-that-name/a")}, "^~nobody-of-that-name/a: .*write the folder out"),
        ({"weights": "/caf\udce9.pth"}, r"^cpg import: weights: /caf\\xe9.pth: this name is not valid UTF-8"),
        ({"backbone": "resnet19"}, "resnet18"),
        ({"backbone": "sphereface20"}, "^cpg import: backbone sphereface20: its published network does verification"),
    ],
)
def test_a_wrong_request_is_told_and_nothing_is_begun(
    weights: Path, images: Path, tmp_path: Path, wrong: dict[str, Any], words: str
) -> None:
    half = (0.5, 0.5, 0.5)
    fields = {"backbone": "resnet18", "weights": str(weights), "images": images, "run": "base", "keep": 0.5, "size": 32}
    fields |= {"mean": half, "std": half, "profile": "digits", "overrides": OVERRIDES}
    with pytest.raises(CpgError, match=words):
        imported(ImportRequest(**{**fields, **wrong}), tmp_path / "root", silent)
    assert not (tmp_path / "root/checkpoints").exists()


@pytest.mark.parametrize("named", [True, False])
def test_a_network_of_one_output_is_refused_before_images_are_read(
    request_of: Callable[..., Run], weights: Path, tmp_path: Path, named: bool
) -> None:
    tensors = read_weights(weights)
    torch.save(tensors | {name: tensors[name][:1] for name in ("fc.weight", "fc.bias")}, weights)
    (tmp_path / "names.txt").write_text("yes\n")
    with pytest.raises(CpgError, match=r"weights.pth: the network has one output"):
        request_of(images=tmp_path / "nowhere", classes=tmp_path / "names.txt" if named else None)
