"""From what was asked for, by the command line or a deployment, to the run that it means."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from cpg_core import backbones
from cpg_core.backbones.parts.imagenet import MEAN, STD
from cpg_core.config.backbone import BackboneSpec
from cpg_core.config.goals import resolve as resolve_goals
from cpg_core.config.profiles import overridden
from cpg_core.config.settings import Settings, load_settings
from cpg_core.config.task_settings import resolved, without
from cpg_core.data.fields import MeanStd
from cpg_core.data.spec import SequenceSpec, TaskSpec, load_sequence, load_task, select
from cpg_core.errors import CpgError
from cpg_core.machine import git_commit, versions
from cpg_core.methods import find as find_method
from cpg_core.recall.imitation import with_answers
from cpg_core.stages.backbone_rules import require_fit
from cpg_core.stages.importing.import_weights import checked
from cpg_core.storage.differences import with_moved_images
from cpg_core.storage.run import Run
from cpg_core.storage.run_spec import RunSpec
from cpg_core.storage.runs import checked_name, extend, open_run, without_unfinished
from flows.parameters import ANSWERS, PARAMS, with_home
from flows.versioning.dvc_pointers import open_or_new_checked, require_here
from flows.versioning.pipelines import makes_goals

OPTIONS = ("seed", "method", "ordering", "tasks", "profile", "run")
"""What is chosen beside the settings."""

COMPUTED_GOALS = ("avg", "max", "top")
"""Of models learned apart, by the pipeline: `results/<profile>/goals/<name>.json`."""


@dataclass(frozen=True)
class SequenceRequest:
    """A sequence to learn: the options of `cpg run`, which are the parameters of the flow."""

    sequence: str
    method: str = "cpg"
    goal: float | str | None = None
    profile: str | None = None
    ordering: int | str = "0"
    tasks: int | str | None = None
    seed: int = 1
    run: str | None = None
    overrides: tuple[str, ...] = ()


def resolve(request: SequenceRequest, root: Path) -> RunSpec:
    """The run that a request means, complete. Of a task that imitates a network, its answers are written.

    Raises:
        CpgError: something asked for does not exist or is out of range.
    """
    _no_options(request.overrides)
    home = definitions(root)
    sequence = load_sequence(str(with_home(request.sequence)), home / "data")
    method = find_method(request.method)
    profile = sequence.profile if request.profile is None else request.profile
    # A goal given apart is one more override, so that the settings of a run always tell the goal it had.
    goal = () if request.goal is None else (f"goal={_goal_text(request.goal)}",)
    settings = load_settings(home / PARAMS, profile, (*request.overrides, *goal), method.name)
    require_fit(method, sequence.backbone, settings)
    ordering = _ordering(request.ordering, sequence)
    chosen = select(sequence, None if request.tasks is None else str(request.tasks), ordering)
    # What the command says of a setting or the goal, it says for all tasks.
    for_all = (*request.overrides, *goal)
    backbone = with_weights(sequence.backbone, settings, chosen[0])
    first = with_answers(chosen[0], backbone, settings.base_width, request.seed, root / ANSWERS)
    own = [resolved_task(task, settings, for_all, f"sequence '{sequence.name}'") for task in (first, *chosen[1:])]
    given = {task.name: task.goal for task in chosen if task.goal is not None and not _says_goal(for_all)}
    goals = resolve_goals(_goal(settings.goal, root, profile), [task.name for task in chosen if task.name not in given])
    return RunSpec(
        name=_name(request, sequence.name, ordering, settings, profile)
        if request.run is None
        else checked_name(request.run),
        sequence=sequence.name,
        ordering=ordering,
        method=method.name,
        backbone=backbone,
        profile=profile,
        seed=request.seed,
        goals={task.name: (goals | given)[task.name] for task in chosen},
        settings=settings,
        tasks=tuple(own),
        versions=versions(),
        git_commit=git_commit(home),
    )


def with_weights(backbone: BackboneSpec, settings: Settings, first: TaskSpec) -> BackboneSpec:
    """A backbone with the digest of its weight file, if it begins from one, which is read and compared with it.

    Raises:
        CpgError: the file does not fit, or task 1 does not say how its images were normalised.
    """
    if backbone.weights is not None and not isinstance(first.normalise, MeanStd):
        head = backbones.find(backbone.name).head
        of_classes = head is None or head.kind == "classification"
        imagenet = f"; those of ImageNet are mostly {{mean: {list(MEAN)}, std: {list(STD)}}}" if of_classes else ""
        raise CpgError(
            f"task '{first.name}': it is a pretrained network, which expects images as those it was trained on: "
            f"normalise: {{mean: [...], std: [...]}} of its weights{imagenet}"
        )
    return checked(backbone, settings.base_width, first)


def run_of_request(request: SequenceRequest, root: Path) -> Run:
    """The run that a request means, new or gone on with. Nothing is written before it is learned.

    Raises:
        CpgError: the request is wrong, its run's folder holds another run, or that run is not all on this disk.
    """
    return open_or_new_checked(root, resolve(request, root))


def run_with_added_task(root: Path, name: str, task_file: Path, goal: float | str | None) -> Run:
    """A run with one more task at its end, the same again if that task is there already. As `run_of_request`.

    Images of a frozen task may have moved since. A task that was added and not learned to its end gives its place to
    this one, which may be the same, corrected. Unless it says otherwise, its images are normalised as those that a
    pretrained network was trained on.

    Raises:
        CpgError: there is no such run or task file, the run is not finished or not all on this disk, or the goal is
            out of range.
    """
    require_here(root, name)
    run, read = open_run(root, name), load_task(task_file)
    _need_allowed_name(run)
    known = normalise_of_weights(run.spec)
    if known is not None and "normalise" not in read.model_fields_set:
        read = read.model_copy(update={"normalise": known})
    task = resolved_task(read, run.spec.settings, (), str(task_file))
    least = _goal_of_added(read, goal, run, root, task_file)
    spec = run.spec
    others_frozen = run.frozen() >= len(spec.tasks) - 1
    if others_frozen and spec.tasks[-1:] == (task,) and spec.goals[task.name] == least:
        return run
    if task.name in spec.goals and run.frozen() == len(spec.tasks):
        return with_moved_images(run, task, least)
    return extend(without_unfinished(run), task, least)


def _need_allowed_name(run: Run) -> None:
    """Refuse a run whose folder somebody gave a name that MLflow and other systems do not take."""
    try:
        checked_name(run.folder.name)
    except CpgError as error:
        raise CpgError(f"{error}; first: cpg rename {shlex.quote(run.folder.name)} NEW") from error


def normalise_of_weights(spec: RunSpec) -> MeanStd | None:
    """How the images were normalised that the pretrained network of a run was trained on; None: it began from none.

    Its task says so, which is task 1. Once that is forgotten, so do the published weights; of a file of weights the
    tasks that were added do, which are normalised alike unless they say otherwise.
    """
    if spec.backbone.weights is None:
        return None
    told = [task.normalise for task in spec.tasks if isinstance(task.normalise, MeanStd)]
    if any(gone.index == 1 for gone in spec.forgotten):
        published = backbones.find(spec.backbone.name).weights().get(spec.backbone.weights)
        if published is not None:
            return MeanStd(mean=published.mean, std=published.std)
    return told[0] if told else None


def resolved_task(task: TaskSpec, settings: Settings, for_all: tuple[str, ...], where: str) -> TaskSpec:
    """A task as `run.json` holds it: its own settings as their types write them, its goal among the run's goals.

    Args:
        task: as it was read.
        settings: of its run.
        for_all: `prune.lr=0.001` strings, which hold whatever a task says.
        where: it was read from.

    Raises:
        CpgError: with a line for each of its own settings that is wrong.
    """
    own = resolved(settings, without(task.settings, for_all, settings), f"{where}: task '{task.name}': settings")
    return task.model_copy(update={"settings": own, "goal": None})


def _says_goal(overrides: tuple[str, ...]) -> bool:
    return any(overridden(override) == "goal" for override in overrides)


def _no_options(overrides: tuple[str, ...]) -> None:
    """Refuse an override that is no setting but an option of its own."""
    for override in overrides:
        if (name := overridden(override)) in OPTIONS:
            value = override.partition("=")[2].strip()
            raise CpgError(f"--set {override}: {name} is no setting but an option of its own: --{name} {value}")


def _name(request: SequenceRequest, sequence: str, ordering: str, settings: Settings, profile: str) -> str:
    goal = Path(settings.goal).stem if isinstance(settings.goal, str) else f"{settings.goal:g}"
    name = f"{sequence}-{request.method}-{goal}-{profile}-o{ordering}-s{request.seed}"
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)


def definitions(root: Path) -> Path:
    """Where `params.yaml` and `data/` are: in the root, or here if the root is only a place for results.

    Raises:
        CpgError: in neither.
    """
    places = (root, Path())
    for place in places:
        if (place / PARAMS).is_file():
            return place
    looked = " or ".join(dict.fromkeys(str(place.resolve()) for place in places))
    raise CpgError(
        f"there is no {PARAMS} in {looked}: cpg reads the sequences and settings of a project from its folder; "
        "cd to the project, or name it: --root FOLDER"
    )


def _goal(goal: float | str, root: Path, profile: str) -> float | str:
    """A goal that the pipeline computes has its place; a file of a profile lies beside `params.yaml`.

    One of the command line may lie anywhere.
    """
    if not isinstance(goal, str):
        return goal
    if goal in COMPUTED_GOALS:
        home = definitions(root)
        computed = home / "results" / profile / "goals" / f"{goal}.json"
        if not computed.is_file():
            raise CpgError(f"goal {goal!r}: {computed} is not there{_how_to_compute(home, profile)}")
        return str(computed)
    given = _goal_text(goal)
    beside = (root if (root / PARAMS).is_file() else Path()) / given
    return str(beside) if beside.is_file() else given


def _how_to_compute(home: Path, profile: str) -> str:
    """The end of a sentence that says that a goal is missing."""
    if command := makes_goals(home, profile):
        return f" yet; the pipeline computes it: {command}"
    return f", and no pipeline computes goals for profile '{profile}'; give a number, or a file with one for each task"


def _goal_of_added(task: TaskSpec, goal: float | str | None, run: Run, root: Path, task_file: Path) -> float:
    """Of a task at the end of a run: as the command gives it, or its file; else that of the run's other tasks.

    Raises:
        CpgError: it is out of range, or those of the run are of a file that has none for it.
    """
    given = task.goal if goal is None else goal
    wanted = run.spec.settings.goal if given is None else given
    try:
        return resolve_goals(_goal(wanted, root, run.spec.profile), [task.name])[task.name]
    except CpgError as error:
        if given is not None:
            raise
        raise CpgError(
            f"task '{task.name}' needs a goal of its own, since those of run {run.spec.name} are of {wanted!r}: give "
            f"--goal NUMBER, or `goal: NUMBER` in {task_file}"
        ) from error


def _goal_text(goal: float | str) -> str:
    """A number as its text; a file as of `with_home`, so that `./goals.yaml` and `goals.yaml` are the same."""
    return str(with_home(goal)) if isinstance(goal, str) and goal else str(goal)


def _ordering(named: int | str, sequence: SequenceSpec) -> str:
    """`default` is the order as written, unless the sequence has one of that name."""
    return "0" if named == "default" and named not in sequence.orderings else str(named)
