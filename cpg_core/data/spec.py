"""The sequence YAML: an ordered list of tasks for one backbone.

A task inherits what `INHERITED` names from its sequence while the YAML is read, so a `TaskSpec` is
always complete on its own. It goes to JSON with `model_dump_json()` and comes back with `model_validate_json()`; with
the context `{"folder": Path}` of both, places inside that folder are relative to it in the JSON.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, Field, field_validator, model_validator

from cpg_core import objectives
from cpg_core.config.backbone import BackboneSpec
from cpg_core.config.numbers import Fraction
from cpg_core.config.schema import Strict, is_none, read_mapping, read_yaml
from cpg_core.config.suggestions import did_you_mean
from cpg_core.config.task_settings import require_may_differ
from cpg_core.data.fields import Augment, Normalise
from cpg_core.data.sampling import Sampling
from cpg_core.data.sources import AnySource
from cpg_core.data.splits.pairs import PairsSource
from cpg_core.data.splits.validation import Validation
from cpg_core.errors import CpgError
from cpg_core.objectives import ObjectiveSpec
from cpg_core.objectives.losses.weighted_cross_entropy import WeightedCrossEntropy

INHERITED = ("source", "augment", "normalise", "validation", "sampling")

T = TypeVar("T")


def _is_safe_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9_][a-z0-9_-]{0,63}", name):
        raise ValueError(
            f"'{name}' becomes a folder name: use lowercase letters, digits, _ and -, not - first, 64 at the most"
        )
    return name


SafeName = Annotated[str, AfterValidator(_is_safe_name)]


class TaskSpec(ObjectiveSpec):
    """One task, complete: everything needed to read its images again.

    `classes=None` means all of the source's. `pairs` are what a task of kind verification is tested on. Without
    `validation` it is a random share of each class, and without `sampling` every image comes once an epoch. `settings`
    are those that differ from its run's, by group, and `goal` the accuracy that it must reach in place of its run's.
    """

    name: SafeName
    source: AnySource
    classes: tuple[str, ...] | None = None
    augment: Augment = Augment()
    normalise: Normalise = "per_task"
    pairs: PairsSource | None = Field(default=None, exclude_if=is_none)
    validation: Validation | None = Field(default=None, exclude_if=is_none)
    sampling: Sampling | None = Field(default=None, exclude_if=is_none)
    goal: Fraction | None = Field(default=None, exclude_if=is_none)
    settings: dict[str, Any] = Field(default_factory=dict, exclude_if=lambda settings: not settings)

    @field_validator("settings")
    @classmethod
    def _that_may_differ(cls, settings: dict[str, Any]) -> dict[str, Any]:
        require_may_differ(settings)
        return settings

    @model_validator(mode="after")
    def _settings_of_the_kind(self) -> TaskSpec:
        try:
            compares = objectives.of(self).compares_pairs
        except CpgError as error:
            raise ValueError(str(error)) from error
        if compares and self.pairs is None:
            raise ValueError(
                f"a task of kind {self.kind} is tested on pairs; give pairs: {{file: pairs.txt, images: FOLDER}}"
            )
        if self.pairs is not None and not compares:
            raise ValueError(f"pairs: tasks of kind {self.kind} have none; leave it out, or set kind: verification")
        if compares and isinstance(self.loss, WeightedCrossEntropy) and (self.loss.counts or self.loss.weights):
            raise ValueError(
                f"loss: tasks of kind {self.kind} draw the people to validate on, so nobody can give the others counts "
                "or weights; leave these out, and they come from the training images"
            )
        return self

    @model_validator(mode="after")
    def _one_validation_split(self) -> TaskSpec:
        if self.pairs is not None and (self.validation is not None or self.source.has_val):
            raise ValueError(
                f"tasks of kind {self.kind} hold people out to validate on; leave validation and the val of splits out"
            )
        if self.validation is not None and self.source.has_val:
            raise ValueError("validation images are those of splits: val; leave that name out, or leave validation out")
        return self

    @model_validator(mode="after")
    def _balanced_once(self) -> TaskSpec:
        weighted = isinstance(self.loss, WeightedCrossEntropy) and self.loss.weights is None
        if self.sampling is not None and weighted:
            raise ValueError(
                "sampling: balanced and a loss weighted by the number of images both make up for rare classes; "
                "choose one of them, or give the weights of the loss"
            )
        return self

    @field_validator("classes")
    @classmethod
    def _two_or_more_distinct(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and len(classes) < 2:
            raise ValueError(
                f"a task needs two classes or more, not {len(classes)}; leave it out for all of the source"
            )
        if classes and (twice := _first_repeated(classes)):
            raise ValueError(f"class '{twice}' is listed twice; remove one")
        return classes


class SequenceSpec(Strict):
    """An ordered list of tasks for one backbone, the default parameter profile, and other named orderings of it."""

    name: SafeName
    description: str = ""
    backbone: BackboneSpec
    profile: str
    source: AnySource | None = None
    augment: Augment = Augment()
    normalise: Normalise = "per_task"
    validation: Validation | None = None
    sampling: Sampling | None = None
    tasks: tuple[TaskSpec, ...]
    orderings: dict[str, tuple[int, ...]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, raw: Any) -> Any:  # noqa: ANN401  (anything a YAML file can hold)
        if not isinstance(raw, dict) or not isinstance(raw.get("tasks"), list | tuple):
            return raw
        defaults = {key: raw[key] for key in INHERITED if raw.get(key) is not None}
        return raw | {"tasks": [defaults | task if isinstance(task, dict) else task for task in raw["tasks"]]}

    @field_validator("orderings", mode="before")
    @classmethod
    def _names_are_text(cls, raw: Any) -> Any:  # noqa: ANN401
        return {str(key): order for key, order in raw.items()} if isinstance(raw, dict) else raw

    @model_validator(mode="after")
    def _consistent(self) -> SequenceSpec:
        if not self.tasks:
            raise ValueError("tasks: there are none; list one or more")
        if twice := _first_repeated([task.name for task in self.tasks]):
            raise ValueError(f"tasks: task '{twice}' is named twice; give each task its own name")
        numbers = list(range(1, len(self.tasks) + 1))
        for name, order in self.orderings.items():
            if name == "0":
                raise ValueError("orderings: '0' always means the order as written; choose another name")
            if sorted(order) != numbers:
                odd = sorted(set(order) ^ set(numbers)) or sorted(
                    {number for number in order if order.count(number) > 1}
                )
                raise ValueError(
                    f"orderings: ordering '{name}' must hold each of 1..{len(numbers)} once; "
                    f"missing, repeated or out of range: {', '.join(map(str, odd))}"
                )
        return self


def load_sequence(name_or_path: str, folder: Path) -> SequenceSpec:
    """Read a sequence from a YAML file, given by its path or by its name in `folder`.

    Raises `CpgError` if there is no such file or if it says something wrong.
    """
    return read_yaml(_sequence_file(name_or_path, folder), SequenceSpec)


def load_backbone(name_or_path: str, folder: Path) -> BackboneSpec:
    """What a sequence says of its backbone, whether or not its images are at hand; otherwise as `load_sequence`."""
    return read_yaml(_sequence_file(name_or_path, folder), _ItsBackbone).backbone


class _ItsBackbone(BaseModel):
    backbone: BackboneSpec


def _sequence_file(name_or_path: str, folder: Path) -> Path:
    if name_or_path.endswith((".yaml", ".yml")):
        path = Path(name_or_path).expanduser()
        if "source" in (found := read_mapping(path)) and not {"tasks", "backbone", "profile"} & found.keys():
            raise CpgError(
                f"{path}: this is one task, and a sequence was expected: backbone, profile and tasks; "
                f"to learn it at the end of a run: cpg add RUN {path}"
            )
        return path
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name_or_path not in known:
        raise CpgError(
            f"sequence '{name_or_path}' is not in {folder}{did_you_mean(name_or_path, known)} "
            f"Known sequences: {', '.join(known) or 'none'}; or give the path of a .yaml file."
        )
    return folder / f"{name_or_path}.yaml"


def load_task(path: Path) -> TaskSpec:
    """Read the YAML file of a single task. Raises `CpgError` if it is missing or says something wrong."""
    path = path.expanduser()
    if "tasks" in read_mapping(path):
        raise CpgError(
            f"{path}: this is a sequence, and one task was expected: a file of that task's name, source and classes; "
            f"to learn the whole sequence: cpg run {path}"
        )
    return read_yaml(path, TaskSpec)


def select(spec: SequenceSpec, tasks: str | None = None, ordering: str = "0") -> tuple[TaskSpec, ...]:
    """Return the tasks to learn, in order.

    `ordering` "0" is the order as written, another name is one of `spec.orderings`. `tasks`, such as "1-3" or
    "1,4,7-9", then picks positions of that order, counted from 1 (so "1-3" is always the first three to be learnt).

    Raises `CpgError` for an unknown ordering, and for positions that are malformed, repeated or out of range.
    """
    if ordering != "0" and ordering not in spec.orderings:
        known = ", ".join(["0", *spec.orderings])
        raise CpgError(f"ordering '{ordering}' is not in sequence '{spec.name}'; it has: {known}")
    ordered = spec.tasks if ordering == "0" else tuple(spec.tasks[k - 1] for k in spec.orderings[ordering])
    if tasks is None:
        return ordered
    places = _places(tasks)
    for place in places:
        if not 1 <= place <= len(ordered):
            raise CpgError(f"tasks '{tasks}': there is no task {place}; '{spec.name}' has tasks 1 to {len(ordered)}")
    if twice := _first_repeated(places):
        raise CpgError(f"tasks '{tasks}': task {twice} is picked twice; name it once")
    return tuple(ordered[place - 1] for place in places)


def _places(text: str) -> list[int]:
    """Read "1,4,7-9" as [1, 4, 7, 8, 9]."""
    places: list[int] = []
    for item in text.split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", item.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if first > last:
            raise CpgError(f"tasks '{text}': cannot read '{item.strip()}'; write positions like 1-3 or 1,4,7-9")
        places.extend(range(first, last + 1))
    return places


def _first_repeated(items: Sequence[T]) -> T | None:
    return next((item for place, item in enumerate(items) if item in items[:place]), None)
