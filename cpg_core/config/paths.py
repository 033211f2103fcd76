"""Paths as a person writes them in a YAML file, and names that no JSON file can keep."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cpg_core.errors import CpgError


def expanded(path: Path) -> Path:
    """A path in which `~` is the home folder, and a first part `$NAME` what that variable of the environment says.

    Raises:
        ValueError: there is no such user or variable, or the path is not UTF-8.
    """
    try:
        path = _from_environment(path.expanduser())
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}; write the folder out") from error
    if line := not_utf8([path]):
        raise ValueError(line)
    return path


def require_utf8(paths: Iterable[Path]) -> None:
    """Refuse names that could not be written down.

    Raises:
        CpgError: one of them is not UTF-8.
    """
    if line := not_utf8(paths):
        raise CpgError(line)


def not_utf8(paths: Iterable[Path]) -> str:
    r"""What to tell of paths that are not UTF-8, such as `caf\xe9.jpg` of an old archive; "" where all are."""
    odd = [path for path in paths if not _is_utf8(path)]
    if not odd:
        return ""
    shown = os.fsencode(odd[0]).decode(errors="backslashreplace")
    more = f", nor are those of {len(odd) - 1} more" if odd[1:] else ""
    return f"{shown}: this name is not valid UTF-8{more}; rename it"


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _from_environment(path: Path) -> Path:
    first, *rest = path.parts or ("",)
    if not first.startswith("$"):
        return path
    name = first.removeprefix("$")
    if not os.environ.get(name):
        raise ValueError(f"{path}: {first} is not set; set it to the folder that holds {'/'.join(rest)}")
    return Path(os.environ[name]).expanduser().absolute().joinpath(*rest)
