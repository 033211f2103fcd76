"""Which runs the tables are made of, as `params.yaml` says, or the plan of another experiment."""

from __future__ import annotations

import shlex
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from cpg_core.config.method_settings import settings_of
from cpg_core.config.profiles import methods_named, overrides_of
from cpg_core.config.schema import Strict, check, read_mapping
from cpg_core.config.settings import load_settings
from cpg_core.config.store import Store
from cpg_core.config.suggestions import unknown
from cpg_core.data.spec import load_sequence
from cpg_core.errors import CpgError
from cpg_core.methods import names
from cpg_core.storage.differences import COMPARED, OTHER_IMAGES
from cpg_core.storage.files import hash_of, write_json
from cpg_core.storage.run import Run
from flows.parameters import PARAMS
from flows.request import SequenceRequest, definitions, resolve
from flows.versioning.dvc_pointers import open_or_new_checked
from flows.versioning.prepare import Reading

CONVERSIONS = "conversions"
SECTIONS = ("baselines", "runs", CONVERSIONS)


class Item(Strict):
    """One run of the tables.

    Attributes:
        first_tasks: of no more than so many of the sequence's tasks.
        variant: says in words what `settings` change; such a run stands in the comparison and in claims, not in the
            paper's tables.
        settings: that differ from the profile's, in its groups.
    """

    method: str
    goal: Literal["avg", "max", "top"] | None = None
    ordering: str | int = "0"
    seed: int = 1
    first_tasks: int | None = Field(default=None, ge=1)
    variant: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _named(self) -> Self:
        if bool(self.settings) != bool(self.variant):
            raise ValueError("settings of its own and `variant`, their name in the tables, go together")
        return self


class Conversion(Store):
    """A run of the tables stored otherwise, as `cpg convert` does it; `run` is its name in the plan."""

    run: str


class Plan(Strict):
    """What a plan says of the tables, for the profile that it names.

    Attributes:
        profile: which settings; `results/<profile>/` holds what comes of them.
        sequence: which sequence the profile learns.
        top_margin: how far goal `top` lies above the best of the independent and the fine-tuned models.
        baselines: the runs that the goals come from.
        runs: the runs that have those goals.
        conversions: of those runs, stored otherwise.
        read_from: its file, below the root.
    """

    profile: str
    sequence: str
    top_margin: float
    baselines: dict[str, Item]
    runs: dict[str, Item]
    conversions: dict[str, Conversion] = Field(default_factory=dict)
    read_from: Path = PARAMS

    @model_validator(mode="after")
    def _each_key_once(self) -> Self:
        for one, two in combinations(SECTIONS, 2):
            for key in getattr(self, one).keys() & getattr(self, two).keys():
                raise ValueError(f"{key} stands in {one} and in {two}; each needs a name of its own")
        return self

    @model_validator(mode="after")
    def _rows_of_equal_tasks(self) -> Self:
        rows: dict[tuple[str, ...], tuple[str, int | None]] = {}
        for key, item in {**self.baselines, **self.runs}.items():
            row = item.method, str(item.goal), str(item.ordering), item.variant
            first, tasks = rows.setdefault(row, (key, item.first_tasks))
            if tasks != item.first_tasks:
                raise ValueError(f"{first} and {key} are one row of the tables; give both the same first_tasks")
        return self

    @property
    def folder(self) -> Path:
        """Where results go, below the root."""
        return Path("results") / self.profile

    def goals_file(self, goal: str) -> Path:
        """Where the goals by this name are written, below the root."""
        return self.folder / "goals" / f"{goal}.json"

    def command(self, *words: str) -> str:
        """A step of it as it is given by hand: `cpg reproduce learn KEY`, and of which plan, if not the project's."""
        plan = () if self.read_from == PARAMS else ("--plan", str(self.read_from))
        return shlex.join(["cpg", "reproduce", *words, *plan])

    def item(self, key: str) -> tuple[Item, str]:
        """A run, and the folder of its result.

        Raises:
            CpgError: the plan has none of that name.
        """
        for name in ("baselines", "runs"):
            items: dict[str, Item] = getattr(self, name)
            if key in items:
                return items[key], name
        raise unknown("run of the tables", key, [*self.baselines, *self.runs])

    def conversion(self, key: str) -> Conversion:
        """A conversion.

        Raises:
            CpgError: the plan has none of that name.
        """
        if key not in self.conversions:
            raise unknown("conversion of the tables", key, self.conversions)
        return self.conversions[key]

    def file(self, key: str) -> Path:
        """Where the result of a run or conversion is written, below the root."""
        folder = CONVERSIONS if key in self.conversions else self.item(key)[1]
        return self.folder / folder / f"{key}.json"


