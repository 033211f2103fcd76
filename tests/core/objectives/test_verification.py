"""A verification task is learned, recorded, recalled, served and told as any other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from core.people import face_task, people_backbone, people_spec, write_faces
from core.tiny import bits, learn, settings
from core.witness import recalled_network
from cpg_core import objectives
from cpg_core.data.batches import eval_batches, train_batches
from cpg_core.data.reading.fetch import WHOLE, Share
from cpg_core.data.splits.split import Split
from cpg_core.errors import CpgError
from cpg_core.methods import assembly_of
from cpg_core.model.network import shared_parameters
from cpg_core.objectives import verification
from cpg_core.objectives.losses import AnyLoss
from cpg_core.objectives.pairs.protocol import accuracy, best_threshold, distances
from cpg_core.recall.metrics import summary, table
from cpg_core.recall.predictor import Serving
from cpg_core.recall.recall import evaluate
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from cpg_core.training.evaluation import Evaluator, eval_mode
from cpg_core.training.optimizer import TaskOptimizer
from cpg_core.training.step import TrainStep

EPOCHS = ("pick_train.epochs=10", "pick_train.score_freeze_epoch=8")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("verification")
    with people_backbone(folder):
        yield write_faces(folder / "faces")


@pytest.fixture(scope="module")
def run(root: Path) -> Run:
    return learn(root / "run", people_spec([face_task(root)], EPOCHS))


def embeddings(serving: Serving, split: Split) -> Tensor:
    assert split.images is not None
    return serving.answer("faces", split.images.permute(0, 2, 3, 1).numpy()).logits


def test_it_is_learned_in_seconds(run: Run) -> None:
    record = run.record(1)
    assert record.goal_met
    assert record.stages[0].train_accuracy is not None and record.stages[0].train_accuracy > 0.9
    assert record.test_accuracy > 0.8
    assert record.figures["roc_area"] > 0.93
    assert len(record.classes) == 32
    assert record.images == {"train": 256, "val": len(run.data(1).val), "test": 120}


def test_a_wrong_loss_is_seen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: every image is told to be the next person's."""
    real = verification.loss_of

    def wrong(loss: AnyLoss, counts: Sequence[int]) -> object:
        right = real(loss, counts)
        return lambda outputs, labels, steps: right(outputs, labels[torch.arange(len(labels)) - 1], steps)

    monkeypatch.setattr(verification, "loss_of", wrong)
    record = learn(root / "wrong", people_spec([face_task(root)], EPOCHS)).record(1)
    assert record.test_accuracy < 0.8
    assert record.figures["roc_area"] < 0.9


def test_the_record_has_what_is_measured_on_the_recalled_embeddings(run: Run) -> None:
    """By another way: embeddings as they are served, and the protocol on these."""
    record, data, serving = run.record(1), run.data(1), Serving(run)
    tested, validated = data.test.pairs, data.val.pairs
    assert tested is not None and validated is not None
    found = accuracy(distances(embeddings(serving, data.test), tested), tested.same, tested.fold)
    assert (record.test_accuracy, record.figures["standard_deviation"]) == pytest.approx(found)
    on_val = distances(embeddings(serving, data.val), validated)
    assert record.accuracy == pytest.approx(accuracy(on_val, validated.same, validated.fold).mean)
    assert record.figures["threshold"] == best_threshold(on_val, validated.same)
    assert record.figures["false_accept_rate"] == 0.05
    assert 0 < record.figures["true_accept_rate"] < 1


def test_shuffled_labels_of_the_pairs_are_near_half(run: Run) -> None:
    """The control: the score is of the pairs, not of the embeddings alone."""
    data = run.data(1)
    pairs = data.test.pairs
    assert pairs is not None
    distance = distances(embeddings(Serving(run), data.test), pairs)
    shuffled = [np.random.default_rng(seed).permutation(pairs.same) for seed in range(10)]
    assert np.mean([accuracy(distance, same, pairs.fold).mean for same in shuffled]) == pytest.approx(0.5, abs=0.05)


