"""What a stage's key says of the code: all that trains is in it, and nothing else need be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from core.tiny import ROOT
from cpg_core.backbones import module_of
from cpg_core.methods import names
from cpg_core.stages import source_hash
from cpg_core.stages.source_hash import EXEMPT, PACKAGE, source_sha256, sources

TRAINS = ("runner.py", "stages/", "methods/", "backbones/", "training/", "distributed/")
HASHED = {"methods": "cpg", "backbones": "digits_cnn", "objectives": "classification"}


def files_that_training_reaches() -> set[str]:
    """Follow every import from what trains, by the sources alone."""
    left = {path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).as_posix().startswith(TRAINS)}
    reached: set[Path] = set()
    while left:
        path = left.pop()
        reached.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cpg_core":
                base = ROOT.joinpath(*(node.module or "").split("."))
                for name in (base, *(base / alias.name for alias in node.names)):
                    found = {name.with_suffix(".py"), name / "__init__.py"} - reached
                    left |= {file for file in found if file.exists()}
    return {path.relative_to(PACKAGE).as_posix() for path in reached}


def test_the_exempt_files_cannot_change_what_is_learned() -> None:
    assert EXEMPT == ("recall/", "data/faces/")
    reached = files_that_training_reaches()
    assert {name for name in reached if name.startswith(EXEMPT)} == set()
    assert {"seeds.py", "data/reading/decode.py", "storage/delta.py", "training/reporter.py"} <= reached


def test_every_file_that_training_reaches_is_hashed_but_other_methods_and_backbones() -> None:
    hashed = {name for name, _ in sources(**HASHED)}
    missing = files_that_training_reaches() - hashed
    assert all(name.startswith(("methods/", "backbones/")) for name in missing)
    assert "methods/cpg.py" in hashed and "methods/__init__.py" in hashed
    assert {"objectives/__init__.py", "objectives/classification.py", "data/sources/digits.py"} <= hashed
    assert "methods/den.py" in missing and "backbones/vgg16_bn.py" in missing


@pytest.mark.parametrize(("method", "uses"), [("ewc", "sequential"), ("finetune", "scratch"), ("lwf", "sequential")])
def test_what_a_method_takes_from_another_is_part_of_it(method: str, uses: str) -> None:
    found = {name for name, _ in sources(**{**HASHED, "methods": method}) if name.startswith("methods/")}
    assert found == {"methods/__init__.py", f"methods/{method}.py", f"methods/{uses}.py"}


@pytest.mark.parametrize(
    ("name", "uses"),
    [
        ("digits_cnn", set()),
        ("resnet18_32", {"backbones/parts/residual.py"}),
        ("torchvision/alexnet", {"backbones/families/torchvision.py", "backbones/parts/imagenet.py"}),
    ],
)
def test_so_is_what_a_backbone_is_built_from(name: str, uses: set[str]) -> None:
    found = {file for file, _ in sources(**{**HASHED, "backbones": module_of(name)}) if file.startswith("backbones/")}
    own = set() if "/" in name else {f"backbones/{name}.py"}
    assert found == {"backbones/__init__.py", *own, *uses}


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sources of the methods elsewhere, to be edited."""
    for name in ("__init__", *names()):
        (tmp_path / f"{name}.py").write_text((PACKAGE / "methods" / f"{name}.py").read_text())
    known = source_hash._with_imports

    def elsewhere(room: str, module: str) -> dict[str, Path]:
        found = known(room, module)
        return {part: tmp_path / f"{part}.py" for part in found} if room == "methods" else found

    monkeypatch.setattr(source_hash, "_with_imports", elsewhere)
    return tmp_path


def digest(method: str) -> str:
    source_sha256.cache_clear()
    return source_sha256(**{**HASHED, "methods": method})


def test_an_edit_of_a_method_makes_its_own_stages_stale_and_no_others(copied: Path) -> None:
    before = {name: digest(name) for name in names()}
    with (copied / "sequential.py").open("a") as file:
        file.write("# another rule\n")
    after = {name: digest(name) for name in names()}
    source_sha256.cache_clear()
    assert {name for name in names() if before[name] != after[name]} == {"sequential", "den", "ewc", "lwf"}
