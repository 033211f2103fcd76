"""From `cpg import` to the run that it means: a pretrained network as task 1, without the data it was trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cpg_core import backbones
from cpg_core.config.backbone import BackboneSpec, is_file
from cpg_core.config.schema import check
from cpg_core.config.settings import load_settings
from cpg_core.data.fields import MeanStd
from cpg_core.data.reading.reading import Progress
from cpg_core.data.sources.imitation import ImitationSource
from cpg_core.data.spec import TaskSpec
from cpg_core.errors import CpgError
from cpg_core.machine import git_commit, versions
from cpg_core.methods import find as find_method
from cpg_core.recall.imitation import with_answers
from cpg_core.stages.backbone_rules import require_fit
from cpg_core.stages.importing.import_weights import checked, network_tensors, published
from cpg_core.storage.run import Run
from cpg_core.storage.run_spec import RunSpec
from cpg_core.storage.runs import checked_name
from flows.parameters import ANSWERS, IMPORT_PROFILE, PARAMS, with_home
from flows.request import definitions, resolved_task
from flows.versioning.dvc_pointers import open_or_new_checked

LEAST, ALL, DECIMALS = 0.05, 1.0, 6
OPTIMIZER, LR = {"kind": "adamw", "momentum": 0.9, "weight_decay": 0.0}, 1.0e-4
"""Of the recovery, unless the command says others: at the rates of a task that learns, a network is lost."""
PUBLISHED_WIDTH = "base_width=1.0"
"""That of weight files, unless the command says another."""
RESERVE = "grow.reserve_x=1.0"
"""Of what the pretrained network releases, each task that is added leaves half: nobody knows yet how many follow."""


@dataclass(frozen=True)
class ImportRequest:
    """The options of `cpg import`.

    Attributes:
        backbone: its name.
        weights: a name, a file, or `hf://OWNER/NAME/FILE`.
        images: a folder of images, at any depth, or of parquet files with a column `image`; None: none are needed
            where all weights are kept.
        run: the name of the run.
        keep: share of the shared weights that the network keeps.
        size: pixels a side; None: the backbone's.
        classes: a file with a class name a line; None: as the weights are described, or numbers.
        mean: of pixels in [0, 1], a channel each; empty: as the weights are described. `std` likewise.
    """

    backbone: str
    weights: str
    images: Path | None
    run: str
    keep: float
    size: int | None = None
    classes: Path | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    method: str = "cpg"
    profile: str = IMPORT_PROFILE
    seed: int = 1
    overrides: tuple[str, ...] = ()


def imported(request: ImportRequest, root: Path, progress: Progress) -> Run:
    """The run that a request means, new or gone on with. Only the network's answers to the images are written.

    Raises:
        CpgError: something asked for does not exist or is out of range, or the weights do not fit.
    """
    request = replace(request, keep=round(request.keep, DECIMALS))
    if not LEAST <= request.keep <= ALL:
        raise CpgError(f"--keep {request.keep:g}: expected a share of the weights from {LEAST:g} to {ALL:g}")
    if request.images is None and request.keep < ALL:
        raise CpgError(
            f"--keep {request.keep:g}: the weights that are kept recover on images; give --images FOLDER, or --keep 1"
        )
    prune = _pruning(request)
    home, method = definitions(root), find_method(request.method)
    overrides = (PUBLISHED_WIDTH, *((RESERVE,) if request.keep < ALL else ()), *request.overrides)
    settings = load_settings(home / PARAMS, request.profile, overrides, method.name)
    if (least := settings.prune.min_sparsity) > ALL - request.keep:
        raise CpgError(
            f"--keep {request.keep:g}: profile {request.profile} releases at least {least:g} of the weights of every "
            f"task (prune.min_sparsity); keep {ALL - least:g} at most, take another --profile, or --set "
            "prune.min_sparsity=0"
        )
    if request.keep == ALL and settings.grow.reserve_x > 0:
        raise CpgError(
            f"--keep 1: every task leaves weights to later ones (grow.reserve_x is {settings.grow.reserve_x:g}); keep "
            "less, or --set grow.reserve_x=0"
        )
    weights = str(with_home(request.weights).resolve()) if is_file(request.weights) else request.weights
    said = {"name": request.backbone, "size": request.size, "weights": weights}
    spec = check(said, BackboneSpec, "cpg import")
    _need_classes_to_imitate(spec)
    require_fit(method, spec, settings)
    spec = checked(spec, settings.base_width)
    mean, std = _normalised(request, spec)
    images = None if request.images is None else with_home(request.images).resolve()
    classes = None
    if request.classes is not None:
        classes = _named(request.classes, len(network_tensors(spec, settings.base_width)["head.weight"]))
    task = TaskSpec(
        name=request.backbone.rpartition("/")[2],
        source=check({"kind": "imitation", "images": images}, ImitationSource, "cpg import"),
        classes=classes,
        normalise=check({"mean": mean, "std": std}, MeanStd, "cpg import"),
        settings=prune,
    )
    task = with_answers(task, spec, settings.base_width, request.seed, root / ANSWERS, progress)
    made = RunSpec(
        name=checked_name(request.run),
        sequence="imported",
        ordering="0",
        method=method.name,
        backbone=spec,
        profile=request.profile,
        seed=request.seed,
        goals={task.name: 0.0},
        settings=settings,
        tasks=(resolved_task(task, settings, request.overrides, "cpg import"),),
        versions=versions(),
        git_commit=git_commit(home),
    )
    return open_or_new_checked(root, made)


def _need_classes_to_imitate(spec: BackboneSpec) -> None:
    """Refuse a network whose published weights answer with no class.

    Raises:
        CpgError: it is one for another kind of task.
    """
    head = backbones.find(spec.name).head
    if head is not None and head.kind != "classification":
        raise CpgError(
            f"cpg import: backbone {spec.name}: its published network does {head.kind}, and has no classes that what "
            f"is kept could imitate; begin a sequence with it, whose task 1 is that {head.kind}: backbone: {{name: "
            f"{spec.name}, weights: {spec.weights}}}"
        )


def _pruning(request: ImportRequest) -> dict[str, Any]:
    """The settings of the task that say which share of the weights it keeps, whichever method prunes it.

    Raises:
        CpgError: the method cannot keep that share.
    """
    share = round(ALL - request.keep, DECIMALS) if request.keep < ALL else None
    settings = find_method(request.method).pruning.settings_for(share, LR)
    if settings is not None:
        return settings if share is None else {"optimizer": OPTIMIZER, **settings}
    if share is None:
        raise CpgError(f"--keep 1: method {request.method} prunes every task; keep less, or take another --method")
    raise CpgError(f"--keep {request.keep:g}: method {request.method} prunes nothing; expected --keep 1")


def _normalised(request: ImportRequest, spec: BackboneSpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of a channel each: as asked for, or as the weights are described."""
    channels = backbones.input_of(spec).channels
    if not request.mean and not request.std and spec.weights in backbones.find(spec.name).weights():
        known = published(spec)
        return known.mean, known.std
    for option, given in (("--mean", request.mean), ("--std", request.std)):
        if len(given) != channels:
            raise CpgError(
                f"{option}: expected {channels} numbers for pixels in [0, 1], as the network was trained with; for "
                "ImageNet they are mostly --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"
            )
    return request.mean, request.std


def _named(file: Path, count: int) -> tuple[str, ...]:
    """The names of the network's `count` outputs, a line each."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CpgError(f"{file}: cannot be read as UTF-8 text; expected a class name a line") from error
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(names) != count or len(set(names)) != count:
        raise CpgError(f"{file}: {len(set(names))} class names, and the network has {count} outputs")
    return names
