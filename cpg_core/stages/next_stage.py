"""Which stage is next: Algorithm 1 as a pure function of the stages done, whoever runs them."""

from __future__ import annotations

from collections.abc import Sequence

from cpg_core.stages.context import Method
from cpg_core.stages.request import Request, Rules
from cpg_core.storage.records import StageRecord


def next_stage(method: Method, done: Sequence[StageRecord], rules: Rules) -> Request | None:
    """The stage that follows those done (Algorithm 1); None after `freeze`."""
    growth, number = method.growth, len(done) + 1
    if not done and rules.imports:
        return Request("import", number, None, rules.budget_x)
    if not done:
        budget_x = growth.at_start(rules)
        if budget_x is not None:
            return Request("grow", number, None, budget_x)
        return Request("pick_train", number, None, rules.budget_x)
    last = done[-1]
    match last.stage:
        case "pick_train" | "import":
            return Request("check", number, last.number, last.budget_x)
        case "grow":
            return Request("pick_train", number, last.number, last.budget_x)
        case "check":
            grown = None if last.met or rules.imports else growth.on_miss(last, rules)
            if grown is not None:
                budget_x, source = grown
                return Request("grow", number, source, budget_x)
            return _prune_or_finish(method, done, rules)
        case "prune":
            return _prune_or_finish(method, done, rules)
        case "recover":
            return _after_pruning(method, done, _kept(last), rules)
        case "split":
            return Request("freeze", number, last.number, last.budget_x)
        case "retrain":
            return Request("freeze", number, _kept(last), last.budget_x)
        case "freeze":
            return None


def _prune_or_finish(method: Method, done: Sequence[StageRecord], rules: Rules) -> Request:
    number, budget_x, pruning = len(done) + 1, done[-1].budget_x, method.pruning
    check = next(record for record in reversed(done) if record.stage == "check")
    if rules.settings.prune.skip_empty and check.source is not None and done[check.source - 1].own == 0:
        return Request("freeze", number, check.source, budget_x)  # nothing to prune, and nothing to retrain beside
    pruned = [record for record in done if record.stage == "prune" and record.number > check.number]
    target = pruning.next_target(check, pruned, rules)
    if target is not None:
        source = pruned[-1].number if pruned else check.source
        return Request("prune", number, source, budget_x, target)
    chosen = pruning.chosen(check, pruned, rules)
    if pruning.recovers(check, chosen, rules):
        return Request("recover", number, chosen, budget_x)
    return _after_pruning(method, done, chosen, rules)


def _after_pruning(method: Method, done: Sequence[StageRecord], chosen: int, rules: Rules) -> Request:
    freeze = Request("freeze", len(done) + 1, chosen, done[-1].budget_x)
    return method.after_pruning(done, chosen, rules) or freeze


def _kept(last: StageRecord) -> int:
    """The state of a stage that is kept only if better, or the one that it began from."""
    assert last.source is not None
    return last.number if last.kept else last.source
