"""What a task says of image files: found, read ahead in threads, and answered batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cpg_core.backbones import Input
from cpg_core.data.reading.decode import Unreadable, decode, is_image
from cpg_core.data.reading.hidden import walk
from cpg_core.data.reading.prefetch import ahead
from cpg_core.data.reading.reading import Progress, silent
from cpg_core.data.reading.resize import Resize, fit
from cpg_core.errors import CpgError
from cpg_core.recall.predictor import Serving


class Found(NamedTuple):
    """Image files, and what is wrong with the places where there are none."""

    files: tuple[Path, ...]
    problems: tuple[CpgError, ...] = ()


class Answered(NamedTuple):
    """An image file and the likeliest classes with their probabilities, likeliest first."""

    file: Path
    likeliest: list[tuple[str, float]]


def find(places: Iterable[Path]) -> Found:
    """The files that are named, and of each folder the images in it at any depth, by their paths; none hidden."""
    files, problems = list[Path](), list[CpgError]()
    for place in places:
        try:
            is_folder = place.is_dir()
        except OSError as error:
            problems.append(CpgError(f"{place}: cannot be read ({error.strerror})"))
            continue
        if not is_folder:
            files.append(place)
            continue
        inside, wrong = _inside(place)
        files += inside
        problems += wrong
        if not inside and not wrong:
            problems.append(CpgError(f"{place}: there are no images in this folder"))
    return Found(tuple(files), tuple(problems))


def answers(
    serving: Serving, task: str, files: tuple[Path, ...], top: int = 1, progress: Progress = silent
) -> Iterator[Answered | Unreadable]:
    """What a task says of each file, or why it cannot be read; those that can share batches as in one request.

    Raises:
        CpgError: there is no such task.
    """
    serving.require(task)
    batch: list[tuple[Path, Tensor]] = []

    def answered() -> Iterator[Answered]:
        if batch:
            found = serving.answer_pixels(task, torch.stack([pixels for _, pixels in batch]))
            yield from (Answered(*pair) for pair in zip((file for file, _ in batch), found.likeliest(top), strict=True))
            batch.clear()

    wanted, resize = serving.input, serving.resize(task)
    for done, (file, read) in enumerate(
        zip(files, ahead(lambda path: _read(path, wanted, resize), files), strict=True), 1
    ):
        if isinstance(read, Unreadable):
            yield read
        else:
            batch.append((file, read))
            if len(batch) == serving.batch_size:
                yield from answered()
        progress(done, len(files))
    yield from answered()


def _read(file: Path, wanted: Input, resize: Resize) -> Tensor | Unreadable:
    """uint8 `[C, size, size]`, or why there is none."""
    try:
        return fit(torch.from_numpy(decode(file, wanted.channels, str(file))).permute(2, 0, 1), wanted.size, resize)
    except Unreadable as error:
        return error


def _inside(folder: Path) -> tuple[list[Path], list[CpgError]]:
    """The images in a folder at any depth, and the folders in it that cannot be listed."""
    files, problems = list[Path](), list[CpgError]()

    def cannot(error: OSError) -> None:
        problems.append(CpgError(f"{error.filename}: cannot be read ({error.strerror}); change its rights"))

    files += [file for file in walk(folder, cannot) if _taken(file)]
    return files, problems


def _taken(file: Path) -> bool:
    """Whether a file in a folder is an image, as the source `folder` has it; one that cannot be opened may be."""
    try:
        return is_image(file)
    except CpgError:
        return True
