"""Settings that differ for one task: `tasks: - name: cars; settings: {pick_train: {lr: 1.0e-2}}`.

A task names what is other than its run's settings. Only what decides nothing beyond the task may differ.
"""

from __future__ import annotations

from typing import Any

from cpg_core.config.profiles import merged, overridden
from cpg_core.config.schema import check
from cpg_core.config.settings import Settings
from cpg_core.config.suggestions import did_you_mean

_NETWORK = "all tasks share one network"
_BEGINNING = "the tasks of a run begin by one rule"
_RECALL = "it decides the bits with which every task of the run is recalled"
WHY_NOT = {
    "goal": "a task says it beside its settings: goal: 0.9",
    "augment": "a task says it beside its settings: augment: {...}",
    "metric": "a task says it beside its settings: metric: balanced_accuracy",
    "base_width": _NETWORK,
    "backbone": _NETWORK,
    "grow": f"{_NETWORK}, which grows by one rule",
    "progressive": f"{_NETWORK}, whose columns have one width",
    "den": f"{_NETWORK}, which this method trains and splits as a whole",
    "eval_batch_size": _RECALL,
    "compute": _RECALL,
    "store": "a run is stored in one way; to store it otherwise: cpg convert",
    "seed": "all that is random in a run follows from one seed",
    "seeds": "all that is random in a run follows from one seed",
    "val_fraction": "all tasks of a run are judged alike",
    "goal_split": "all tasks of a run are judged alike",
    "released_init": _BEGINNING,
    "private_init": _BEGINNING,
    "linear_init": _BEGINNING,
    "method": "a run has one method",
    "profile": "a run has one profile",
}
"""What is known and may not differ, with the reason."""
MAY_DIFFER = tuple(name for name in Settings.model_fields if name not in WHY_NOT)


def require_may_differ(own: dict[str, Any]) -> None:
    """Refuse settings that a task cannot have of its own.

    Raises:
        ValueError: naming the first of them, with the reason.
    """
    for name in own:
        if name in WHY_NOT:
            raise ValueError(f"{name} cannot differ for a task: {WHY_NOT[name]}")
        if name not in MAY_DIFFER:
            hint = did_you_mean(name, (*MAY_DIFFER, *WHY_NOT))
            raise ValueError(f"unknown setting '{name}'{hint} A task may have its own: {', '.join(MAY_DIFFER)}")


def task_settings(settings: Settings, own: dict[str, Any], where: str) -> Settings:
    """The settings of a task: those of its run, but for its own.

    Raises:
        CpgError: with a line for each of its own that is wrong, which begins with `where`.
    """
    if not own:
        return settings
    return check(merged(settings.model_dump(mode="json"), own), Settings, where)


def resolved(settings: Settings, own: dict[str, Any], where: str) -> dict[str, Any]:
    """A task's own settings as their types write them, such as 0.01 for 1e-2.

    Raises:
        CpgError: as `task_settings`.
    """
    return _at_the_same_places(own, task_settings(settings, own, where).model_dump(mode="json"))


def without(own: dict[str, Any], overrides: tuple[str, ...], settings: Settings) -> dict[str, Any]:
    """A task's own settings without what `prune.lr=0.001` strings say for all tasks.

    Args:
        own: of the task.
        overrides: the strings.
        settings: of the run, in which they hold.
    """
    of_run = settings.model_dump(mode="json")
    for override in overrides:
        own = _without(own, overridden(override).split("."), of_run)
    return own


def _without(own: dict[str, Any], path: list[str], of_run: dict[str, Any]) -> dict[str, Any]:
    name, *rest = path
    if name not in own:
        return own
    inner, others = own[name], {key: value for key, value in own.items() if key != name}
    if not rest or not isinstance(inner, dict) or rest == ["kind"]:  # what stands beside a kind is of that kind
        return others
    if "kind" in inner:  # such a value replaces the run's as a whole
        field, values = rest[0], of_run[name]
        holds = field in values and (field in inner or values["kind"] == inner["kind"])
        return {**own, name: {**inner, field: values[field]}} if holds else own
    left = _without(inner, rest, of_run[name])
    return {**others, name: left} if left else others


def _at_the_same_places(own: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _at_the_same_places(value, whole[name])
        if isinstance(value, dict) and isinstance(whole[name], dict) and "kind" not in value
        else whole[name]
        for name, value in own.items()
    }
