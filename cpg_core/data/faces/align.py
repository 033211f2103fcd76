"""A folder of pictures -> the same folder of aligned faces; what is there already is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from cpg_core.data.faces.detector import Detector, main_face
from cpg_core.data.faces.similarity import Pixels, aligned
from cpg_core.data.reading.decode import Unreadable, decode
from cpg_core.data.reading.prefetch import ahead
from cpg_core.errors import CpgError

SUFFIX = ".png"
NO_FACE = "no face found"


class Outcome(NamedTuple):
    """What became of a picture.

    Attributes:
        file: the picture.
        faces: how many were found in it; None: its aligned face was there already.
        problem: why there is no aligned face of it; None: there is one.
    """

    file: Path
    faces: int | None
    problem: str | None = None


def targets(folder: Path, files: Sequence[Path], to: Path) -> dict[Path, Path]:
    """Where the face of each file goes: to the same place below `to`, as PNG.

    Raises:
        CpgError: `to` is in the folder or the other way round, or two files would go to one place.
    """
    inside, outside = (to.resolve(), folder.resolve()), (folder.resolve(), to.resolve())
    if any(one.is_relative_to(other) for one, other in (inside, outside)):
        raise CpgError(f"--to {to}: this is {folder}, inside it or around it; name another folder")
    found = {file: (to / file.relative_to(folder)).with_suffix(SUFFIX) for file in files}
    taken: dict[Path, Path] = {}
    for file, target in found.items():
        if (other := taken.setdefault(target, file)) != file:
            raise CpgError(f"{other} and {file.name}: both would be written to {target}; rename one of them")
    return found


def align(
    places: dict[Path, Path], size: int, detect: Detector, write: Callable[[Path, bytes], object]
) -> Iterator[Outcome]:
    """Write the aligned face of each picture, and tell of each in order. Stopped and called again, it goes on.

    Args:
        places: by picture, the file of its face.
        size: pixels a side of the faces.
        detect: finds faces.
        write: puts a file in its place, whole or not at all.
    """

    def looked_at(file: Path) -> Pixels | Unreadable | None:
        if _is_done(file, places[file], size):
            return None
        try:
            return decode(file, 3, str(file))
        except Unreadable as error:
            return error

    with closing(ahead(looked_at, places)) as read:
        for file, found in zip(places, read, strict=True):
            if found is None:
                yield Outcome(file, None)
                continue
            places[file].unlink(missing_ok=True)  # of an earlier picture by this name, which may have had a face
            if isinstance(found, Unreadable):
                yield Outcome(file, 0, str(found))
            else:
                yield _aligned(file, found, places[file], size, detect, write)


def _aligned(
    file: Path, pixels: Pixels, target: Path, size: int, detect: Detector, write: Callable[[Path, bytes], object]
) -> Outcome:
    faces = detect(pixels)
    if not faces:
        return Outcome(file, 0, NO_FACE)
    try:
        picture = aligned(pixels, main_face(faces, pixels).points, size)
    except ValueError as error:
        return Outcome(file, len(faces), str(error))
    content = BytesIO()
    picture.save(content, "PNG")
    write(target, content.getvalue())
    return Outcome(file, len(faces))


def _is_done(file: Path, target: Path, size: int) -> bool:
    """Whether the face is there, of that size and no older than the picture."""
    try:
        if target.stat().st_mtime_ns < file.stat().st_mtime_ns:
            return False
        with Image.open(target) as picture:
            return picture.size == (size, size)
    except OSError:
        return False
