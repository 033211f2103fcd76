"""Sources of images: a file each, found by its kind. Adding one means adding one file.

A source file defines `SOURCE`, a class of `Source`: its fields, as a task's YAML gives them, and how it lists its
images. The file's name is its kind.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, GetJsonSchemaHandler, SerializeAsAny, ValidationInfo

from cpg_core.config.schema import Strict
from cpg_core.config.suggestions import unknown
from cpg_core.data.fields import Part
from cpg_core.data.reading.listing import Listing, Rows


class Source(Strict):
    """Where the images of a task come from."""

    kind: str

    @abstractmethod
    def list_part(self, part: Part) -> Listing:
        """A part, without decoding, fetched if need be; that to validate on only if it `has_val`.

        Raises:
            CpgError: something is missing.
        """

    @property
    def has_val(self) -> bool:
        """Whether a part of its own is named to validate on; else images are held out of train."""
        return False

    def location(self) -> Path | None:
        """Where the files lie, once they are fetched; None if they come with a library."""
        return None

    @property
    def imitates(self) -> bool:
        """Whether its labels are what a pretrained network answered."""
        return False

    def true_labels(self, part: Part) -> Rows | None:  # noqa: ARG002
        """Of images that are labelled by what a network answers, the classes that they are of; None: not known."""
        return None

    def unused(self) -> tuple[str, ...]:
        """What lies beside the parts that are read and is read by nobody, in a line each."""
        return ()


def names() -> list[str]:
    """The kinds of source there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(kind: str) -> type[Source]:
    """The source of that kind.

    Raises:
        CpgError: there is none.
    """
    if kind not in names():
        raise unknown("kind of source", kind, names())
    return cast(type[Source], importlib.import_module(f"{__name__}.{kind}").SOURCE)


def _of_its_kind(value: object, info: ValidationInfo) -> object:
    """The fields of a source as the class of their kind."""
    if isinstance(value, Source):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"expected keys and values, such as {{kind: digits}}, got {value!r}")
    if "kind" not in value:
        raise ValueError(f"expected a kind: {', '.join(names())}")
    kind = str(value["kind"])
    if kind not in names():
        raise ValueError(str(unknown("kind of source", kind, names())))
    return find(kind).model_validate(value, context=info.context)


class _EveryKind:
    """In the JSON schema, any of the sources there are."""

    def __get_pydantic_json_schema__(self, _schema: object, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [handler(find(name).__pydantic_core_schema__) for name in names()]}


AnySource = Annotated[SerializeAsAny[Source], BeforeValidator(_of_its_kind), _EveryKind()]
"""A field that holds a source of any kind, read by the class of its `kind` and written with all its fields."""
