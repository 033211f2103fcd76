"""What a sequence says of its backbone: a name, or a name and an input size, which is part of what a run is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core.tiny import begun, spec
from cpg_core import backbones
from cpg_core.backbones import Input
from cpg_core.config.backbone import BackboneSpec
from cpg_core.data.spec import load_sequence
from cpg_core.errors import CpgError
from cpg_core.recall.audit import audit
from cpg_core.recall.recall import evaluate
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_or_new, open_run

PHOTOS = "name: photos\nbackbone: {}\nprofile: digits\nsource: {{kind: digits}}\ntasks: [{{name: all}}]\n"


def said(folder: Path, backbone: str) -> BackboneSpec:
    (folder / "photos.yaml").write_text(PHOTOS.format(backbone))
    return load_sequence(str(folder / "photos.yaml"), folder).backbone


@pytest.mark.parametrize(
    ("text", "takes"),
    [
        ("resnet18", Input(3, 224, 32)),
        ("{name: resnet18}", Input(3, 224, 32)),
        ("{name: resnet18, size: 96}", Input(3, 96, 32)),
        ("{name: vgg16_bn, size: 32}", Input(3, 32)),
        ("{name: torchvision/mobilenet_v3_small, size: 64}", Input(3, 64, 1)),
    ],
)
def test_the_size_is_that_of_the_sequence_or_the_backbones_own(tmp_path: Path, text: str, takes: Input) -> None:
    assert backbones.input_of(said(tmp_path, text)) == takes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{name: vgg16_bn, size: 64}", "vgg16_bn takes images of 32 pixels a side alone, not 64"),
        ("{name: resnet50, size: 16}", "resnet50 takes images of 32 pixels a side or more, not 16"),
        ("{name: torchvision/alexnet, size: 32}", "torchvision/alexnet takes images of 63 pixels a side or more"),
        ("{name: resnet18, size: 0}", "photos.yaml: backbone > size: .*greater than or equal to 1"),
        ("{name: resnet18, sise: 96}", "photos.yaml: backbone > sise: unknown key; did you mean 'size'"),
        ("{size: 96}", "photos.yaml: backbone > name: Field required"),
        ("18", "photos.yaml: backbone: expected a name, such as resnet18, or {name: resnet18, size: 96}, got 18"),
        ("torchvison/vgg11", "unknown backbone 'torchvison/vgg11'"),
    ],
)
def test_what_is_wrong_with_it_is_told_in_a_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CpgError, match=words) as error:
        backbones.input_of(said(tmp_path, text))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("backbone", "stored", "shown"),
    [
        ("resnet18", "resnet18", "resnet18"),
        ({"name": "resnet18"}, "resnet18", "resnet18"),
        ({"name": "resnet18", "size": 96}, {"name": "resnet18", "size": 96}, "resnet18 (size 96)"),
    ],
)
def test_a_name_alone_is_stored_as_before_there_was_a_size(
    tmp_path: Path, backbone: object, stored: object, shown: str
) -> None:
    run = begun(tmp_path, spec(tasks="1", backbone=backbone))
    assert json.loads((run.folder / "run.json").read_text())["backbone"] == stored
    opened = open_run(tmp_path, "tiny").spec.backbone
    assert (opened, str(opened)) == (run.spec.backbone, shown)


def test_another_size_is_another_run(tmp_path: Path) -> None:
    begun(tmp_path, spec(tasks="1", backbone={"name": "resnet18", "size": 96}))
    with pytest.raises(CpgError, match=r"backbone: \{'name': 'resnet18', 'size': 96\} there, 'resnet18' here"):
        open_or_new(tmp_path, spec(tasks="1", backbone="resnet18"))


def test_a_network_of_torchvision_learns_and_is_recalled_at_its_size(learned: Callable[..., Run]) -> None:
    small = {"name": "torchvision/shufflenet_v2_x0_5", "size": 32}
    short = ("base_width=1", "batch_size=128", "pick_train.epochs=1")
    run = learned(method="piggyback", tasks="1-2", backbone=small, overrides=short)
    assert (run.input.size, run.record(2).width) == (32, 1.0)
    assert [recall.unchanged for recall in run.recalls(2)] == [True]
    assert all(finding.ok for finding in audit(run))
    assert evaluate(run, run.record(1).name) == run.record(1).test_accuracy