def test_served_it_gives_embeddings_and_of_two_images_a_decision(run: Run) -> None:
    data, serving = run.data(1), Serving(open_run(run.root, run.spec.name))
    pairs = data.test.pairs
    assert pairs is not None and data.test.images is not None
    images = data.test.images.permute(0, 2, 3, 1).numpy()
    distance = distances(embeddings(serving, data.test), pairs)
    threshold = run.record(1).figures["threshold"]
    said = []
    for place in np.argsort(distance)[[0, -1]]:
        content = serving.answer("faces", images[[pairs.left[place], pairs.right[place]]]).content
        assert json.loads(json.dumps(content)) == content
        assert content.keys() == {"embeddings", "similarity", "distance", "threshold", "same"}
        assert content["distance"] == pytest.approx(distance[place], abs=1e-4)
        assert content["similarity"] == pytest.approx(np.cos(distance[place] * np.pi / 4), abs=1e-4)
        assert content["threshold"] == threshold
        said.append(content["same"])
    assert said == [True, False]
    three = serving.answer("faces", images[:3]).content
    assert three.keys() == {"embeddings"}
    assert np.array(three["embeddings"]).shape == (3, 16)


def test_shares_of_batches_add_up_to_the_whole_score(run: Run) -> None:
    """As several processes have them: each embeds its own images, and the sums are added."""
    data = run.data(1)
    network = recalled_network(run, 1, assembly_of(run).rebuild(1), run.delta(1))
    measure = network.objective.measure_of(data.test.pairs)
    totals = []
    for share in (WHOLE, Share(0, 2), Share(1, 2)):
        totals.append(measure.start(network.device))
        with eval_mode(network):
            for images, rows in eval_batches(data.test, data.mean, data.std, 7, "cpu", share):
                measure.add(totals[-1], network(images), rows)
    whole, *shares = totals
    assert torch.allclose(shares[0] + shares[1], whole, atol=1e-5)
    assert not any(torch.allclose(share, whole, atol=1e-5) for share in shares)
    assert measure.score(shares[0] + shares[1]) == measure.score(whole) == run.record(1).test_accuracy


def test_static_batches_are_scored_and_annealed_alike(run: Run, root: Path) -> None:
    """As a recording of a GPU needs them: the steps of the loss are read from where they always are."""
    data = run.data(1)
    weights = []
    for static in (False, True):
        network = recalled_network(run, 1, assembly_of(run).rebuild(1), run.delta(1))
        network.objective = objectives.of(face_task(root))
        evaluate = Evaluator(network, static=static, pairs=data.test.pairs)
        for _ in range(2):
            assert evaluate(eval_batches(data.test, data.mean, data.std, 50, "cpu")) == run.record(1).test_accuracy
        values = {name: weight.detach().clone() for name, weight in shared_parameters(network).items()}
        moving = {name: torch.ones_like(value, dtype=torch.bool) for name, value in values.items()}
        optimizer = TaskOptimizer(network, moving, values, settings().optimizer, scores=None, compiled=False)
        step = TrainStep(network.train(), optimizer, full_batch=32, static=static)
        for done, (images, labels) in enumerate(train_batches(data, 32, 1, "cpu")):
            step(images, labels, in_batch=len(labels), done=1000 * done, lr=0.05)
        weights.append(bits(network.state_dict()))
    assert weights[0] == weights[1]


def test_it_is_recalled_told_and_evaluated_on_other_pairs(run: Run, root: Path, tmp_path: Path) -> None:
    record = run.record(1)
    assert evaluate(run, "faces") == record.test_accuracy
    assert summary(run)["average_accuracy"] == record.test_accuracy
    assert table(run)["at freeze %"].tolist() == [round(100 * record.test_accuracy, 1)]
    for person in (root / "test").iterdir():
        (tmp_path / person.name).symlink_to(person)
    (tmp_path / "pairs.txt").write_text((root / "pairs.txt").read_text())
    assert evaluate(run, "faces", tmp_path) == record.test_accuracy
    strict = face_task(root).model_copy(update={"pairs": face_task(root).pairs.model_copy(update={"far": 1e-6})})
    rare = Run(run.root, run.spec.model_copy(update={"tasks": (strict,)}))
    assert evaluate(rare, "faces", tmp_path) == record.test_accuracy  # a rate that is not told needs no pairs
    with pytest.raises(CpgError, match=r"expected pairs\.txt or pairs\.csv"):
        evaluate(run, "faces", root / "test")


@pytest.mark.usefixtures("root")
def test_a_test_image_that_is_broken_is_named_before_anything_is_learned(tmp_path: Path) -> None:
    copied = write_faces(tmp_path, trained=20, pictures=2, tested=20, each=2)
    Image.new("RGB", (16, 16)).save(copied / "test/p2-003/p2-003_0002.png")
    broken = copied / "test/p2-003/p2-003_0001.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(CpgError, match=r"p2-003_0001\.png: cannot read this image"):
        learn(tmp_path / "run", people_spec([face_task(copied)]))
    assert not list((tmp_path / "run").rglob("record.json"))
