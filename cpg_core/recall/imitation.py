"""What a pretrained network answers to unlabelled images: the labels of the task that it is without its own data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from cpg_core import backbones
from cpg_core.config.backbone import BackboneSpec
from cpg_core.data.batches import counted, eval_batches
from cpg_core.data.fields import MeanStd
from cpg_core.data.reading.listing import Listing
from cpg_core.data.reading.load import streams
from cpg_core.data.reading.reading import Progress, Wanted, read_rows, silent
from cpg_core.data.reading.resize import Resize
from cpg_core.data.sources.imitation import Answers, ImitationSource, names_in, unlabelled
from cpg_core.data.spec import TaskSpec
from cpg_core.errors import CpgError
from cpg_core.model.layers import Layers
from cpg_core.model.network import build
from cpg_core.stages.importing.import_weights import network_tensors, published
from cpg_core.storage.files import hash_of, write_bytes
from cpg_core.training.evaluation import eval_mode

BATCH = 64
FEWEST = 20
"""Images: half of them to train on, a quarter to decide by, a quarter to test."""
SHORT = 12
"""Digits of a digest in a file's name."""


def with_answers(
    task: TaskSpec, spec: BackboneSpec, base_width: float, seed: int, folder: Path, progress: Progress = silent
) -> TaskSpec:
    """A task that imitates a pretrained network, with the file of what that answers; any other task as it is.

    The file is written unless it is there, with answers of the same network to the same images.

    Args:
        task: the first of a run.
        spec: a backbone with weights and their SHA-256.
        base_width: of its channels.
        seed: draws which images are learned from and which judge.
        folder: where the file lies.
        progress: told as images are read.

    Raises:
        CpgError: the backbone has no weights, the task does not say how images are normalised, or they are too few.
    """
    source = task.source
    if not isinstance(source, ImitationSource) or source.answers is not None:
        return task
    if spec.weights is None or not isinstance(task.normalise, MeanStd):
        raise CpgError(
            f"task '{task.name}': it imitates a pretrained network; give the backbone its `weights`, and the task "
            "their normalise: {mean: [...], std: [...]}"
        )
    images = unlabelled(source.images)
    names, version = names_in(images, source.images), images.version(np.arange(len(images.labels)))
    file = (folder / f"answers-{_digest(task, spec, base_width, seed)}.json").resolve()
    known = _known(file)
    if known and known.names and known.names != names:  # another run may rest on those
        file = file.with_stem(f"{file.stem}-{_short(names)}")
        known = _known(file)
    if not version or known is None or known.version != version:
        tensors = network_tensors(spec, base_width)
        classes = task.classes or class_names(spec, len(tensors["head.weight"]))
        how = task.normalise, task.augment.resize
        found = answers_of(spec, base_width, tensors, images, classes, *how, seed, progress)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, found.model_copy(update={"names": names, "version": version}).model_dump_json().encode())
    return task.model_copy(update={"source": source.model_copy(update={"answers": file})})


def class_names(spec: BackboneSpec, count: int) -> tuple[str, ...]:
    """Of the `count` outputs of a backbone's weights: as they were published, or numbers."""
    if spec.weights in backbones.find(spec.name).weights():
        names = published(spec).classes
        return tuple(name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names))
    return tuple(str(place) for place in range(count))


def answers_of(
    spec: BackboneSpec,
    base_width: float,
    tensors: Layers,
    images: Listing,
    classes: tuple[str, ...],
    normalise: MeanStd,
    resize: Resize,
    seed: int,
    progress: Progress = silent,
) -> Answers:
    """The answers of a backbone's weights. Half of the images, drawn by the seed, are to train on, half to judge by:
    one half of these decides, the other is read once, as a test split is.

    Args:
        spec: a backbone with weights.
        base_width: of its channels.
        tensors: of its network, from its weight file.
        images: without labels.
        classes: the network's outputs.
        normalise: how the network's images were.
        resize: how they become square, as the task's will.
        seed: draws the halves.
        progress: told as images are read, and once more as they are answered to.

    Raises:
        CpgError: there are too few images, or one of them cannot be read.
    """
    count = len(images.labels)
    if count < FEWEST:
        raise CpgError(f"{images.where}: {count} image(s); give {FEWEST} or more, half of which judge the network")
    takes = backbones.input_of(spec)
    network = build(spec, base_width, len(classes))
    network.load_state_dict(tensors)
    network.place(torch.device("cpu"), "float32")
    wanted = Wanted(takes.channels, takes.size, progress=progress, resize=resize)
    none = np.zeros(count, dtype=np.int64)
    # Of images that are no files, half, which is trained on, must fit in memory anyway; else nothing is decoded.
    streamed = streams(images, count if images.files else count // 2, wanted)
    split = read_rows(images, "train", np.arange(count), none, wanted, streams=streamed).split
    mean, std = torch.tensor(normalise.mean), torch.tensor(normalise.std)
    with eval_mode(network), torch.no_grad():
        batches = counted(eval_batches(split, mean, std, BATCH, "cpu"), count, progress)
        labels = torch.cat([network(batch).argmax(dim=1) for batch, _ in batches]).numpy()
    order = np.random.default_rng(seed).permutation(count)
    cuts = np.split(order, [count // 2, count // 2 + count // 4])
    parts = {part: np.sort(rows) for part, rows in zip(("train", "val", "test"), cuts, strict=True)}
    return Answers.model_validate(
        {
            "classes": classes,
            "rows": {part: rows.tolist() for part, rows in parts.items()},
            "labels": {part: labels[rows].tolist() for part, rows in parts.items()},
        }
    )


def _digest(task: TaskSpec, spec: BackboneSpec, base_width: float, seed: int) -> str:
    """Of all that the answers to the same images depend on."""
    said = task.model_dump(mode="json", include={"source", "normalise", "classes"})
    squashed = [] if task.augment.resize == "crop" else [task.augment.resize]
    return _short([said, spec.model_dump(mode="json"), base_width, seed, *squashed])


def _short(content: object) -> str:
    return hash_of(content)[:SHORT]


def _known(file: Path) -> Answers | None:
    """None where there are no answers."""
    try:
        return Answers.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
