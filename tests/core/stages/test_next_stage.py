"""Algorithm 1 as a table: what the stages found, and the stages that must follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from core.tiny import settings
from cpg_core.config.settings import Settings
from cpg_core.methods import find
from cpg_core.stages.next_stage import next_stage
from cpg_core.stages.request import Request, Rules
from cpg_core.storage.records import StageRecord


@dataclass
class Case:
    """What happened to a task, and the stages it must have gone through.

    Attributes:
        findings: of each check and prune in turn: `met`, `missed`, or `gate` for training accuracy too low; of a
            recover or retrain: `kept` or `dropped`; of a pick_train of DEN: `drifts`, or `none` if no unit did.
        owned_x: what earlier tasks own, over the base network.
        own: how many weights the task holds after pick_train; None: not told.
        path: the stages; `<3` says that a stage read the state of stage 3, `x1.5` its budget, `@0.5` its target.
    """

    path: str
    findings: str = ""
    method: str = "cpg"
    index: int = 2
    left: int = 1
    budget_x: float = 1.0
    owned_x: float = 0.0
    own: int | None = None
    overrides: tuple[str, ...] = field(default_factory=tuple)


CASES = {
    "the goal is met, pruning goes on to the last target": Case(
        "pick_train check<1 prune@0.5<1 prune@0.8<3 retrain<4 freeze<4", "met met met dropped"
    ),
    "the retrain is better": Case("pick_train check<1 prune@0.5<1 prune@0.8<3 retrain<4 freeze<5", "met met met kept"),
    "the first task has no picks to learn again": Case(
        "pick_train check<1 prune@0.5<1 prune@0.8<3 freeze<4", "met met met", index=1
    ),
    "the settings want no retrain": Case(
        "pick_train check<1 prune@0.5<1 prune@0.8<3 freeze<4", "met met met", overrides=("retrain.epochs=0",)
    ),
    "the last target is too high": Case(
        "pick_train check<1 prune@0.5<1 prune@0.8<3 retrain<3 freeze<3", "met met missed dropped"
    ),
    "no target will do": Case(
        "pick_train check<1 prune@0.5<1 prune@0.8<3 retrain<1 freeze<1", "met missed missed dropped"
    ),
    "a higher target serves though a lower one did not": Case(
        "pick_train check<1 prune@0.5<1 prune@0.8<3 retrain<4 freeze<4", "met missed met dropped"
    ),
    "no miss is allowed": Case(
        "pick_train check<1 prune@0.5<1 retrain<1 freeze<1", "met missed dropped", overrides=("prune.misses_allowed=0",)
    ),
    "one miss in a row is allowed, the second ends it": Case(
        "pick_train check<1 prune@0.2<1 prune@0.4<3 prune@0.6<4 prune@0.8<5 retrain<4 freeze<4",
        "met missed met missed missed dropped",
        overrides=("prune.misses_allowed=1", "prune.targets=[0.2, 0.4, 0.6, 0.8, 0.9]"),
    ),
    "a share that a person chose is the one target, kept with the goal missed": Case(
        "pick_train check<1 prune@0.3<1 retrain<3 freeze<3", "met missed dropped", overrides=("prune.share=0.3",)
    ),
    "it is kept though the goal was missed before, and training accuracy is too low": Case(
        "pick_train check<1 prune@0.3<1 retrain<3 freeze<3",
        "missed gate dropped",
        overrides=("prune.share=0.3", "grow.max_x=1.0"),
    ),
    "it is kept though more is reserved": Case(
        "pick_train check<1 prune@0.3<1 retrain<3 freeze<3",
        "met missed dropped",
        overrides=("prune.share=0.3", "grow.reserve_x=0.4"),
    ),
    "any number of misses is allowed": Case(
        "pick_train check<1 prune@0.2<1 prune@0.4<3 prune@0.6<4 retrain<1 freeze<1",
        "met missed missed missed dropped",
        overrides=("prune.misses_allowed=null", "prune.targets=[0.2, 0.4, 0.6]"),
    ),
    "training accuracy ends the pruning": Case("pick_train check<1 prune@0.5<1 retrain<1 freeze<1", "met gate dropped"),
    "no targets at all": Case("pick_train check<1 retrain<1 freeze<1", "met dropped", overrides=("prune.targets=[]",)),
    "a missed goal grows once, and then it is met": Case(
        "pick_train check<1 growx1.5 pick_trainx1.5<3 checkx1.5<4 prune@0.5x1.5<4 prune@0.8x1.5<6 retrainx1.5<7 "
        "freezex1.5<7",
        "missed met met met dropped",
    ),
    "a missed goal grows up to the largest budget, whose last step is short": Case(
        "pick_train check<1 growx1.5 pick_trainx1.5<3 checkx1.5<4 growx1.75 pick_trainx1.75<6 checkx1.75<7 "
        "prune@0.5x1.75<7 retrainx1.75<9 freezex1.75<9",
        "missed missed missed met dropped",
        overrides=("grow.max_x=1.75",),
    ),
    "a failed training gate grows too": Case(
        "pick_train check<1 growx1.5 pick_trainx1.5<3 checkx1.5<4 retrainx1.5<4 freezex1.5<4",
        "gate met dropped",
        overrides=("prune.targets=[]",),
    ),
    "a sequence that has grown already starts from there": Case(
        "pick_trainx1.5 checkx1.5<1 prune@0.5x1.5<1 freezex1.5<3",
        "missed missed",
        method="pae",
        budget_x=1.5,
    ),
    "the first task may not grow": Case(
        "pick_train check<1 prune@0.5<1 freeze<3", "missed missed", index=1, overrides=("grow.first_task=false",)
    ),
    "the first task may grow where the settings say so": Case(
        "pick_train check<1 growx1.5 pick_trainx1.5<3 checkx1.5<4 prune@0.5x1.5<4 prune@0.8x1.5<6 freezex1.5<7",
        "missed met met met",
        index=1,
        overrides=("grow.first_task=true",),
    ),
    "room for two later tasks takes two thirds": Case(
        "pick_train check<1 prune@0.5<1 prune@0.8<3 freeze<4",
        "missed missed missed",
        method="pae",
        left=2,
        overrides=("grow.max_x=1.0",),
    ),
    "room is enough at a target that equals it": Case(
        "pick_train check<1 prune@0.5<1 freeze<3", "missed missed", method="pae", overrides=("grow.max_x=1.0",)
    ),
    "room beyond the last target is made too": Case(
        "pick_train check<1 prune@0.5<1 prune@0.8<3 prune@0.9<4 freeze<5",
        "missed missed missed missed",
        method="pae",
        left=9,
        overrides=("grow.max_x=1.0",),
    ),
    "the last task needs to leave no room": Case(
        "pick_train check<1 freeze<1", "missed", method="pae", left=0, overrides=("grow.max_x=1.0",)
    ),
    "room is not made where the settings say so": Case(
        "pick_train check<1 freeze<1", "missed", method="pae", overrides=("grow.max_x=1.0", "prune.leave_room=false")
    ),
    "room is made up to the last target that passes the gate": Case(
        "pick_train check<1 prune@0.5<1 prune@0.8<3 retrain<3 freeze<3",
        "missed missed gate dropped",
        left=9,
        overrides=("grow.max_x=1.0",),
    ),
    "no room is made where the first target fails the gate": Case(
        "pick_train check<1 prune@0.5<1 freeze<1", "missed gate", method="pae", left=9, overrides=("grow.max_x=1.0",)
    ),
    "a share of 0.11 rounded to 0.1 asks for 0.9, which is no target here": Case(
        "pick_train check<1 prune@0.5<1 prune@0.8<3 prune@0.9<4 freeze<5",
        "missed missed missed missed",
        method="pae",
        left=8,
        overrides=("grow.max_x=1.0", "prune.room_share=rounded"),
    ),
    "the same share as it is asks for more": Case(
        "pick_train check<1 prune@0.5<1 prune@0.8<3 prune@0.888889<4 freeze<5",
        "missed missed missed missed",
        method="pae",
        left=8,
        overrides=("grow.max_x=1.0",),
    ),
    "a share of 1/21 rounded to 0 asks for every target and for no more": Case(
        "pick_train check<1 prune@0.5<1 prune@0.8<3 freeze<4",
        "missed missed missed",
        method="pae",
        left=20,
        overrides=("grow.max_x=1.0", "prune.room_share=rounded"),
    ),
    "the least sparsity is reached although the targets below it miss the goal": Case(
        "pick_train check<1 prune@0.5<1 prune@0.6<3 freeze<4",
        "met missed missed",
        method="pae",
        overrides=("prune.min_sparsity=0.6", "prune.misses_allowed=0"),
    ),
    "above the least sparsity the highest that meets the goal is chosen": Case(
        "pick_train check<1 prune@0.5<1 prune@0.6<3 prune@0.8<4 freeze<5",
        "met missed missed met",
        method="pae",
        overrides=("prune.min_sparsity=0.6", "prune.misses_allowed=1"),
    ),
    "a target below the least sparsity is not chosen though it alone meets the goal": Case(
        "pick_train check<1 prune@0.5<1 prune@0.7<3 freeze<4",
        "met met missed",
        method="pae",
        overrides=("prune.min_sparsity=0.7", "prune.misses_allowed=0"),
    ),
    "the least sparsity is reached whatever the gate says": Case(
        "pick_train check<1 prune@0.5<1 prune@0.7<3 freeze<4",
        "met gate gate",
        method="pae",
        overrides=("prune.min_sparsity=0.7",),
    ),
    "the last task keeps to the least sparsity with the goal missed": Case(
        "pick_train check<1 prune@0.5<1 prune@0.9<3 freeze<4",
        "missed missed missed",
        method="pae",
        left=0,
        overrides=("grow.max_x=1.0", "prune.min_sparsity=0.9", "prune.targets=[0.5]"),
    ),
    "0.1 of 1 - 0.75 released is left: 0.4 of what the task finds": Case(
        "pick_train check<1 prune@0.4<1 prune@0.5<3 freeze<3",
        "met missed missed",
        method="pae",
        left=0,
        owned_x=0.75,
        overrides=("grow.reserve_x=0.1", "prune.misses_allowed=1"),
    ),
    "a task that finds less than twice the reserve leaves half": Case(
        "pick_train check<1 prune@0.5<1 freeze<3",
        "missed missed",
        method="pae",
        left=0,
        owned_x=0.875,
        overrides=("grow.max_x=1.0", "grow.reserve_x=0.25", "prune.targets=[0.5, 0.8]"),
    ),
    "nothing is left for later tasks where the settings reserve nothing": Case(
        "pick_train check<1 freeze<1", "missed", method="pae", left=0, owned_x=0.875, overrides=("grow.max_x=1.0",)
    ),
    "a task that owns nothing skips prune and retrain": Case(
        "pick_train check<1 freeze<1", "met", own=0, overrides=("prune.skip_empty=true",)
    ),
    "a task that owns nothing grows all the same": Case(
        "pick_train check<1 growx1.5 pick_trainx1.5<3 checkx1.5<4 freezex1.5<4",
        "missed missed",
        own=0,
        overrides=("prune.skip_empty=true",),
    ),
    "one weight is enough to prune and retrain": Case(
        "pick_train check<1 prune@0.5<1 retrain<1 freeze<1",
        "met gate dropped",
        own=1,
        overrides=("prune.skip_empty=true",),
    ),
    "the settings have a task that owns nothing pruned and retrained": Case(
        "pick_train check<1 prune@0.5<1 retrain<1 freeze<1",
        "met gate dropped",
        own=0,
        overrides=("prune.skip_empty=false",),
    ),
    "the chosen sparsity alone recovers, and picks are learned again beside what is kept": Case(
        "pick_train check<1 prune@0.5<1 prune@0.8<3 recover<3 retrain<5 freeze<5",
        "met met missed kept dropped",
        overrides=("prune.recover_epochs=2",),
    ),
    "a recovery that is worse is dropped": Case(
        "pick_train check<1 prune@0.5<1 prune@0.8<3 recover<4 freeze<4",
        "met met met dropped",
        method="pae",
        overrides=("prune.recover_epochs=2",),
    ),
    "where nothing was released nothing recovers": Case(
        "pick_train check<1 prune@0.5<1 freeze<1",
        "met missed",
        method="pae",
        overrides=("prune.recover_epochs=2", "prune.misses_allowed=0"),
    ),
    "a share that a person chose has all its epochs in its prune": Case(
        "pick_train check<1 prune@0.4<1 freeze<3",
        "met met",
        method="pae",
        overrides=("prune.recover_epochs=2", "prune.share=0.4"),
    ),
    "packnet recovers in its own way": Case(
        "pick_train check<1 prune@0.6<1 freeze<3", "met met", method="packnet", overrides=("prune.recover_epochs=2",)
    ),
    "packnet does not cut a task that owns nothing": Case(
        "pick_train check<1 freeze<1", "met", method="packnet", own=0, overrides=("prune.skip_empty=true",)
    ),
    "packnet prunes once, whatever it finds": Case(
        "pick_train check<1 prune@0.6<1 freeze<3", "missed missed", method="packnet"
    ),
    "packnet prunes the same when all is well": Case(
        "pick_train check<1 prune@0.6<1 freeze<3", "met met", method="packnet", left=0
    ),
    "sequential neither grows nor prunes": Case("pick_train check<1 freeze<1", "missed", method="sequential"),
    "piggyback neither grows nor prunes": Case("pick_train check<1 freeze<1", "missed", method="piggyback"),
    "scratch neither grows nor prunes": Case("pick_train check<1 freeze<1", "missed", method="scratch"),
    "finetune neither grows nor prunes": Case("pick_train check<1 freeze<1", "missed", method="finetune"),
    "progressive adds a column before it learns, whatever it reaches": Case(
        "growx4 pick_trainx4<1 checkx4<2 freezex4<2",
        "met",
        method="progressive",
        overrides=("progressive.column_width=1.0",),
    ),
    "a narrower column after others: (1.5 + 0.5) squared": Case(
        "growx4 pick_trainx4<1 checkx4<2 freezex4<2",
        "missed",
        method="progressive",
        budget_x=2.25,
        overrides=("progressive.column_width=0.5",),
    ),
    "the first task of progressive is the first column": Case(
        "pick_train check<1 freeze<1", "missed", method="progressive", index=1
    ),
    "den grows once after a miss and goes on from what it has learned": Case(
        "pick_train check<1 growx1.2<1 pick_trainx1.2<3 checkx1.2<4 freezex1.2<4",
        "none missed none missed",
        method="den",
    ),
    "den does not grow when the goal is met": Case("pick_train check<1 freeze<1", "none met", method="den"),
    "the first task of den does not grow": Case("pick_train check<1 freeze<1", "none missed", method="den", index=1),
    "den at the largest budget does not grow": Case(
        "pick_trainx1.5 checkx1.5<1 freezex1.5<1", "none missed", method="den", budget_x=1.5
    ),
    "den splits units that drifted at the width of a step": Case(
        "pick_train check<1 splitx1.2<1 freezex1.2<3", "drifts met", method="den"
    ),
    "den splits at the width that it has grown to": Case(
        "pick_train check<1 growx1.2<1 pick_trainx1.2<3 checkx1.2<4 splitx1.2<4 freezex1.2<6",
        "none missed drifts missed",
        method="den",
    ),
    "den has no room for copies at the largest budget": Case(
        "pick_trainx1.5 checkx1.5<1 freezex1.5<1", "drifts met", method="den", budget_x=1.5
    ),
    "ewc neither grows nor prunes": Case("pick_train check<1 freeze<1", "missed", method="ewc"),
    "lwf neither grows nor prunes": Case("pick_train check<1 freeze<1", "missed", method="lwf"),
}
BASE = ("grow.first_task=false", "grow.step_x=0.5", "grow.max_x=1.5", "one_shot.sparsity=0.6", "den.step_x=0.2")
FACTS = {
    "met": {"met": True},
    "missed": {"met": False},
    "gate": {"met": False, "gate": False},
    "kept": {"kept": True},
    "dropped": {"kept": False},
    "drifts": {"drifted": 2},
    "none": {"drifted": 0},
}


def shown(request: Request) -> str:
    target = "" if request.target is None else f"@{request.target:g}"
    budget = "" if request.budget_x == 1 else f"x{request.budget_x:g}"
    source = "" if request.source is None else f"<{request.source}"
    return f"{request.stage}{target}{budget}{source}"


def walk(case: Case, given: Settings | None = None) -> str:
    """Follow the policy through the findings until the task is frozen."""
    findings = iter(case.findings.split())
    chosen = given or settings(*BASE, *case.overrides)
    method, rules = find(case.method), Rules(chosen, case.index, case.left, case.budget_x, case.owned_x)
    done: list[StageRecord] = []
    path: list[str] = []
    while (request := next_stage(method, done, rules)) is not None:
        assert request.number == len(done) + 1
        looks = request.stage in ("check", "prune", "recover", "retrain") or (case.method, request.stage) == (
            "den",
            "pick_train",
        )
        facts: dict[str, Any] = FACTS[next(findings)] if looks else {}
        if request.stage == "pick_train":
            facts = {**facts, "own": case.own}
        done.append(StageRecord(**request.__dict__, **facts, key=""))
        path.append(shown(request))
    assert next(findings, None) is None, "not all findings were asked for"
    return " ".join(path)


@pytest.mark.parametrize("name", CASES)
def test_the_stages_of_algorithm_1(name: str) -> None:
    assert walk(CASES[name]) == CASES[name].path