def read_plan(root: Path, file: Path = PARAMS) -> Plan:
    """The plan of a file in the layout of `params.yaml`, which has the profiles whatever the file.

    Raises:
        CpgError: naming what is missing, unknown or wrong in it.
    """
    path = root / file
    values = read_mapping(path)
    profile = values.get("profile")
    reproduce = values.get("reproduce")
    reproduce = reproduce if isinstance(reproduce, dict) else {}
    sequences = reproduce.get("sequences")
    if not isinstance(sequences, dict):
        raise CpgError(f"{path}: expected `reproduce.sequences`, the sequence that each profile learns")
    if not isinstance(profile, str) or profile not in sequences:
        raise unknown("profile", str(profile), sequences)
    own = _mapping(path, _mapping(path, reproduce, "plans"), str(profile))
    if set(own) - set(SECTIONS):
        raise CpgError(f"{path}: reproduce.plans.{profile}: expected {', '.join(SECTIONS)}; found {sorted(own)}")
    wanted: dict[str, Any] = {}
    for name in SECTIONS:
        differing = _mapping(path, own, name)
        common = values.get(name, {} if name == CONVERSIONS else None)
        wanted[name] = {**common, **differing} if isinstance(common, dict) else common
    wanted |= {"profile": profile, "sequence": sequences[profile], "top_margin": reproduce.get("top_margin")}
    return check({**wanted, "read_from": file}, Plan, str(path))


def _mapping(path: Path, values: dict[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name, {})
    if not isinstance(found, dict):
        raise CpgError(f"{path}: reproduce.plans: expected `{name}` to map names to values, found {found!r:.80}")
    return found


def run_of_plan(plan: Plan, key: str, root: Path) -> Run:
    """The run of a plan, made or gone on with.

    Its name holds a digest of all that it is, so that another learning rate, goal file or seed makes another run
    beside it, and an experiment never meets the checkpoints of the one before. Settings that are other methods' own
    do not count, nor does in which folder the images lie.
    """
    item, _ = plan.item(key)
    ordering, goal = str(item.ordering), item.goal
    tasks = None
    if item.first_tasks is not None:
        there = load_sequence(plan.sequence, definitions(root) / "data").tasks
        tasks = f"1-{min(item.first_tasks, len(there))}"
    own = tuple(overrides_of(item.settings))
    name = f"{key}-new"
    request = SequenceRequest(plan.sequence, item.method, goal, plan.profile, ordering, tasks, item.seed, name, own)
    spec = resolve(request, root)
    content = _without_places(spec.model_dump(mode="json", include=set(COMPARED)))
    content["settings"] = settings_of(spec.method, spec.settings)
    return open_or_new_checked(root, spec.model_copy(update={"name": f"{plan.profile}-{key}-{hash_of(content)[:8]}"}))


def require_same_images(run: Run, plan: Plan, key: str, reading: Reading) -> None:
    """Refuse a run whose frozen tasks learned from other images than there are now, as of a folder that was corrected.

    Its name does not tell, since it names no content of images. They are read once for it, which takes as long as
    `cpg reproduce prepare`, and far less than learning; of a new run none are.

    Raises:
        CpgError: those of a task are others, or cannot be read.
    """
    for index in range(1, run.frozen() + 1):
        record = run.record(index)
        if run.data(index, partial(reading, record.name)).digest != record.data_sha256:
            raise CpgError(
                f"run {run.spec.name}: task {record.name}: {OTHER_IMAGES}; bring those back, or learn it anew: "
                f"cpg remove {run.spec.name}; {plan.command('learn', key)}"
            )


def _without_places(value: Any) -> Any:  # noqa: ANN401  (what JSON can hold)
    """Of what lies at an absolute path its last name alone; a network's answers follow from it and the images."""
    if isinstance(value, dict):
        return {name: _without_places(inner) for name, inner in value.items() if name != "answers"}
    if isinstance(value, list | tuple):
        return [_without_places(inner) for inner in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def write_settings(plan: Plan, root: Path) -> list[Path]:
    """Write what the profile sets for each method: a file each, so that a run depends on its own method's alone.

    Raises:
        CpgError: a setting is wrong, or the profile has settings for a method that there is not.
    """
    for name in methods_named(root / PARAMS, plan.profile):
        if name not in names():
            raise unknown(f"method in profile '{plan.profile}'", name, names())
    written = []
    for name in names():
        settings = load_settings(root / PARAMS, plan.profile, method=name)
        written.append(root / plan.folder / "settings" / f"{name}.json")
        write_json(written[-1], settings_of(name, settings))
    return written
