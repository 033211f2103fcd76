"""Which stage is next: Algorithm 1 as a pure function of the stages done, whoever runs them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cpg_core.config.settings import Settings
from cpg_core.methods import Method
from cpg_core.stages.prune_schedule import floor_sparsity, next_target
from cpg_core.storage.records import StageName, StageRecord


@dataclass(frozen=True)
class Rules:
    """What the decisions about one task rest on."""

    method: Method
    settings: Settings
    index: int
    tasks_left: int
    budget_x: float


@dataclass(frozen=True)
class Request:
    """A stage to run, on the state that stage number `source` wrote (None: on the shared weights as they are)."""

    stage: StageName
    number: int
    source: int | None
    budget_x: float
    target: float | None = None


def next_stage(done: Sequence[StageRecord], rules: Rules) -> Request | None:
    """The stage that follows those done (Algorithm 1); None after `freeze`."""
    if not done:
        if rules.method.grows == "always" and rules.index > 1:
            return Request("grow", 1, None, _with_a_column(rules))
        return Request("pick_train", 1, None, rules.budget_x)
    last, number = done[-1], len(done) + 1
    match last.stage:
        case "pick_train":
            return Request("check", number, last.number, last.budget_x)
        case "grow":
            return Request("pick_train", number, last.number, last.budget_x)
        case "check":
            if not last.met and _may_grow(last.budget_x, rules):
                source = last.source if rules.method.grows == "once" else None
                return Request("grow", number, source, _grown(last.budget_x, rules))
            return _prune_or_finish(done, rules)
        case "prune":
            return _prune_or_finish(done, rules)
        case "split":
            return Request("freeze", number, last.number, last.budget_x)
        case "retrain":
            return Request("freeze", number, last.number if last.kept else last.source, last.budget_x)
        case "freeze":
            return None


def _may_grow(budget_x: float, rules: Rules) -> bool:
    allowed = rules.method.grows == "on_miss" and (rules.index > 1 or rules.settings.grow.first_task)
    once = rules.method.grows == "once" and rules.index > 1 and budget_x == rules.budget_x
    return (allowed or once) and budget_x < rules.settings.grow.max_x


def _grown(budget_x: float, rules: Rules) -> float:
    step = rules.settings.den.step_x if rules.method.grows == "once" else rules.settings.grow.step_x
    return min(round(budget_x + step, 6), rules.settings.grow.max_x)


def _with_a_column(rules: Rules) -> float:
    """The budget of a network wider by one column: channels add up, weights grow with their square."""
    return (math.sqrt(rules.budget_x) + rules.settings.progressive.column_width) ** 2


def _prune_or_finish(done: Sequence[StageRecord], rules: Rules) -> Request:
    number, budget_x = len(done) + 1, done[-1].budget_x
    target = _prune_target(done, rules)
    if target is not None:
        source = done[-1].number if done[-1].stage == "prune" else done[-1].source
        return Request("prune", number, source, budget_x, target)
    chosen = chosen_state(done, rules)
    if rules.method.splits and any(record.drifted for record in done):
        wider = budget_x if budget_x > rules.budget_x else _grown(budget_x, rules)
        if wider > rules.budget_x:  # the network's end leaves no room for copies
            return Request("split", number, chosen, wider)
    retrains = rules.method.retrains and rules.settings.retrain.epochs > 0 and rules.index > 1
    return Request("retrain" if retrains else "freeze", number, chosen, budget_x)


def _prune_target(done: Sequence[StageRecord], rules: Rules) -> float | None:
    prune, pruned = rules.settings.prune, _since_check(done)
    last = pruned[-1] if pruned else None
    reached = last.target if last else None
    if rules.method.prune == "none":
        return None
    if rules.method.prune == "one_shot":
        return rules.settings.one_shot.sparsity if reached is None else None
    if not _check(done).met:
        room = _room(rules)
        return None if (reached or 0.0) >= room else next_target(prune.targets, reached) or room
    if last is not None and last.gate is False:
        return None
    if prune.misses_allowed is not None and _misses_in_a_row(pruned) > prune.misses_allowed:
        return None
    return next_target(prune.targets, reached)


def chosen_state(done: Sequence[StageRecord], rules: Rules) -> int:
    """The number of the stage whose state is frozen (or retrained): the sparsest that still meets the goal.

    With the goal missed at the largest budget it is the sparsest reached, so that later tasks find room; with a
    one-shot prune it is what that left. No pruned state that serves: the unpruned one.
    """
    check, pruned = _check(done), _since_check(done)
    assert check.source is not None
    if rules.method.prune == "one_shot" or not check.met:
        return pruned[-1].number if pruned else check.source
    serving = [record.number for record in pruned if record.met]
    return serving[-1] if serving else check.source


def _check(done: Sequence[StageRecord]) -> StageRecord:
    return next(record for record in reversed(done) if record.stage == "check")


def _since_check(done: Sequence[StageRecord]) -> list[StageRecord]:
    return [record for record in done if record.stage == "prune" and record.number > _check(done).number]


def _misses_in_a_row(pruned: Sequence[StageRecord]) -> int:
    hits = [place for place, record in enumerate(pruned) if record.met]
    return len(pruned) - (hits[-1] + 1 if hits else 0)


def _room(rules: Rules) -> float:
    return floor_sparsity(rules.tasks_left) if rules.settings.prune.leave_room else 0.0
