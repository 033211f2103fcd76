"""Task 1 from a weight file: the network's own logits, pruned as any task, picked from later; bad files told."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from core import tiny
from cpg_core.config.backbone import BackboneSpec
from cpg_core.errors import CpgError
from cpg_core.methods import assembly_of, every
from cpg_core.model.network import build
from cpg_core.recall.audit import audit
from cpg_core.stages.importing.import_weights import checked, network_tensors
from cpg_core.storage.run import Run
from cpg_core.storage.weight_files import read_weights

WIDTH = 0.05
SHORT = (*tiny.SHORT, f"base_width={WIDTH}")
ONE_WIDTH = {"progressive": (f"progressive.column_width={WIDTH}",)}


def weights_of(name: str, head: str, classes: int = 2, width: float = WIDTH) -> dict[str, torch.Tensor]:
    """What a publisher of a narrow network would write: its parameters, by their published names."""
    network = build(name, width, classes, 7)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # larger ones leave every unit at 0
    names = {key: key.removeprefix("backbone.") for key in network.state_dict()}
    return {names[key].replace("head.", f"{head}."): value for key, value in network.state_dict().items()}


@pytest.fixture
def resnet_file(tmp_path: Path) -> Path:
    file = tmp_path / "resnet18.pth"
    torch.save(weights_of("resnet18", "fc"), file)
    return file


def learned(root: Path, **wanted: Any) -> Run:  # noqa: ANN401  (as `tiny.spec`)
    return tiny.learn(root / "root", tiny.spec(**wanted))


def of_file(file: Path, name: str = "resnet18") -> dict[str, Any]:
    return checked(BackboneSpec(name=name, size=32, weights=str(file)), WIDTH).model_dump()


@pytest.mark.parametrize("network", ["resnet18", "resnet50"])
def test_the_logits_are_torchvisions_to_the_bit(network: str, tmp_path: Path) -> None:
    """Before any prune, whatever wrote the file: `torch.save` or safetensors."""
    theirs = models.get_model(network, weights=None, num_classes=10).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    images = torch.rand(2, 3, 64, 64)
    theirs = theirs.to(memory_format=torch.channels_last)
    for file in ("theirs.pth", "theirs.safetensors"):
        spec = BackboneSpec(name=network, weights=str(tmp_path / file))
        ours = build(network, 1.0, 10).eval()
        ours.load_state_dict(network_tensors(spec, 1.0, classes=10))
        with torch.no_grad():
            assert torch.equal(ours.place(torch.device("cpu"), "float32")(images), theirs(images))


@pytest.mark.parametrize("method", sorted(name for name, method in every().items() if not method.chain_only))
def test_every_method_begins_from_it(resnet_file: Path, tmp_path: Path, method: str) -> None:
    overrides = (*SHORT, *ONE_WIDTH.get(method, ()))
    run = learned(tmp_path, method=method, tasks="1-2", backbone=of_file(resnet_file), goal=0.0, overrides=overrides)
    first = run.record(1)
    assert [stage.stage for stage in first.stages][:2] == ["import", "check"]
    assert all(finding.ok for finding in audit(run)) is not every()[method].overwrites
    if method == "piggyback":  # the one that neither prunes nor trains them further
        there = assembly_of(run).rebuild(1).weight["layer1.0.conv1.weight"]
        assert torch.equal(there, read_weights(resnet_file)["layer1.0.conv1.weight"])


def test_a_missed_goal_does_not_grow_it(resnet_file: Path, tmp_path: Path) -> None:
    run = learned(
        tmp_path, tasks="1", backbone=of_file(resnet_file), goal=1.0, overrides=(*SHORT, "grow.first_task=true")
    )
    assert (run.record(1).budget_x, run.record(1).goal_met) == (1.0, False)


def test_another_file_makes_another_run(resnet_file: Path, tmp_path: Path) -> None:
    backbone = of_file(resnet_file)
    torch.save(weights_of("resnet18", "fc") | {"fc.bias": torch.ones(2)}, resnet_file)
    with pytest.raises(CpgError, match="not the file that the run was made with"):
        learned(tmp_path, tasks="1", backbone=backbone, overrides=SHORT)
    assert of_file(resnet_file)["weights_sha256"] != backbone["weights_sha256"]


class Code:
    """What a pickle can do."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return print, ("this was run",)


