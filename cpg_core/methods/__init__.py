"""Methods: a file each, found by its name. Adding one means adding one file.

A method file defines `METHOD`, a `cpg_core.stages.context.Method`: the functions that the stages call where methods
differ. Everything else is the same for all.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, cast

from cpg_core.config.suggestions import unknown

if TYPE_CHECKING:  # names are listed without loading what learns
    from cpg_core.stages.context import Method
    from cpg_core.storage.assembly import Assembly
    from cpg_core.storage.run import Run


def names() -> list[str]:
    """The methods there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> Method:
    """The method of that name.

    Raises:
        CpgError: there is none.
    """
    if name not in names():
        raise unknown("method", name, names())
    return cast("Method", importlib.import_module(f"{__name__}.{name}").METHOD)


def every() -> dict[str, Method]:
    """All methods by name."""
    return {name: find(name) for name in names()}


def assembly_of(run: Run) -> Assembly:
    """The model that the frozen tasks of a run make up."""
    return find(run.spec.method).assembly(run)
