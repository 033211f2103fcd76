"""The images of a sequence: fetched if need be, read and checked, and told by their number and digest."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from cpg_core.backbones import Input, input_of
from cpg_core.config.settings import load_settings
from cpg_core.data.reading.reading import Progress
from cpg_core.data.spec import SequenceSpec, TaskSpec, load_sequence
from cpg_core.data.task import load_task_data
from cpg_core.recall.imitation import with_answers
from cpg_core.stages.importing.import_weights import checked
from cpg_core.storage.files import write_json
from flows.parameters import ANSWERS, PARAMS
from flows.versioning.sync import version_data

FIRST_SEED = 1

Manifest = dict[str, dict[str, object]]
"""By task: its classes, how many images it trains, tests and (if they are a part of their own) validates on, and the
SHA-256 of all of them. Of a task that is tested on pairs only how many people there are: git has this file, and is to
have no name of a person."""


Reading = Callable[[str, int, int], object]
"""Told that so many of the images of a task are read, of how many."""


def nobody(task: str, done: int, total: int) -> None:
    """Tells nobody."""


def prepare(sequence: str, home: Path, root: Path, note: Callable[[str], None], reading: Reading = nobody) -> Path:
    """Fetch and check the images of a sequence, put what was downloaded under DVC, and write the manifest.

    Args:
        sequence: a sequence's name, or the path of its YAML file.
        home: the folder of the sequences.
        root: the folder of results; the manifest goes to `data/prepared` in it.
        note: told what is taken of each task's images and what is left out, and if DVC cannot be used.
        reading: told as images are read.

    Returns:
        The file written. It changes only if the images do, so a pipeline may depend on it.

    Raises:
        CpgError: as `manifest`.
    """
    content = manifest(sequence, home, note, reading)
    version_images(sequence, home, root, note)
    file = root / "data" / "prepared" / f"{load_sequence(sequence, home).name}.json"
    write_json(file, dict(content))
    return file


def version_images(sequence: str, home: Path, root: Path, note: Callable[[str], None]) -> None:
    """Put what a sequence reads from `data/raw` under DVC. What lies elsewhere stays there, and is not copied."""
    tasks = load_sequence(sequence, home).tasks
    sources = {task.source.model_dump_json(): task.source for task in tasks}
    places = [source.location() for source in sources.values()]
    places += [place for task in tasks if task.pairs is not None for place in task.pairs.places]
    version_data(root, [place for place in places if place is not None], note)


def manifest(sequence: str, definitions: Path, note: Callable[[str], None], reading: Reading = nobody) -> Manifest:
    """What a sequence's images are. It names no place, so that it is the same wherever they lie.

    Args:
        sequence: a sequence's name, or the path of its YAML file.
        definitions: the folder of the sequences.
        note, reading: as of `prepare`.

    Raises:
        CpgError: the sequence, one of its sources or an image is missing or wrong.
    """
    found = load_sequence(sequence, definitions)
    takes = input_of(found.backbone)
    told = set[str]()

    def note_once(line: str) -> None:  # tasks may share a source
        if line not in told:
            note(line)
        told.add(line)

    tasks = (_imitating(found, definitions, partial(reading, found.tasks[0].name)), *found.tasks[1:])
    images = {task.name: _images(task, takes, note_once, partial(reading, task.name)) for task in tasks}
    note("of the images to train a run holds out its validation images: val_fraction of its profile")
    return images


def _imitating(sequence: SequenceSpec, definitions: Path, progress: Progress) -> TaskSpec:
    """The first task; where it imitates a pretrained network, with the answers of a run of the first seed."""
    first, backbone = sequence.tasks[0], sequence.backbone
    if backbone.weights is None:
        return first
    base_width = load_settings(definitions.parent / PARAMS, sequence.profile).base_width
    folder = definitions.parent / ANSWERS
    return with_answers(first, checked(backbone, base_width, first), base_width, FIRST_SEED, folder, progress)


def _images(task: TaskSpec, takes: Input, note: Callable[[str], None], progress: Progress) -> dict[str, object]:
    # No validation split is held out: which images that takes depends on the settings of a run.
    whole = task.model_copy(update={"validation": None})
    data = load_task_data(
        whole, image_size=takes.size, channels=takes.channels, val_fraction=0, seed=0, progress=progress
    )
    for line in data.summary.lines():
        note(line)
    counts = {"train": len(data.train), "test": len(data.test)}
    if task.source.has_val:
        counts["val"] = len(data.val)
    classes: int | list[str] = list(data.classes) if task.pairs is None else len(data.classes)
    return {"classes": classes, **counts, "sha256": data.digest}
