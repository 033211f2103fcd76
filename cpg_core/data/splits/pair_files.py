"""The formats of files of pairs: that of LFW's `pairs.txt`, and a CSV of two paths and 1 (one person) or 0."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cpg_core.errors import CpgError


class Pair(NamedTuple):
    """A line: two images as the file names them, a person and a number or a path, and whether it is one person."""

    where: str
    left: tuple[str, ...]
    right: tuple[str, ...]
    same: bool


def read_pairs(file: Path, *, headed: bool = True) -> tuple[list[Pair], int | None]:
    """The pairs of a file in order, and how many folds its first line gives; None: it gives none.

    Raises:
        CpgError: it cannot be read, a line is none of its format, or it is cut short.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise CpgError(
            f"{file}: cannot read these pairs ({why}); expected pairs.txt of LFW's format, or a CSV"
        ) from error
    if file.suffix.lower() == ".csv":
        return list(_of_csv(file, text)), None
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not headed:
        return [_of_line(file, number, fields) for number, fields in lines], None
    head = lines[0][1] if lines else []
    if len(head) not in (1, 2) or not all(field.isdigit() and int(field) for field in head):
        raise CpgError(f"{file}: the first line must say `folds n`, or n alone: as many pairs of one person and of two")
    pairs = [_of_line(file, number, fields) for number, fields in lines[1:]]
    folds, each = int(head[0]) if len(head) == 2 else 1, int(head[-1])
    expected = [same for _ in range(folds) for same in (True, False) for _ in range(each)]
    if len(pairs) != len(expected):
        cut = "cut short" if len(pairs) < len(expected) else "longer than it says"
        raise CpgError(
            f"{file}: {cut}: the first line says {folds} x ({each} + {each}) pairs, and {len(pairs)} are there; "
            "fetch it again, or correct the first line"
        )
    if odd := [pair for pair, same in zip(pairs, expected, strict=True) if pair.same != same]:
        raise CpgError(f"{odd[0].where}: out of order: each fold is {each} pairs of one person, then {each} of two")
    return pairs, folds if len(head) == 2 else None


def _of_line(file: Path, number: int, fields: Sequence[str]) -> Pair:
    """`name i j`, or `name1 i name2 j`."""
    where = f"{file}, line {number}"
    names, numbers = fields[::2] if len(fields) == 4 else fields[:1], fields[1::2] if len(fields) == 4 else fields[1:]
    if len(fields) not in (3, 4) or not all(field.isdigit() for field in numbers):
        raise CpgError(f"{where}: expected `name i j` or `name1 i name2 j`, got {' '.join(fields)!r}")
    left, right = (names[0], numbers[0]), (names[-1], numbers[1])
    return _distinct(Pair(where, left, right, same=len(fields) == 3))


def _of_csv(file: Path, text: str) -> Iterator[Pair]:
    """Two paths, and 1 or 0; a first row of names is passed over."""
    for number, row in enumerate(csv.reader(text.splitlines()), 1):
        fields = [field.strip() for field in row]
        if not any(fields) or (number == 1 and len(fields) == 3 and fields[2] not in ("0", "1")):
            continue
        where = f"{file}, line {number}"
        if len(fields) != 3 or fields[2] not in ("0", "1"):
            raise CpgError(f"{where}: expected two paths and 1 (one person) or 0 (two), got {','.join(row)!r}")
        yield _distinct(Pair(where, (fields[0],), (fields[1],), same=fields[2] == "1"))


def _distinct(pair: Pair) -> Pair:
    if pair.left == pair.right:
        raise CpgError(f"{pair.where}: {' '.join(pair.left)} is compared with itself; give two images")
    if not pair.same and len(pair.left) == 2 and pair.left[0] == pair.right[0]:
        raise CpgError(f"{pair.where}: two images of {pair.left[0]} as of different people; write `name i j`")
    return pair
