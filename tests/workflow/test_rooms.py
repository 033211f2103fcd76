"""The rooms of `flows`, and the one way in which their imports go."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from core.tiny import ROOT

PACKAGE = "flows"
MOST_ENTRIES = 13
ORDER = (
    "cli",
    "reproduce",
    "orchestration",
    "sweep",
    "local_runner",
    "persist",
    "request",
    "console",
    "versioning",
    "tracking",
    "parameters",
    "environment",
)
"""Each may import those after it, and cpg_core; none those before it."""


def imported(source: str, package: str) -> set[str]:
    """The rooms of a package that a module imports anywhere, in a function or for its types too."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith(f"{package}.")}


def rooms(package: Path) -> dict[str, set[str]]:
    """What each folder and file at the top of a package imports of the others."""
    found: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        found.setdefault(room, set()).update(imported(path.read_text(), package.name))
    return {room: others - {room} for room, others in found.items() if room != "__init__"}


def circle(graph: Mapping[str, Iterable[str]]) -> list[str] | None:
    """Rooms that import each other in a circle, if there are any."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def test_no_room_imports_one_that_stands_before_it() -> None:
    found = rooms(ROOT / PACKAGE)
    assert set(found) == set(ORDER)
    back = {(room, other) for room in found for other in found[room] if ORDER.index(other) < ORDER.index(room)}
    assert not back
    assert circle(found) is None


def test_there_are_few_enough_to_know() -> None:
    entries = [path for path in (ROOT / PACKAGE).iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MOST_ENTRIES, sorted(path.name for path in entries)


@pytest.mark.parametrize(
    "back",
    [
        "from pkg.upper.a import x",
        "import pkg.upper.a",
        "from pkg import upper",
        "def f():\n    from pkg.upper import a",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pkg.upper.a import x",
    ],
)
def test_a_circle_is_seen(back: str, tmp_path: Path) -> None:
    """However the way back is written; without it there is none."""
    for room, content in (("upper", "from pkg.lower.b import y"), ("lower", "")):
        (tmp_path / "pkg" / room).mkdir(parents=True)
        (tmp_path / "pkg" / room / "a.py").write_text(content)
    assert circle(rooms(tmp_path / "pkg")) is None
    (tmp_path / "pkg" / "lower" / "b.py").write_text(back)
    assert set(circle(rooms(tmp_path / "pkg")) or ()) == {"upper", "lower"}
