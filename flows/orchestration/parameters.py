"""The parameters of the flows, typed as the form in the Prefect UI shows them and as the server checks them.

A value that the form cannot check, such as a task's place, is refused by the flow as it begins.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema

from cpg_core.config.schema import read_mapping
from cpg_core.errors import CpgError
from cpg_core.methods import every

Json = dict[str, Any]


def _field(description: str, **schema: Any) -> WithJsonSchema:  # noqa: ANN401  (JSON)
    return WithJsonSchema({"description": description, **schema})


def _kinds(*kinds: tuple[str, str]) -> list[Json]:
    """One of several JSON types, each with what the form calls it."""
    return [{"type": kind, "title": title} for kind, title in kinds]


class ProfileChoices:
    """A profile of the `params.yaml` that is here while the form is made; without one, any text."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        """The choices."""
        help_text = "A profile of params.yaml: the settings to learn with. None: the sequence's own."
        try:
            names = list(read_mapping(Path("params.yaml")).get("profiles") or ())
        except CpgError:
            return {"description": help_text, "anyOf": _kinds(("null", "the sequence's"), ("string", "a profile"))}
        return {"description": help_text, "enum": [None, *names]}


Sequence = Annotated[str, _field("A sequence's name in `data/`, or the path of its YAML file.", type="string")]
Method = Annotated[
    str,
    _field(
        "What learns it. " + " ".join(f"`{name}`: {method.source}." for name, method in every().items()),
        type="string",
        enum=list(every()),
    ),
]
Goal = Annotated[
    float | str | None,
    _field(
        "The accuracy that each task must reach: a number in [0, 1]; `avg`, `max` or `top`, from models learned "
        "apart; or a JSON or YAML file with one a task.",
        anyOf=_kinds(("null", "the profile's"), ("number", "a number"), ("string", "avg, max, top or a file")),
        minimum=0,
        maximum=1,
    ),
]
Profile = Annotated[str | None, ProfileChoices()]
Ordering = Annotated[
    int | str,
    _field(
        "An ordering of the sequence; 0 or `default` is the order as written.",
        anyOf=_kinds(("integer", "a number"), ("string", "a name")),
        minimum=0,
    ),
]
Tasks = Annotated[
    int | str | None,
    _field(
        "Which places of that order to learn, such as `1-3` or `1,4,7-9`.",
        anyOf=_kinds(("null", "all"), ("string", "places"), ("integer", "one place")),
        minimum=1,
    ),
]
Seed = Annotated[int, _field("Decides everything random.", type="integer", minimum=0)]
RunName = Annotated[
    str | None,
    _field("The run's name, and its folder's.", anyOf=_kinds(("null", "made of the above"), ("string", "a name"))),
]
Overrides = Annotated[
    tuple[str, ...],
    _field("Settings other than the profile's, such as `prune.lr=0.001`.", type="array", items={"type": "string"}),
]
Methods = Annotated[
    tuple[str, ...],
    _field("What learns it.", type="array", items={"type": "string", "enum": list(every())}, minItems=1),
]
Orderings = Annotated[
    tuple[int | str, ...],
    _field(
        "Orderings of the sequence; 0 or `default` is the order as written.",
        type="array",
        items={"anyOf": _kinds(("integer", "a number"), ("string", "a name"))},
        minItems=1,
    ),
]
Goals = Annotated[
    tuple[float | str, ...],
    _field(
        "The accuracies that each task must reach, as of one run; without any, the profile's.",
        type="array",
        items={"anyOf": _kinds(("number", "a number"), ("string", "avg, max, top or a file"))},
    ),
]
Seeds = Annotated[
    tuple[int, ...],
    _field("Each decides everything random.", type="array", items={"type": "integer", "minimum": 0}, minItems=1),
]
Workers = Annotated[
    int | None,
    _field(
        "How many runs at a time; the cores are divided among them.",
        anyOf=_kinds(("null", "one a core"), ("integer", "a number")),
        minimum=1,
    ),
]
Dask = Annotated[
    str | None,
    _field(
        "The address of a Dask cluster that shares the folder of results, such as `tcp://10.0.0.1:8786`.",
        anyOf=_kinds(("null", "this machine's processes"), ("string", "an address")),
    ),
]
Root = Annotated[str, _field("The folder that holds `checkpoints/`, `work/` and `mlflow.db`.", type="string")]
Track = Annotated[bool, _field("Record the run in MLflow.", type="boolean")]

LearnedRun = Annotated[str, _field("The run's name; `cpg list` tells them.", type="string")]
TaskFile = Annotated[str, _field("The path of the task's YAML file.", type="string")]
