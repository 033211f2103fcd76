"""The layout: rooms import one way, files are short, and what is a method's is called and never compared."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import fields
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

from core.tiny import ROOT
from cpg_core.stages.context import Method

CORE = ROOT / "cpg_core"
FACTS = {field.name for field in fields(Method)}
Imports = dict[str, set[str]]


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is named by an import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str | None:
    """`config` of `cpg_core.config.schema`; None of a module of another package."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "cpg_core" and rest else None


def rooms(folder: Path) -> Imports:
    """The other rooms that each room imports; a file at the top is a room of its own."""
    found: Imports = {}
    for path in folder.rglob("*.py"):
        first = path.relative_to(folder).parts[0].removesuffix(".py")
        others = {room_of(name) for name in imported(ast.parse(path.read_text()))} - {None, first}
        found.setdefault(first, set()).update(filter(None, others))
    return found


def in_order(graph: Imports) -> list[str]:
    return list(TopologicalSorter(graph).static_order())


def test_rooms_import_one_way() -> None:
    order = in_order(rooms(CORE))
    assert order.index("storage") < order.index("stages") < order.index("methods") < order.index("recall")


def test_a_circle_between_rooms_fails_the_same_check(tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "cpg.py").write_text("from cpg_core.storage.run import Run\n")
    (tmp_path / "storage" / "run.py").write_text("def method():\n    from cpg_core import methods\n")
    with pytest.raises(CycleError):
        in_order(rooms(tmp_path))


def compared_facts(source: str) -> list[str]:
    """Attributes of a method that a source compares, tests for membership or matches."""
    found = []
    for node in ast.walk(ast.parse(source)):
        sides: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.Match):
            sides = [node.subject]
        found += [ast.unparse(side) for side in sides if isinstance(side, ast.Attribute) and is_fact(side)]
    return found


def is_fact(side: ast.Attribute) -> bool:
    of = ast.unparse(side.value)
    is_method = of.lower().endswith("method") or of.startswith(("find(", "methods.find(", "every()"))
    return side.attr in FACTS and is_method


def sources() -> list[Path]:
    outside = [path for path in CORE.rglob("*.py") if path.parent.name != "methods"]
    return [*outside, *(ROOT / "flows").rglob("*.py")]


def test_what_is_a_methods_is_called_and_never_compared() -> None:
    found = {path.relative_to(ROOT).as_posix(): compared_facts(path.read_text()) for path in sources()}
    assert len(found) > 100
    assert {path: facts for path, facts in found.items() if facts} == {}


@pytest.mark.parametrize(
    "source",
    [
        "context.method.growth == 'once'",
        "if rules.method.pruning in ('none', 'one_shot'): pass",
        "METHOD.trainable is other",
        "find(spec.method).name != 'cpg'",
        "match method.growth:\n    case 'once': pass",
    ],
)
def test_a_comparison_fails_the_same_check(source: str) -> None:
    assert len(compared_facts(source)) == 1


def test_a_call_passes_it() -> None:
    assert compared_facts("method.learns_picks(index) and method.growth.at_start(rules) is None") == []


def test_the_core_is_a_few_rooms_of_short_files() -> None:
    entries = [path.name for path in CORE.iterdir() if path.name != "__pycache__"]
    lines = [len(path.read_text().splitlines()) for path in CORE.rglob("*.py")]
    assert len(entries) <= 16
    assert max(lines) <= 300
    assert median(lines) <= 100
