"""A sequence whose first task is verification may begin from a weight file, which is read with that task's settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from core.people import write_faces
from core.tiny import ROOT

from cpg_core.config.backbone import BackboneSpec
from cpg_core.errors import CpgError
from cpg_core.model.network import build
from cpg_core.objectives import ObjectiveSpec, of
from cpg_core.storage.files import sha256
from flows.request import SequenceRequest, resolve
from flows.versioning.prepare import manifest

PROFILE, WIDTH, SIZE, PEOPLE = "faces", 0.25, 16, 12


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    faces = write_faces(tmp_path / "faces", trained=PEOPLE, pictures=2, tested=20, each=2)
    objective = of(ObjectiveSpec(kind="verification", embedding=8))
    network = build(BackboneSpec(name="sphereface20", size=SIZE), WIDTH, PEOPLE, 1, objective=objective)
    named = {name.removeprefix("backbone."): value for name, value in network.state_dict().items()}
    identities, weight, bias = (named.pop(f"head.{name}") for name in ("identities", "weight", "bias"))
    head = {"fc5.weight": weight, "fc5.bias": bias, "fc6.weight": identities.t().contiguous()}
    torch.save(named | head, tmp_path / "faces.pth")
    task = {
        "name": "verification",
        "kind": "verification",
        "source": {"kind": "folder", "folder": str(faces)},
        "pairs": {"file": str(faces / "pairs.txt"), "images": str(faces / "test"), "far": 0.05},
        "embedding": 8,
    }
    backbone = {"name": "sphereface20", "size": SIZE, "weights": "faces.pth"}
    half = {"mean": [0.5] * 3, "std": [0.5] * 3}
    made = {"name": "mine", "profile": PROFILE, "backbone": backbone, "normalise": half, "tasks": [task]}
    (tmp_path / "mine.yaml").write_text(json.dumps(made))
    return tmp_path / "mine.yaml"


def test_its_file_is_compared_with_the_task_before_anything_begins(sequence: Path) -> None:
    found = resolve(SequenceRequest(str(sequence)), ROOT).backbone
    assert found.weights_sha256 == sha256(sequence.with_name("faces.pth"))
    sequence.write_text(sequence.read_text().replace('"embedding": 8', '"embedding": 9'))
    with pytest.raises(CpgError, match=r"fc5.weight \[8, 128\] instead of \[9, 128\]"):
        resolve(SequenceRequest(str(sequence)), ROOT)


@pytest.mark.parametrize(("backbone", "imagenet"), [("sphereface20", False), ("resnet18", True)])
def test_how_its_images_were_normalised_must_be_told(sequence: Path, backbone: str, imagenet: bool) -> None:
    """ImageNet's numbers are proposed to a network of ImageNet alone."""
    told = json.loads(sequence.read_text())
    told["backbone"] |= {"name": backbone, "size": 32}
    del told["normalise"]
    sequence.write_text(json.dumps(told))
    with pytest.raises(CpgError, match="task 'verification': it is a pretrained network") as refused:
        resolve(SequenceRequest(str(sequence)), ROOT)
    assert ("those of ImageNet" in str(refused.value)) is imagenet


def test_its_images_can_be_prepared(sequence: Path) -> None:
    assert manifest(str(sequence), ROOT / "data", print)["verification"]["classes"] == PEOPLE
