"""The friendly end of an error message."""

import difflib
from collections.abc import Iterable

from cpg_core.errors import CpgError


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the known word nearest to `word`, or "." if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.65)
    return f"; did you mean '{near[0]}'?" if near else "."


def unknown(kind: str, name: str, known: Iterable[str]) -> CpgError:
    """The error for a name that is none of the known ones."""
    names = sorted(known)
    return CpgError(f"unknown {kind} '{name}'{did_you_mean(name, names)} Known: {', '.join(names) or 'none'}.")
