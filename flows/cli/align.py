"""`cpg align`: a folder of pictures to the same folder of aligned faces."""

from __future__ import annotations

import csv
import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cpg_core.errors import CpgError, listed
from flows.cli.errors import ExitCode
from flows.parameters import with_home

if TYPE_CHECKING:
    from cpg_core.data.faces.align import Outcome
    from cpg_core.data.faces.detector import Detector

Pictures = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Pictures, in folders of any depth.", parser=with_home)
]
To = Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where the faces go.", parser=with_home)]
Size = Annotated[int, typer.Option(metavar="PIXELS", min=16, help="Pixels a side of a face.")]


def align(folder: Pictures, to: To, size: Size = 112) -> None:
    """Find the face in each picture of a folder, and write it in the standard position, under its name, as PNG.

    The same command again goes on where it stopped. Pictures that give no face are listed in FOLDER-not-aligned.csv
    beside the faces. Of several faces in a picture a large one near the middle is taken.

    Exit code 1: some give none.
    """
    from cpg_core.data.faces.detector import mtcnn

    missed = align_folder(folder, to, size, mtcnn())
    if missed:
        raise typer.Exit(ExitCode.FAILED)


def align_folder(folder: Path, to: Path, size: int, detect: Detector) -> int:
    """The same by any detector; how many pictures give no face.

    Raises:
        CpgError: there is no such folder, no picture in it, or the faces cannot be written there.
    """
    from cpg_core.data.faces.align import align as aligned
    from cpg_core.data.faces.align import targets
    from cpg_core.recall.image_files import find
    from cpg_core.storage.files import disk_errors, sweep_of, write_bytes
    from flows.console.terminal import reading_bar

    if not folder.is_dir():
        raise CpgError(f"{folder}: there is no such folder; expected one with pictures")
    found = find([folder])
    if found.problems:
        raise found.problems[0]
    places = targets(folder, found.files, to)
    sweep_of(places.values())  # what killed processes left
    outcomes: list[Outcome] = []
    with reading_bar() as bar, disk_errors(to):
        for outcome in aligned(places, size, detect, partial(write_bytes, sync=False)):
            outcomes.append(outcome)
            bar(folder.name, len(outcomes), len(places))
    place = to.resolve()  # `.` has no name
    listing = place.with_name(f"{place.name}-not-aligned.csv")
    missed = [outcome for outcome in outcomes if outcome.problem is not None]
    if missed:
        write_bytes(listing, _rows(missed))
    else:
        listing.unlink(missing_ok=True)
    for line in _told(outcomes, to, listing):
        typer.echo(line)
    return len(missed)


def _rows(missed: list[Outcome]) -> bytes:
    text = io.StringIO()
    rows = [("image", "faces", "why"), *((str(outcome.file), outcome.faces, outcome.problem) for outcome in missed)]
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")


def _told(outcomes: list[Outcome], to: Path, listing: Path) -> list[str]:

    missed = sum(outcome.problem is not None for outcome in outcomes)
    before = sum(outcome.faces is None for outcome in outcomes)
    several = sum((outcome.faces or 0) > 1 and outcome.problem is None for outcome in outcomes)
    lines = [f"{to}: {len(outcomes) - missed - before:,} aligned, {before:,} there already, {missed:,} not aligned"]
    if several:
        lines.append(f"several faces in {several:,} of them: a large one near the middle was taken")
    if missed:
        files = listed([str(outcome.file) for outcome in outcomes if outcome.problem is not None])
        lines.append(f"no face of {files}: the reason of each is in {listing}")
    return lines
