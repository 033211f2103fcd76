"""A hash of the code that decides what is learned, so that a stage done by other code is done anew.

It is over every source of this package but those in `EXEMPT`. Of the methods, backbones and objectives, of which a task
has one each, it is over that one's file and what this imports of its package. A source of data that lies outside of the
package is not in it: a stage's key holds the digest of the images beside it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from importlib.util import find_spec
from pathlib import Path

from cpg_core.backbones import module_of
from cpg_core.storage.run_spec import RunSpec

PACKAGE = Path(__file__).parents[1]
EXEMPT = ("recall/", "data/faces/")
"""Files and packages that cannot change what is learned: nothing that trains imports them."""


def code_of(spec: RunSpec, objective: str) -> str:
    """`source_sha256` of what a run's method and backbone, and the objective of one of its tasks, depend on."""
    return source_sha256(methods=spec.method, backbones=module_of(spec.backbone.name), objectives=objective)


@functools.cache
def source_sha256(**chosen: str) -> str:
    """SHA-256 over the sources that training depends on, as hex.

    Read once a process: what runs is the code as it was loaded, whatever is edited meanwhile.

    Args:
        chosen: by package, the module that the task has of it: `methods="cpg", backbones="vgg16_bn"`.
    """
    hasher = hashlib.sha256()
    for name, path in sources(**chosen):
        hasher.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return hasher.hexdigest()


def sources(**chosen: str) -> list[tuple[str, Path]]:
    """The files that `source_sha256` is over, by their names in this package, in order."""
    found = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    others = (*EXEMPT, *(f"{package}/" for package in chosen))
    kept = {name: path for name, path in found.items() if not name.startswith(others)}
    for package, module in chosen.items():
        kept |= {f"{package}/{_file_name(part, path)}": path for part, path in _with_imports(package, module).items()}
    return sorted(kept.items())


def _file_name(part: str, path: Path) -> str:
    """Of a module of a package, `losses.cosface`, in that package; a package is its `__init__.py`."""
    inner = part.replace(".", "/")
    is_package = path.name == "__init__.py" and part != "__init__"
    return f"{inner}/__init__.py" if is_package else f"{inner}.py"


def _with_imports(package: str, module: str) -> dict[str, Path]:
    """A module of a package, its `__init__`, and what these import of the same package, wherever the files lie."""
    name = f"{PACKAGE.name}.{package}"
    found: dict[str, Path] = {}
    left = ["__init__", module]
    while left:
        part = left.pop()
        spec = find_spec(name if part == "__init__" else f"{name}.{part}")
        if part in found or spec is None or spec.origin is None:
            continue
        found[part] = Path(spec.origin)
        for node in ast.walk(ast.parse(found[part].read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == name:
                left += [alias.name for alias in node.names if find_spec(f"{name}.{alias.name}")]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{name}."):
                left.append((node.module or "").removeprefix(f"{name}."))
    return found
