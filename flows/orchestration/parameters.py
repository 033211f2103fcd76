"""The parameters of the flows, typed as the form in the Prefect UI shows them and as the server checks them.

A value that the form cannot check, such as a task's place, is refused by the flow as it begins.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema

from cpg_core.config.schema import read_mapping
from cpg_core.errors import CpgError
from cpg_core.methods import every
from flows import parameters
from flows.parameters import PARAMS, Parameter, results_folder, with_home

Json = dict[str, Any]


def schema(parameter: Parameter, *, needed: bool = True) -> Json:
    """The JSON schema of a parameter.

    Args:
        parameter: what it means.
        needed: a list has to hold something.
    """
    explained = " ".join(f"`{name}`: {words}." for name, words in parameter.choices.items())
    about = {"description": f"{parameter.help}. {explained}".strip()}
    bounds: Json = {"minimum": parameter.minimum, "maximum": parameter.maximum}
    bounds = {name: value for name, value in bounds.items() if value is not None}
    if parameter.many:
        return {**about, "type": "array", "items": _value(parameter) | bounds, **({"minItems": 1} if needed else {})}
    return {**about, **_value(parameter), **bounds}


def _value(parameter: Parameter) -> Json:
    """One value: of one JSON type, or of several, each with what the form calls it."""
    if parameter.choices:
        return {"type": "string", "enum": list(parameter.choices)}
    words = dict(parameter.types)
    if parameter.unset and not parameter.many:
        words = {"null": parameter.unset, **words}
    if len(words) == 1:
        return {"type": next(iter(words))}
    return {"anyOf": [{"type": kind, "title": title} for kind, title in words.items()]}


class ProfileChoices:
    """A profile of the `params.yaml` that is here while the form is made; without one, any text."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        """The choices."""
        any_text = schema(parameters.PROFILE)
        try:
            names = list(read_mapping(PARAMS).get("profiles") or ())
        except CpgError:
            return any_text
        return {"description": any_text["description"], "enum": [None, *names]}


def _form(parameter: Parameter, *, needed: bool = True) -> WithJsonSchema:
    return WithJsonSchema(schema(parameter, needed=needed))


ExpandedPath = AfterValidator(lambda path: str(with_home(path)))

SOURCES = {name: method.source for name, method in every().items()}

Sequence = Annotated[str, _form(parameters.SEQUENCE)]
Method = Annotated[str, _form(replace(parameters.METHOD, choices=SOURCES))]
Goal = Annotated[float | str | None, _form(parameters.GOAL)]
Profile = Annotated[str | None, ProfileChoices()]
Ordering = Annotated[int | str, _form(parameters.ORDERING)]
Tasks = Annotated[int | str | None, _form(parameters.TASKS)]
Seed = Annotated[int, _form(parameters.SEED)]
RunName = Annotated[str | None, _form(parameters.RUN)]
Overrides = Annotated[tuple[str, ...], _form(parameters.OVERRIDES, needed=False)]

Methods = Annotated[tuple[str, ...], _form(replace(parameters.METHODS, choices=SOURCES))]
Orderings = Annotated[tuple[int | str, ...], _form(parameters.ORDERINGS)]
Goals = Annotated[tuple[float | str, ...], _form(parameters.GOALS, needed=False)]
Seeds = Annotated[tuple[int, ...], _form(parameters.SEEDS)]
Workers = Annotated[int | None, _form(parameters.WORKERS)]
Dask = Annotated[str | None, _form(parameters.DASK)]

Root = Annotated[str, AfterValidator(lambda path: str(results_folder(path))), _form(parameters.ROOT)]
Track = Annotated[bool, _form(parameters.TRACK)]
LearnedRun = Annotated[str, _form(parameters.LEARNED_RUN)]
TaskFile = Annotated[str, ExpandedPath, _form(parameters.TASK_FILE)]
