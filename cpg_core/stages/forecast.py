"""How long the tasks that are left can take at the most, and how many bytes: from a measured training step.

The stages of a task are those of the longest way through Algorithm 1. A step of a wider network is taken to be dearer
in proportion to its shared weights, an image that is evaluated as dear as one that is trained on, and a later task to
have as many images as this one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from cpg_core.model.network import build, private_tensors, width
from cpg_core.stages.context import Method, TaskContext
from cpg_core.stages.next_stage import next_stage
from cpg_core.stages.request import Request, Rules
from cpg_core.storage.records import StageRecord

ENTRY_BYTES = 256
"""Of a tensor in a file's header, its shape elsewhere included: more than any takes."""
TENSORS_A_LAYER = 6
LONG_SECONDS = 600.0
"""Of less nothing is told."""


@dataclass(frozen=True)
class Forecast:
    """Of the tasks that are left, at the most.

    Attributes:
        images: passes of an image through the network at the budget that was measured, training or evaluation.
        bytes: of their deltas.
        tasks: how many they are.
    """

    images: float
    bytes: int
    tasks: int


def longest_way(method: Method, rules: Rules) -> list[Request]:
    """The stages of a task if each decision is the one that asks for the most of them."""
    ways = (_way(method, rules, met=True), _way(method, rules, met=False))
    return max(ways, key=lambda way: sum(_epochs(method, rules, request) * request.budget_x for request in way))


def forecast(context: TaskContext) -> Forecast | None:
    """What this task and those after it take at the most; None where later steps cost more than those measured."""
    method, run, data = context.method, context.run, context.data
    if not method.steps_alike:
        return None
    rules, images, deltas = context.rules, 0.0, 0
    decides = len(data.deciding(context.settings.goal_split))
    last = len(run.spec.tasks)
    for index in range(context.index, last + 1):
        imports = rules.imports and index == context.index
        rules = replace(rules, settings=run.settings(index), index=index, tasks_left=last - index, imports=imports)
        way = longest_way(method, rules)
        for request in way:
            seen = _epochs(method, rules, request) * (len(data.train) + decides) + decides
            images += seen * request.budget_x / context.before.budget_x
        images += len(data.test)
        rules = replace(rules, budget_x=max(request.budget_x for request in way))
    for index in range(context.index, last + 1):
        deltas += _most_bytes(context, rules.budget_x, index)
    if not (method.independent or method.overwrites):
        deltas += 4 * _weights(context, rules.budget_x)  # each weight has one owner
    return Forecast(images, deltas, last - context.index + 1)


def forecast_line(found: Forecast, seconds_an_image: float, task: str) -> str | None:
    """`about 3 h 20 min for 6 tasks at most, 45 MB`; None of what is soon over."""
    seconds = found.images * seconds_an_image
    if seconds < LONG_SECONDS:
        return None
    tasks = "1 task" if found.tasks == 1 else f"{found.tasks} tasks"
    alike = "" if found.tasks == 1 else f", if each has as many images as {task}"
    return f"about {_duration(seconds)} for {tasks} at most, {max(1, round(found.bytes / 2**20)):,} MB{alike}"


def _way(method: Method, rules: Rules, *, met: bool) -> list[Request]:
    """With every goal missed as long as the network can grow, and `met` or missed after that."""
    done: list[StageRecord] = []
    way: list[Request] = []
    while (request := next_stage(method, done, rules)) is not None:
        way.append(request)
        record = StageRecord(
            number=request.number,
            stage=request.stage,
            source=request.source,
            budget_x=request.budget_x,
            target=request.target,
            met=request.stage != "check",
            gate=True,
            kept=True,
            own=1,
            key="",
        )
        if request.stage == "check" and method.growth.on_miss(record, rules) is None:
            record = record.model_copy(update={"met": met})
        done.append(record)
    return way


def _epochs(method: Method, rules: Rules, request: Request) -> int:
    return method.epochs(request.stage, rules.settings)


def _weights(context: TaskContext, budget_x: float) -> int:
    return sum(shape.numel() for shape in context.run.shapes(budget_x).values())


def _most_bytes(context: TaskContext, budget_x: float, index: int) -> int:
    """Of one task's delta, without the weights that tasks share out among them."""
    spec, method = context.run.spec, context.method
    classes = len(spec.tasks[index - 1].classes or context.data.classes)
    with torch.device("meta"):
        at = width(spec.settings.base_width, budget_x)
        network = build(spec.backbone, at, classes, objective=context.objective)
    private, layers = private_tensors(network).values(), context.run.shapes(budget_x)
    weights = _weights(context, budget_x)
    values = 4 * weights if method.independent or method.overwrites else 0
    header = ENTRY_BYTES * (len(private) + TENSORS_A_LAYER * len(layers))
    return values + weights // 8 + sum(tensor.nbytes for tensor in private) + 8 * 4 * classes + header


def _duration(seconds: float) -> str:
    """Rounded up to a minute."""
    minutes = -int(-seconds // 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
