"""Typed records that refuse what they do not know, read from YAML, with faults told in plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails

from cpg_core.config.suggestions import did_you_mean
from cpg_core.errors import CpgError

if TYPE_CHECKING or not yaml.__with_libyaml__:
    from yaml import SafeLoader
else:
    from yaml import CSafeLoader as SafeLoader  # ten times as fast

SHOWN_ERRORS = 5
UNKNOWN = "extra_forbidden"
"""Pydantic's name for a key that a model does not know."""
M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    """A record that cannot change and knows no other keys than its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, values: Any) -> Any:  # noqa: ANN401  (before it is known to be a record)
        """YAML takes `yes` and `on` for true, and pydantic takes true for 1."""
        for name in _numbers(cls) & values.keys() if isinstance(values, dict) else ():
            given = values[name]
            if any(isinstance(one, bool) for one in (given if isinstance(given, list | tuple) else (given,))):
                raise ValueError(f"{name}: expected a number, got {given}; YAML takes yes, on and true for True")
        return values


@cache
def _numbers(model: type[BaseModel]) -> frozenset[str]:
    """The fields that hold a number, or several, and may not hold a truth value."""
    kinds = {name: set(_kinds(field.annotation)) for name, field in model.model_fields.items()}
    return frozenset(name for name, found in kinds.items() if found & {int, float} and bool not in found)


def _kinds(annotation: object) -> Iterator[object]:
    """The types that an annotation is made of."""
    yield annotation
    for inner in get_args(annotation):
        yield from _kinds(inner)


def is_none(value: object) -> bool:
    """For a field that is left out of what is written where it is None."""
    return value is None


def read_yaml(path: Path, model: type[M]) -> M:
    """Read `path` as a `model`; relative paths in it are relative to the file.

    Raises `CpgError` naming the file and field: no such file, not YAML, a key given twice, a wrong or unknown field.
    """
    return check(read_mapping(path), model, str(path), context={"folder": path.parent})


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML (or JSON) file.

    Raises `CpgError`: no such file, not YAML, a key given twice, or no keys at all.
    """
    if not path.is_file():
        raise CpgError(f"{path}: there is no such file; check the path")
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except (yaml.YAMLError, ValueError) as error:  # of which a fault of UTF-8 is a kind
        raise CpgError(f"{path}: this is not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise CpgError(f"{path}: expected keys and values, such as 'name: ...'")
    return raw


def in_the_file(field: str, what: str) -> str:  # noqa: ARG001  (as `check` asks)
    """Every field was given where the rest was."""
    return ""


def check(
    raw: dict[str, Any],
    model: type[M],
    where: str,
    context: dict[str, Any] | None = None,
    given_by: Callable[[str, str], str] = in_the_file,
) -> M:
    """`raw` as a `model`.

    Args:
        raw: what was read.
        model: what it should be.
        where: it was read from.
        context: for the model's validators.
        given_by: of a wrong field's dotted name, and what is wrong: the option that gave it; "" if `where` did.

    Raises:
        CpgError: with a line for each wrong field, which begins with where that was given.
    """
    try:
        return model.model_validate(raw, context=context)
    except ValidationError as error:
        raise CpgError("\n".join(_explain(error, raw, model, where, given_by))) from error


def only_unknown_keys(error: CpgError) -> bool:
    """Whether what `check` found wrong is nothing but keys that the model does not know."""
    cause = error.__cause__
    return isinstance(cause, ValidationError) and all(one["type"] == UNKNOWN for one in cause.errors())


class _UniqueKeys(SafeLoader):
    """Plain YAML keeps the last of two equal keys in silence; here it is an error."""

    def get_single_node(self) -> yaml.Node | None:
        """As it is. Keys are compared as they were written: reading `<<` adds those of another mapping."""
        node = super().get_single_node()
        _require_each_key_once(node, set())
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401  (whatever it stands for)
        """As PyYAML, but text that only looks like a date or number (2020-13-01) is an error."""
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            what = f"'{node.value}' is not what it looks like ({error}); write it in quotes if it is a name"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from error


def _require_each_key_once(node: yaml.Node | None, seen: set[int]) -> None:
    """Of a mapping and of all inside it; an alias leads to the same node again, maybe in a circle."""
    if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        for place, (key, _) in enumerate(node.value):
            if key.value in keys[:place]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key.value}' is given twice; keep one", key.start_mark
                )
    for inner in node.value:
        for child in inner if isinstance(inner, tuple) else (inner,):
            _require_each_key_once(child, seen)


def _explain(
    error: ValidationError, raw: dict[str, Any], model: type[BaseModel], where: str, given_by: Callable[[str, str], str]
) -> list[str]:
    """One line a mistake. One that tasks inherit from the sequence is told once, where it stands."""
    distinct = {(e["type"], e["loc"][-1:], repr(e["input"])): e for e in reversed(error.errors())}
    details = list(reversed(distinct.values()))
    lines = []
    for detail in details[:SHOWN_ERRORS]:
        parts, what = _keys_to(detail, raw), _what(detail, model)
        option = given_by(".".join(parts), what)
        told = [option, ".".join(parts), what] if option else [where, " > ".join(parts), what]
        lines.append(": ".join(part for part in told if part))
    left = len(details) - len(lines)
    return [*lines, f"{where}: and {left} more"] if left else lines


def _keys_to(error: ErrorDetails, raw: Any) -> list[str]:  # noqa: ANN401  (anything a YAML file can hold)
    """Walk down the raw YAML along the error's location; parts that name no key are pydantic's own union tags."""
    parts: list[str] = []
    for depth, part in enumerate(error["loc"]):
        if isinstance(part, int) and isinstance(raw, list) and part < len(raw):
            raw = raw[part]
            name = raw.get("name") if isinstance(raw, dict) else None
            parts.append(f"item {part + 1} ('{name}')" if name else f"item {part + 1}")
        elif isinstance(raw, dict) and (found := [key for key in raw if str(key) == str(part)]):
            raw = raw[found[0]]
            parts.append(str(part))
        elif error["type"] == "missing" and depth == len(error["loc"]) - 1:
            parts.append(str(part))
    return parts


def _what(error: ErrorDetails, model: type[BaseModel]) -> str:
    value = error["input"]
    if error["type"] == UNKNOWN:
        key, known = str(error["loc"][-1]), _keys(model)
        return "this key does not belong here" if key in known else f"unknown key{did_you_mean(key, known)}"
    if error["type"] == "string_type" and isinstance(value, int | float | date):
        return f"expected text, got {value}; write it in quotes"
    message = error["msg"].removeprefix("Value error, ")
    return message if error["type"] == "value_error" or isinstance(value, dict | list) else f"{message}, got {value!r}"


def _keys(model: type[BaseModel]) -> set[str]:
    """All keys of the model and of the models inside it."""
    return set(_properties(model.model_json_schema()))


def _properties(schema: object) -> Iterator[str]:
    """The keys that a JSON schema names, at any depth."""
    if isinstance(schema, dict):
        yield from schema.get("properties", ())
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _properties(inner)