def damaged(file: Path, how: str) -> None:
    whole = weights_of("resnet18", "fc")
    match how:
        case "cut":
            file.write_bytes(file.read_bytes()[:-5000])
        case "code":
            file.write_bytes(pickle.dumps(Code()))
        case "empty":
            torch.save({}, file)
        case "missing":
            torch.save({name: value for name, value in whole.items() if name != "layer2.0.conv1.weight"}, file)
        case "surplus":
            torch.save(whole | {"layer9.weight": torch.ones(1)}, file)
        case "shape":
            torch.save(whole | {"conv1.weight": torch.ones(3, 3, 3, 3)}, file)
        case "nan":
            torch.save(whole | {"conv1.weight": torch.full_like(whole["conv1.weight"], torch.nan)}, file)
        case "text":
            file.write_text("a,b\n1,2\n")
        case "old and cut":
            torch.save(whole, file, _use_new_zipfile_serialization=False)
            file.write_bytes(file.read_bytes()[:300])
        case "script":
            torch.jit.save(torch.jit.script(nn.Linear(2, 2)), file)
        case "network":
            torch.save(weights_of("efficientnet_lite0", "_fc", width=0.1), file)


def test_a_file_that_is_cut_anywhere_is_told_as_that(tmp_path: Path) -> None:
    """Of the older format, where the place of the cut decides how it fails."""
    file = tmp_path / "old.pth"
    torch.save({"fc.weight": torch.ones(2, 2)}, file, _use_new_zipfile_serialization=False)
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(CpgError, match="cut short"):
            read_weights(file)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_what_a_wrapper_puts_before_the_names_is_left_out(resnet_file: Path, prefix: str) -> None:
    plain = read_weights(resnet_file)
    torch.save({prefix + name: value for name, value in plain.items()}, resnet_file)
    assert read_weights(resnet_file).keys() == plain.keys()


def test_a_file_that_may_not_be_read_is_not_told_as_cut_short(
    resnet_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(resnet_file))

    monkeypatch.setattr("torch.load", refused)
    with pytest.raises(CpgError, match=r"Permission denied.*rights") as error:
        read_weights(resnet_file)
    assert "cut short" not in str(error.value)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut", "cut short"),
        ("code", "can run code"),
        ("empty", "expected tensors by their names"),
        ("missing", "missing: layer2.0.conv1.weight"),
        ("surplus", "not of this network: layer9.weight"),
        ("shape", r"of another shape: conv1.weight \[3, 3, 3, 3\] instead of"),
        ("nan", "not finite: conv1.weight"),
        ("text", "cannot be read"),
        ("old and cut", "cut short"),
        ("script", r"TorchScript.*Write it anew: torch.save\(model.state_dict\(\), FILE\)"),
        ("network", "no fc.weight"),
    ],
)
def test_a_bad_file_is_told_in_a_line(
    resnet_file: Path, capsys: pytest.CaptureFixture[str], how: str, words: str
) -> None:
    damaged(resnet_file, how)
    with pytest.raises(CpgError, match=words) as error:
        of_file(resnet_file)
    assert len(str(error.value).splitlines()) == 1
    assert str(resnet_file) in str(error.value)
    assert "this was run" not in capsys.readouterr().out


def test_the_classes_must_be_those_of_task_1(tmp_path: Path) -> None:
    torch.save(weights_of("resnet18", "fc", classes=5), tmp_path / "five.pth")
    with pytest.raises(CpgError, match="5 classes apart, and task 1 has 2"):
        learned(tmp_path, tasks="1", backbone=of_file(tmp_path / "five.pth"), overrides=SHORT)


def test_unknown_weights_are_told_with_those_there_are() -> None:
    with pytest.raises(CpgError, match="IMAGENET1K_V1"):
        checked(BackboneSpec(name="resnet18", weights="IMAGENET1K_V9"), 1.0)
    with pytest.raises(CpgError, match=r"no published classifier|weights of backbone"):
        checked(BackboneSpec(name="vgg16_bn", weights="IMAGENET1K_V1"), 1.0)
