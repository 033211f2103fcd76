"""A file of image pairs -> which images there are, which are compared, and in which fold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from cpg_core.config.schema import Strict
from cpg_core.data.fields import Place
from cpg_core.data.reading.decode import is_image
from cpg_core.data.reading.listing import Item, Listing, Rows
from cpg_core.data.reading.stamps import stamps
from cpg_core.data.splits.pair_files import Pair, read_pairs
from cpg_core.errors import CpgError, listed
from cpg_core.objectives.pairs import Pairs, folds_in_order

FOLDS = 10
FAR = 0.001
ANY = 0.5
"""The false-accept rate where none is told: two pairs of different people suffice."""


class PairsSource(Strict):
    """The pairs that a verification task is tested on."""

    file: Place
    images: Place = Field(description="The folder that holds NAME/NAME_0001.jpg, or that paths are relative to")
    far: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=FAR, description="The false-accept rate at which the true-accept rate is told"
    )
    different: Place | None = Field(
        default=None, description="More pairs of different people, to find that rate on; null: those of the file"
    )

    @property
    def places(self) -> tuple[Path, ...]:
        """The files and the folder that it names."""
        return tuple(place for place in (self.file, self.images, self.different) if place is not None)


def pairs_in(folder: Path) -> PairsSource:
    """The pairs of another folder, in which their images lie too.

    Raises:
        CpgError: there is no file of pairs in it.
    """
    folder = folder.expanduser()
    files = [folder / name for name in ("pairs.txt", "pairs.csv") if (folder / name).is_file()]
    if not files:
        raise CpgError(f"{folder}: expected pairs.txt or pairs.csv in it, beside the images that are compared")
    return PairsSource(file=files[0], images=folder, far=ANY)


class PairList(NamedTuple):
    """What a source of pairs says: the images, none of them read yet, the pairs over them, and who is in them.

    Attributes:
        shared: who is in several folds; nobody where the file gives the folds.
    """

    listing: Listing
    pairs: Pairs
    people: frozenset[str]
    shared: frozenset[str]

    @property
    def line(self) -> str:
        """How many there are, for a person."""
        kinds, folds = self.pairs.same[self.pairs.fold >= 0], self.pairs.fold.max() + 1
        told = f"{int(kinds.sum()):,} pairs of one person and {int((~kinds).sum()):,} of two, in {folds} folds"
        more = int((self.pairs.fold < 0).sum())
        return f"{told}; {more:,} more of two for accept rates" if more else told


def list_pairs(source: PairsSource) -> PairList:
    """Read a file of pairs, and find their images.

    Raises:
        CpgError: a file or an image is missing, a line is none of the format, the file is cut short, folds share a
            person, or there are too few pairs to find a threshold.
    """
    found, folds = read_pairs(source.file)
    _need_both_kinds(source, found, folds)
    fold = folds_in_order(np.array([pair.same for pair in found]), folds or FOLDS)
    if folds:
        _need_disjoint(found, fold)
    more = [] if source.different is None else read_pairs(source.different, headed=False)[0]
    if also := [pair.where for pair in more if pair.same]:
        raise CpgError(f"{also[0]}: a pair of one person; expected pairs of different people alone (pairs: different)")
    _need_enough(source, [pair for pair in (*found, *more) if not pair.same])
    pairs = [*found, *more]
    files = _files(source.images, pairs)
    images = sorted(set(files.values()))
    row = {file: place for place, file in enumerate(images)}

    def read(rows: Rows) -> Iterator[Item]:
        return (Item(str(images[place]), images[place]) for place in rows)

    def version(rows: Rows) -> str:
        return stamps([images[place] for place in rows], source.images)

    listing = Listing(str(source.file), (), np.arange(len(images)), read, tuple(images), version=version)
    of = Pairs(
        left=np.array([row[files[pair.left]] for pair in pairs]),
        right=np.array([row[files[pair.right]] for pair in pairs]),
        same=np.array([pair.same for pair in pairs]),
        fold=np.concatenate([fold, np.full(len(more), -1)]),
        images=len(images),
        far=source.far,
    )
    person = [None if file.parent == source.images else file.parent.name for file in images]
    return PairList(listing, of, frozenset(name for name in person if name is not None), _shared(of, person))


def _shared(pairs: Pairs, person: Sequence[str | None]) -> frozenset[str]:
    """Who is in several folds, given who is on each image; None: that is not known."""
    rows, folds = np.concatenate([pairs.left, pairs.right]), np.concatenate([pairs.fold, pairs.fold])
    there = {(person[row], fold) for row, fold in zip(rows.tolist(), folds.tolist(), strict=True) if fold >= 0}
    folds_of = Counter(name for name, _ in there if name is not None)
    return frozenset(name for name, count in folds_of.items() if count > 1)


def _need_both_kinds(source: PairsSource, found: Sequence[Pair], folds: int | None) -> None:
    if folds == 1:
        raise CpgError(f"{source.file}: one fold; a threshold is found on all folds but one, so two or more are needed")
    kinds = Counter(pair.same for pair in found)
    if min(kinds[True], kinds[False]) < (folds or FOLDS):
        raise CpgError(
            f"{source.file}: {kinds[True]} pairs of one person and {kinds[False]} of two; a threshold cannot be found: "
            f"{folds or FOLDS} folds need one of each kind at least"
        )


def _need_enough(source: PairsSource, different: Sequence[Pair]) -> None:
    if source.far * len(different) < 1:
        raise CpgError(
            f"{source.different or source.file}: no threshold can be found for a false-accept rate of {source.far:g}: "
            f"it needs {1 / source.far:.0f} pairs of different people, and there are {len(different)}; "
            "set pairs: {far: ...} higher, or name a file of more (different)"
        )


def _need_disjoint(found: Sequence[Pair], fold: Rows) -> None:
    """A threshold is to be used on people whom it was not found on."""
    of: dict[str, int] = {}
    for pair, k in zip(found, fold.tolist(), strict=True):
        for name, *_ in (pair.left, pair.right):
            if of.setdefault(name, k) != k:
                raise CpgError(
                    f"{pair.where}: {name} is in fold {of[name] + 1} and in fold {k + 1}; folds must not share a person"
                )


def _files(folder: Path, pairs: Sequence[Pair]) -> dict[tuple[str, ...], Path]:
    """The file of each image that pairs name.

    Raises:
        CpgError: naming the first of those that are missing.
    """
    if not folder.is_dir():
        raise CpgError(f"{folder}: there is no such folder; expected the images of the pairs in it (pairs: images)")
    of: dict[str, dict[str, Path]] = {}
    files: dict[tuple[str, ...], Path] = {}
    missing: list[str] = []
    for pair in pairs:
        for image in (pair.left, pair.right):
            if image in files:
                continue
            file = _file(folder, image, of)
            if file is None:
                missing.append(f"{pair.where}: {_missing(folder, image, of)}")
            else:
                files[image] = file
    if missing:
        more = f" (and {len(missing) - 1} more)" if missing[1:] else ""
        raise CpgError(f"{missing[0]}{more}; add the image, or leave the pair out")
    return files


def _file(folder: Path, image: tuple[str, ...], of: dict[str, dict[str, Path]]) -> Path | None:
    if len(image) == 1:
        file = folder / image[0]
        return file if file.is_file() else None
    name, number = image
    if name not in of:
        home = folder / name
        entries = sorted(home.iterdir()) if home.is_dir() else []
        files = [file for file in entries if not file.name.startswith(".") and is_image(file)]
        of[name] = {file.stem: file for file in reversed(files)}
    return of[name].get(f"{name}_{int(number):04d}")


def _missing(folder: Path, image: tuple[str, ...], of: dict[str, dict[str, Path]]) -> str:
    if len(image) == 1:
        return f"there is no {folder / image[0]}"
    name, number = image
    stem, there = f"{name}_{int(number):04d}", len(of[name])
    if there == 1:
        return f"there is no {stem}: {folder / name} holds one picture"
    return f"there is no {stem} in {folder / name}, which holds {listed(sorted(of[name])) or 'no picture'}"
