"""A task's file answers as recall does, tells what it is, and is not there where it would answer otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from core.people import face_task, people_backbone, people_spec, write_faces
from core.tiny import learn
from cpg_core.errors import CpgError
from cpg_core.model.channels.flow import Flow
from cpg_core.recall.export import narrow
from cpg_core.recall.export.formats import FORMATS
from cpg_core.recall.export.task import Exported, export
from cpg_core.recall.export.unused import rounded
from cpg_core.recall.predictor import Serving
from cpg_core.storage.run import Run

TASK = "two-three"
SPARSE = ("prune.targets=[0.95]", "check.tolerance=1.0")
"""Of so few weights that channels are dead."""


@pytest.fixture
def run(learned: Callable[..., Run]) -> Run:
    return learned(tasks="1-2", overrides=SPARSE)


@pytest.fixture(scope="module")
def in_onnx(learned: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Exported:
    run = learned(tasks="1-2", overrides=SPARSE)
    with pytest.MonkeyPatch.context() as patch:  # no layer of so small a network is wider than a block
        patch.setitem(FORMATS, ".onnx", replace(FORMATS[".onnx"], multiple=1))
        return export(run, TASK, tmp_path_factory.mktemp("onnx") / "new" / "task.onnx")


def test_onnxruntime_alone_gives_the_answers_of_recall(run: Run, in_onnx: Exported) -> None:
    done = in_onnx
    pixels = run.data(2).test.images
    assert pixels is not None
    session = onnxruntime.InferenceSession(done.path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"pixels": pixels.numpy()})
    answer = Serving(run).answer_pixels(TASK, pixels)
    assert np.abs(logits - answer.logits.numpy()).max() <= 1e-4 * answer.logits.abs().max()
    classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
    assert [classes[k] for k in logits.argmax(axis=1)] == answer.content["predicted"]
    assert (done.checked.images, done.checked.no_test, done.checked.others) == (len(pixels), None, 0)
    assert [path.name for path in done.path.parent.iterdir()] == ["task.onnx"]
    assert done.after.channels < done.before.channels and done.after.multiply_adds < done.before.multiply_adds
    assert done.path.stat().st_size == done.after.bytes < done.before.bytes


def test_the_file_tells_what_it_is(run: Run, in_onnx: Exported) -> None:
    said = {entry.key: entry.value for entry in onnx.load(in_onnx.path).metadata_props}
    assert said["task"] == TASK and said["run"] == run.spec.name and said["classes"] == '["2", "3"]'
    assert said["delta_sha256"] == run.record(2).delta_sha256
    assert said["input"].startswith("pixels: uint8 [N, 1, 8, 8], grey, 0 to 255")


def test_torch_alone_gives_the_answers_of_recall(run: Run, tmp_path: Path) -> None:
    done = export(run, TASK, tmp_path / "task.pt2")
    extra = {"metadata.json": ""}
    module = torch.export.load(done.path, extra_files=extra).module()
    pixels = run.data(2).test.images
    assert pixels is not None
    torch.testing.assert_close(module(pixels[:3]), Serving(run).answer_pixels(TASK, pixels[:3]).logits)
    assert json.loads(json.loads(extra["metadata.json"])["classes"]) == ["2", "3"]


@pytest.fixture
def one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel that is needed is left out too."""

    def wrong(flow: Flow, left_out: Tensor, multiple: int) -> Tensor:
        more = rounded(flow, left_out, multiple)
        more[(~left_out & ~flow.fixed).nonzero()[0]] = True
        return more

    monkeypatch.setattr(narrow, "rounded", wrong)


@pytest.mark.usefixtures("one_too_many")
@pytest.mark.parametrize("name", ["task.onnx", "task.pt2"])
def test_a_file_that_answers_otherwise_is_not_left(name: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / name).write_text("an earlier one")
    with pytest.raises(CpgError, match=r"task\.\w+: not exported: .* is allowed"):
        export(run, TASK, tmp_path / name)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "an earlier one")]


def test_without_the_test_images_noise_is_compared(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise CpgError("test/ant/0.png: cannot read this image")

    monkeypatch.setattr(Run, "test_split", gone)
    found = export(run, TASK, tmp_path / "task.pt2").checked
    assert (found.images, found.no_test) == (8, "test/ant/0.png: cannot read this image")


@pytest.mark.parametrize(
    ("task", "file", "says"),
    [(TASK, "task.pth", r"ends in \.onnx or \.pt2"), ("two-tree", "task.onnx", "did you mean 'two-three'")],
)
def test_what_cannot_be_is_refused(task: str, file: str, says: str, run: Run, tmp_path: Path) -> None:
    with pytest.raises(CpgError, match=says):
        export(run, task, tmp_path / file)


def test_a_verification_gives_embeddings(tmp_path: Path) -> None:
    with people_backbone(tmp_path):
        root = write_faces(tmp_path / "faces", trained=20, pictures=4, tested=20, each=3)
        run = learn(tmp_path, people_spec([face_task(root)]))
        done = export(run, "faces", tmp_path / "faces.pt2")
        pixels = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
        expected = Serving(run).answer_pixels("faces", pixels).logits
    extra = {"metadata.json": ""}
    found = torch.export.load(done.path, extra_files=extra).module()(pixels)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    said = json.loads(extra["metadata.json"])
    assert float(said["threshold"]) == run.record(1).figures["threshold"] and "classes" not in said
