"""From `cpg import` to the run that it means: a pretrained network as task 1, without the data it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cpg_core import backbones
from cpg_core.config.backbone import BackboneSpec, is_file
from cpg_core.config.settings import load_settings
from cpg_core.data.fields import MeanStd
from cpg_core.data.reading import Progress
from cpg_core.data.sources.imitation import ImitationSource, unlabelled
from cpg_core.data.spec import TaskSpec
from cpg_core.errors import CpgError
from cpg_core.machine import git_commit, versions
from cpg_core.methods import find as find_method
from cpg_core.recall.imitation import answers_of
from cpg_core.stages.backbone_rules import require_fit
from cpg_core.stages.import_weights import checked, network_tensors, published
from cpg_core.storage.files import write_bytes
from cpg_core.storage.run import Run, RunSpec
from cpg_core.storage.runs import checked_name
from flows.parameters import PARAMS
from flows.request import definitions, resolved_task
from flows.versioning.dvc_pointers import begin_here

ANSWERS = Path("data/prepared")
LEAST, BELOW = 0.05, 1.0
PUBLISHED_WIDTH = "base_width=1.0"
"""That of weight files, unless the command says another."""


@dataclass(frozen=True)
class ImportRequest:
    """The options of `cpg import`.

    Attributes:
        backbone: its name.
        weights: a name, a file, or `hf://OWNER/NAME/FILE`.
        images: a folder of images, at any depth, or of parquet files with a column `image`.
        run: the name of the run.
        keep: share of the shared weights that the network keeps.
        size: pixels a side; None: the backbone's.
        classes: a file with a class name a line; None: as the weights are described, or numbers.
        mean: of pixels in [0, 1], a channel each; empty: as the weights are described. `std` likewise.
    """

    backbone: str
    weights: str
    images: Path
    run: str
    keep: float
    size: int | None = None
    classes: Path | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    method: str = "cpg"
    profile: str = "cpu"
    seed: int = 1
    overrides: tuple[str, ...] = ()


def imported(request: ImportRequest, root: Path, progress: Progress) -> Run:
    """The run that a request means, new or gone on with. Only the network's answers to the images are written.

    Raises:
        CpgError: something asked for does not exist or is out of range, or the weights do not fit.
    """
    if not LEAST <= request.keep < BELOW:
        raise CpgError(f"--keep {request.keep:g}: expected a share of the weights from {LEAST:g} to below {BELOW:g}")
    home, method = definitions(root), find_method(request.method)
    overrides = (PUBLISHED_WIDTH, *request.overrides)
    settings = load_settings(home / PARAMS, request.profile, overrides, method.name)
    weights = str(Path(request.weights).expanduser().resolve()) if is_file(request.weights) else request.weights
    spec = BackboneSpec(name=request.backbone, size=request.size, weights=weights)
    require_fit(method, spec, settings)
    spec = checked(spec, settings.base_width)
    mean, std = _normalised(request, spec)
    file = (root / ANSWERS / f"{checked_name(request.run)}-answers.json").resolve()
    images = request.images.expanduser().resolve()
    width, tensors = settings.base_width, network_tensors(spec, settings.base_width)
    classes = _classes(request, spec, len(tensors["head.weight"]))
    found = answers_of(spec, width, tensors, unlabelled(images), classes, mean, std, request.seed, progress)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(file, found.model_dump_json().encode())
    task = TaskSpec(
        name=request.backbone.rpartition("/")[2],
        source=ImitationSource(kind="imitation", images=images, answers=file),
        normalise=MeanStd(mean=mean, std=std),
        settings={"prune": {"share": round(1 - request.keep, 6)}},
    )
    made = RunSpec(
        name=request.run,
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
    return begin_here(root, made)


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


def _classes(request: ImportRequest, spec: BackboneSpec, count: int) -> tuple[str, ...]:
    """The names of the network's `count` outputs."""
    if request.classes is not None:
        try:
            names = tuple(line.strip() for line in request.classes.read_text().splitlines() if line.strip())
        except (OSError, UnicodeDecodeError) as error:
            raise CpgError(f"{request.classes}: cannot be read as text; expected a class name a line") from error
        if len(names) != count or len(set(names)) != count:
            raise CpgError(f"{request.classes}: {len(set(names))} class names, and the network has {count} outputs")
        return names
    if spec.weights in backbones.find(spec.name).weights():
        names = published(spec).classes
        return tuple(name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names))
    return tuple(str(place) for place in range(count))
