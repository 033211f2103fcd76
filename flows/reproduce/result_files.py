"""The result files of a plan: written, and read back where they are of the runs that it names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cpg_core.config.method_settings import settings_of
from cpg_core.config.profiles import overrides_of
from cpg_core.config.schema import read_mapping
from cpg_core.config.settings import load_settings
from cpg_core.config.store import Store
from cpg_core.errors import CpgError
from cpg_core.storage.differences import changes
from cpg_core.storage.files import read_record, write_json
from cpg_core.storage.run import Run
from flows.parameters import PARAMS
from flows.reproduce.plan import Item, Plan
from flows.reproduce.result import RunResult, result_of
from flows.request import definitions


def write_result(plan: Plan, key: str, run: Run, root: Path) -> Path:
    """Write what the tables need of a finished run or conversion, and return where."""
    path = root / plan.file(key)
    learned = plan.conversions[key].run if key in plan.conversions else key
    write_json(path, result_of(run, plan.item(learned)[0].variant).model_dump(mode="json"))
    return path


def read_results(plan: Plan, root: Path) -> dict[str, RunResult]:
    """The results of runs that are there, by their names.

    Raises:
        Damaged: a file is not what was written.
        CpgError: a result is not of the run that the plan names.
    """
    return _read(plan, (*plan.baselines, *plan.runs), root)


def read_baselines(plan: Plan, root: Path) -> dict[str, RunResult]:
    """The results that goals come from, by their names.

    Raises:
        Damaged: as `read_results`.
        CpgError: as `read_results`, or one is missing: goals of a part of them would be others.
    """
    found = _read(plan, plan.baselines, root)
    if missing := [key for key in plan.baselines if key not in found]:
        raise CpgError(
            f"goals come from all baselines, and {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not "
            f"learned yet; first: {plan.command('learn', missing[0])}"
        )
    return found


def read_conversions(plan: Plan, root: Path) -> dict[str, RunResult]:
    """The results of conversions that are there, by their names. Errors as of `read_results`."""
    return _read(plan, plan.conversions, root)


def _read(plan: Plan, keys: Iterable[str], root: Path) -> dict[str, RunResult]:
    files = {key: root / plan.file(key) for key in keys}
    found = {key: read_record(file, RunResult) for key, file in files.items() if file.exists()}
    tasks = _tasks(plan, root)
    for key, result in found.items():
        _require_of_the_plan(plan, key, result, tasks, root)
    return found


def _require_of_the_plan(plan: Plan, key: str, result: RunResult, tasks: int | None, root: Path) -> None:
    """A plan or profile that was changed leaves results of other runs behind; `tasks`: of the sequence, if known."""
    converts = key in plan.conversions
    item, _ = plan.item(plan.conversions[key].run if converts else key)
    wanted = {
        "profile": plan.profile,
        "sequence": plan.sequence,
        "method": item.method,
        "ordering": str(item.ordering),
        "seed": item.seed,
        "variant": item.variant,
        **({"goal": item.goal} if item.goal else {}),
    }
    differing = [(name, there, value) for name, value in wanted.items() if (there := getattr(result, name)) != value]
    expected = min((n for n in (item.first_tasks, tasks) if n is not None), default=len(result.tasks))
    if expected != len(result.tasks):
        differing.append(("tasks", len(result.tasks), expected))
    if not differing and result.settings:
        differing = changes(result.settings, _settings(plan, key, item, root))
    anew = f"make it anew: {plan.command('convert' if converts else 'learn', key)}"
    for name, value, planned in differing[:1]:
        raise CpgError(f"{root / plan.file(key)}: learned with {name} {value!r}, and the plan says {planned!r}; {anew}")
    for name, value, now in _other_goals(plan, item, result, root)[:1]:
        raise CpgError(
            f"{root / plan.file(key)}: learned with {value} as the goal of {name}, and the baselines give {now}; {anew}"
        )


def _other_goals(plan: Plan, item: Item, result: RunResult, root: Path) -> list[tuple[str, float, float]]:
    """Tasks with the goals that they were held to and others that the baselines give now, where these are there."""
    file = root / plan.goals_file(item.goal) if item.goal else None
    if file is None or not file.exists():
        return []
    goals = read_mapping(file)
    return [(t.name, t.goal, goals[t.name]) for t in result.tasks if t.goal != goals.get(t.name, t.goal)]


def _tasks(plan: Plan, root: Path) -> int | None:
    """How many the sequence has; None: nothing says so here, and its images need not be at hand."""
    manifest = root / plan.folder / "data.json"
    return len(read_mapping(manifest)) if manifest.exists() else None


def _settings(plan: Plan, key: str, item: Item, root: Path) -> dict[str, Any]:
    """What a run or conversion of the plan depends on."""
    goal = (f"goal={item.goal}",) if item.goal else ()
    overrides = (*overrides_of(item.settings), *goal)
    settings = load_settings(definitions(root) / PARAMS, plan.profile, overrides, item.method)
    if key in plan.conversions:
        store = Store.model_validate(plan.conversions[key].model_dump(exclude={"run"}))
        settings = settings.model_copy(update={"store": store})
    return settings_of(item.method, settings)
