"""`cpg backbones`: a row a backbone, and how to list the networks of another package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cpg_core import backbones
from cpg_core.backbones.families import torchvision as family
from flows.console.backbones import backbones as table
from workflow.asking import cpg


def printed(*words: str) -> list[str]:
    result = cpg("backbones", *words)
    assert result.exit_code == 0, result.output
    return [re.sub(r" {2,}", " | ", line.strip()) for line in result.stdout.splitlines()]


def test_every_backbone_has_a_row() -> None:
    head, *rows = printed()
    assert head == "backbone | input | other sizes | parameters (M) | growable | weights"
    assert [row.split(" | ")[0] for row in rows[:-1]] == backbones.names()
    assert "vgg16_bn | 3x32x32 | none | 33.601 | yes | none" in rows
    assert "resnet50 | 3x224x224 | from 32 | 23.508 | yes | IMAGENET1K_V1, IMAGENET1K_V2" in rows
    assert any(row.startswith("efficientnet_lite0 | ") and row.endswith(" | IMAGENET1K") for row in rows)
    assert rows[-1].startswith("torchvision/NETWORK: ")


def test_a_family_lists_what_can_be_used_and_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(family, "names", lambda: ["alexnet", "vit_b_32"])
    _, row, refused = printed("torchvision")
    assert row == "torchvision/alexnet | 3x224x224 | from 63 | 57.004 | no | IMAGENET1K_V1"
    assert refused.startswith("not to be used: backbone torchvision/vit_b_32 has weights outside of")


def test_parameters_are_those_of_the_network_without_its_head() -> None:
    counts = table(None)[0].set_index("backbone")["parameters (M)"]
    found = backbones.find("digits_cnn").build(1.0)
    assert counts["digits_cnn"] == round(sum(value.numel() for value in found.parameters()) / 1e6, 3) == 0.013


@pytest.mark.parametrize(
    ("backbone", "words", "said"),
    [
        ("resnet18_32", ["--method", "den"], ["backbone resnet18_32: den needs a chain of layers"]),
        ("{name: vgg16_bn, size: 96}", [], ["vgg16_bn takes images of 32 pixels a side alone, not 96"]),
        ("torchvision/alexnet", [], ["base_width is 0.5: --set base_width=1", "as cpg may: --set grow.max_x=1"]),
        ("torchvision/vit_b_32", ["--set", "grow.max_x=1"], ["torchvision/vit_b_32 has weights outside of"]),
    ],
)
def test_a_run_that_does_not_fit_its_backbone_begins_nothing(
    tmp_path: Path, backbone: str, words: list[str], said: list[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"name: mine\nbackbone: {backbone}\nprofile: digits\nsource: {{kind: digits}}\ntasks: [{{name: all}}]\n"
    )
    result = cpg("run", str(file), "--set", "base_width=0.5", *words, "--root", str(tmp_path))
    assert result.exit_code == 2, result.output
    assert all(part in result.stderr for part in said)
    assert not (tmp_path / "checkpoints").exists()


def test_an_unknown_family_is_told() -> None:
    result = cpg("backbones", "torchvison")
    assert result.exit_code == 2
    assert "unknown family of backbones 'torchvison'; did you mean 'torchvision'?" in result.output
