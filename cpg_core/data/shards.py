"""The parquet files of one part of a data set: all of them, each once, in order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cpg_core.data.fields import AS_USUAL, Part, Splits
from cpg_core.data.reading.hidden import below
from cpg_core.errors import CpgError, listed

NUMBERED = re.compile(r"-(\d+)-of-(\d+)(?:-[0-9a-f]+)?\.parquet$")
"""`train-00000-of-00003.parquet`, or with a hash of its content, as older data sets have."""


def matching(folder: Path, name: str, splits: Splits) -> list[Path]:
    """The files of the part that is called so, at any depth."""
    return [p for p in below(folder, ".parquet") if _name_of(p.name, splits) == name]


def _name_of(file: str, splits: Splits) -> str | None:
    """What the part of a file is called: where two names fit (`train` and `train-val`), it is of the longer one."""
    fitting = [name for name in splits.names if re.match(rf"{re.escape(name)}[-.]", file)]
    return max(fitting, key=len, default=None)


def problem_of(folder: Path, splits: Splits) -> str | None:
    """What is wrong with the files of all parts, as far as their own numbering tells."""
    try:
        for part in splits.parts:
            shards(folder, part, splits)
    except CpgError as error:
        return str(error)
    return None


def shards(folder: Path, part: Part, splits: Splits = AS_USUAL) -> list[Path]:
    """The files of one part, complete by their own numbering and in order.

    Raises `CpgError` if there are none, if they lie in several folders, or if a number is missing or there twice.
    """
    name = splits.name_of(part)
    files = matching(folder, name, splits)
    if not files:
        raise CpgError(
            f"{folder}: there is no {name}-*.parquet; put the {part} files there, correct the folder, or name "
            f"them as they are called: splits: {{{part}: NAME}}"
        )
    if len(homes := {file.parent for file in files}) > 1:
        raise CpgError(f"{folder}: {part} files lie in {' and '.join(map(str, sorted(homes)))}; name one as the folder")
    numbers = {file: NUMBERED.search(file.name) for file in files}
    numbered = {file: (int(found[1]), int(found[2])) for file, found in numbers.items() if found}
    if numbered:
        _need_each_once(folder, part, numbered, [file for file in files if file not in numbered])
    return sorted(files, key=lambda file: numbered.get(file, (0, 0)))


def others(folder: Path, splits: Splits = AS_USUAL) -> tuple[str, ...]:
    """What no part of the source reads, in a line each kind."""
    files = sorted(p.name for p in below(folder, ".parquet"))
    files = [file for file in files if _name_of(file, splits) is None]
    held = [file for file in files if re.match(r"val|dev", file) and splits.val is None]
    lines = []
    if held:
        name = re.split(r"[-.]", held[0])[0]
        lines.append(
            f"{folder}: not used, validation images are held out of train (val_fraction): {listed(held)}; "
            f"to validate on them: splits: {{val: {name}}}"
        )
    if rest := [file for file in files if file not in held]:
        lines.append(f"{folder}: not used, only {' and '.join(splits.names)} files are: {listed(rest)}")
    return tuple(lines)


def _need_each_once(
    folder: Path, part: Part, numbered: dict[Path, tuple[int, int]], unnumbered: Sequence[Path]
) -> None:
    if unnumbered:
        raise CpgError(
            f"{folder}: {next(iter(numbered)).name} is numbered and {unnumbered[0].name} is not; "
            f"keep the {part} files of one data set"
        )
    totals = {of: file for file, (_, of) in numbered.items()}
    if len(totals) > 1:
        one, other = list(totals.values())[:2]
        raise CpgError(f"{folder}: {one.name} and {other.name} are of different sets; keep the {part} files of one")
    by_number: dict[int, Path] = {}
    for file, (number, _) in numbered.items():
        if number in by_number:
            raise CpgError(f"{folder}: {by_number[number].name} and {file.name} are the same shard; keep one")
        by_number[number] = file
    total = next(iter(totals))
    # Data sets are numbered from 0; a hand-made one may be from 1.
    begin = 1 if 0 not in by_number and total in by_number else 0
    expected = range(begin, begin + total)
    if missing := [str(number) for number in expected if number not in by_number]:
        raise CpgError(
            f"{folder}: has {len(numbered)} of the {total} {part} files; "
            f"fetch the missing ones (number {listed(missing, most=12)})"
        )
    if odd := [file.name for number, file in by_number.items() if number not in expected]:
        raise CpgError(f"{folder}: {listed(odd)}: numbered beyond the {total} {part} files; keep those of one data set")
