"""`cpg import`: a pretrained network is task 1, by its own answers to unlabelled images; tasks are added to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from core.tiny import ROOT, spec
from PIL import Image

from cpg_core.config.backbone import BackboneSpec
from cpg_core.data.reading import silent
from cpg_core.data.sources.imitation import unlabelled
from cpg_core.errors import CpgError
from cpg_core.model.network import build
from cpg_core.recall.audit import audit
from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.storage.runs import extend
from cpg_core.training.reporter import Silent
from flows.cli.import_request import ImportRequest, imported

WIDTH = 0.05
OVERRIDES = ("batch_size=16", f"base_width={WIDTH}", "grow.max_x=1.0", "prune.epochs=1", "prune.prune_epochs=1",
             "pick_train.epochs=1", "prune.targets=[0.5]", "retrain.epochs=1")  # fmt: skip
CLASSES = 7


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    network = build(BackboneSpec(name="resnet18"), WIDTH, CLASSES, 7)
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
        half = (0.5, 0.5, 0.5)
        fields: dict[str, Any] = {
            "size": 32,
            "mean": half,
            "std": half,
            "profile": "digits",
            "overrides": OVERRIDES,
            "keep": 0.25,
        }
        request = ImportRequest("resnet18", str(weights), images, "base", **{**fields, **more})
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
        ({"mean": (0.5,)}, "--mean: expected 3 numbers"),
        ({"classes": ROOT / "Makefile"}, "the network has 7 outputs"),
        ({"images": ROOT / "cpg_core/errors"}, "no such folder"),
        ({"images": ROOT / "tests/core/config"}, "no images in it"),
        ({"backbone": "resnet19"}, "resnet18"),
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
