"""Which images of its train part a task validates on, as its YAML says it, and a line that tells a person."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cpg_core.data.reading.listing import Listing, Rows
from cpg_core.data.splits.grouped_split import Mask, by_groups, fold_of_groups, fold_of_images
from cpg_core.data.splits.split import hold_out
from cpg_core.data.splits.validation import Group, Validation
from cpg_core.errors import CpgError, listed

FILE = "file"
"""The column of a table of groups that holds paths."""


class HeldOut(NamedTuple):
    """Places of the images that are kept to train on, and of those held out; why so many, and lines for people."""

    kept: Rows
    held: Rows
    why: str
    lines: tuple[str, ...] = ()


def held_out(
    validation: Validation | None, listing: Listing, rows: Rows, labels: Rows, val_fraction: float, seed: int
) -> HeldOut:
    """Choose validation images among `rows` of the train part, of these `labels`.

    Raises:
        CpgError: groups or paths are asked for that the images do not have, or a list names none of them.
    """
    share = f"a val_fraction of {val_fraction}"
    if validation is None:
        return HeldOut(*hold_out(labels, val_fraction, seed), share)
    if validation.files is not None:
        mask = np.isin(rows, _listed(validation.files, listing))
        if not mask.any():
            raise CpgError(f"{validation.files}: none of the images that it names is of the task's classes")
        where = f"{int(mask.sum()):,} images that {validation.files} names"
        return _of(mask, f"the list {validation.files}", (f"validated on the {where}",))
    groups = None if validation.group is None else _groups(validation.group, listing, rows)
    fold = validation.fold
    if fold is None:
        assert groups is not None
        mask, why = by_groups(labels, groups, val_fraction, seed), share
    else:
        folds = (
            fold_of_images(labels, fold.of, seed) if groups is None else fold_of_groups(labels, groups, fold.of, seed)
        )
        mask, why = folds == fold.index - 1, f"fold {fold.index} of {fold.of}"
    lines = [f"validated on {why}"] if fold is not None else []
    if groups is not None:
        of_val, of_all = len(np.unique(groups[mask])), len(np.unique(groups))
        lines.append(f"{of_all - of_val:,} groups by {validation.group} to train, {of_val:,} others to validate")
        why = f"{why}, with whole groups by {validation.group},"
    return _of(mask, why, tuple(lines))


def _of(mask: Mask, why: str, lines: tuple[str, ...]) -> HeldOut:
    return HeldOut(np.flatnonzero(~mask), np.flatnonzero(mask), why, lines)


def _groups(group: Group, listing: Listing, rows: Rows) -> Rows:
    """The number of each row's group, int64 [N], from 0."""
    values = _by_pattern(group.pattern, listing) if group.pattern is not None else _by_column(group, listing)
    wanted = [_name(values[row]) for row in rows.tolist()]
    if missing := [row for row, name in zip(rows.tolist(), wanted, strict=True) if not name]:
        shown = f", such as {listing.paths()[missing[0]]}" if listing.paths is not None else ""
        raise CpgError(
            f"{listing.where}: {len(missing)} of {len(rows)} images have no group by {group}{shown}; "
            "correct validation: group so that each has one"
        )
    numbers: Rows = np.unique(wanted, return_inverse=True)[1].astype(np.int64)
    return numbers


def _name(value: object) -> str:
    """The group that a cell names, "" if none: 7 and 7.0 are one, as a column has both where tables miss a number."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def _by_pattern(pattern: str, listing: Listing) -> list[str | None]:
    found = [re.search(pattern, path) for path in _paths(listing, "a pattern for validation: group")]
    return [None if match is None else "\0".join(match.groups("") or (match[0],)) for match in found]


def _by_column(group: Group, listing: Listing) -> Sequence[object]:
    assert group.column is not None
    if group.table is not None:
        table = _read_table(group.table, group.column)
        paths = _paths(listing, "a table for validation: group")
        _need_one_each(group.table, listing, paths, table)
        return [table.get(path) for path in paths]
    if listing.column is None:
        raise CpgError(
            f"{listing.where}: these images have no columns; group them by a pattern over their paths, or by "
            "{column: NAME, table: FILE.csv}"
        )
    return listing.column(group.column)


def _read_table(file: Path, column: str) -> dict[str, str]:
    """The group of each path, from a CSV file."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            table = csv.DictReader(lines)
            if absent := [name for name in (FILE, column) if name not in (table.fieldnames or ())]:
                raise CpgError(
                    f"{file}: there is no column '{absent[0]}'; expected a first line that names the columns "
                    f"'{FILE}' (paths inside the train part) and '{column}'"
                )
            groups: dict[str, str] = {}
            for row in table:
                path, group = row[FILE], _name(row[column])
                if groups.setdefault(path, group) != group:
                    raise CpgError(f"{file}: {path} has two groups, {groups[path]} and {group}; keep one")
            return groups
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CpgError(f"{file}: cannot read this table ({error}); expected a CSV file in UTF-8") from error


def _listed(file: Path, listing: Listing) -> Rows:
    """The rows that a list of paths names."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise CpgError(f"{file}: cannot read this list ({error}); expected a path a line, in UTF-8") from error
    paths = _paths(listing, "validation: files")
    row_of = {path: row for row, path in enumerate(paths)}
    named = [line for line in lines if line and not line.startswith("#")]
    if unknown := [path for path in named if path not in row_of]:
        raise CpgError(
            f"{file}: {len(unknown)} of {len(named)} paths are not among the images of {listing.where}: "
            f"{listed(unknown)}; expected paths like {listed(list(row_of), 1)}"
        )
    _need_one_each(file, listing, paths, named)
    return np.array(sorted({row_of[path] for path in named}), dtype=np.int64)


def _need_one_each(file: Path, listing: Listing, paths: Sequence[str], named: Iterable[str]) -> None:
    """Parquet files may hold an image `1.jpg` of each class: a path of theirs does not say which is meant."""
    images = Counter(paths)
    if several := [path for path in named if images[path] > 1]:
        raise CpgError(
            f"{file}: {several[0]} is the path of {images[several[0]]} images of {listing.where}; give each image a "
            "path of its own, name a column of the images (validation: group), or use folds"
        )


def _paths(listing: Listing, what: str) -> Sequence[str]:
    if listing.paths is None:
        raise CpgError(f"{listing.where}: these images have no file names, which {what} needs; leave it out")
    return listing.paths()
