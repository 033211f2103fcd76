"""The one exception that is meant for a person, and what others say as a line of text."""

import errno
from collections.abc import Sequence
from textwrap import shorten

MOST_CHARACTERS = 1000
"""Of what another program says: enough for two paths, too few for a page of HTML."""

RIGHTS, LIMIT = "change its rights, or those of its folder", "allow more open files (ulimit -n), or end other processes"
OF_SOUND_FILES = {errno.EACCES: RIGHTS, errno.EPERM: RIGHTS, errno.EMFILE: LIMIT, errno.ENFILE: LIMIT}


class CpgError(Exception):
    """A mistake the user can mend; the message names the field, file or task, what was expected and what to do.

    The command line prints the message alone and exits with 2. Anything else that is raised is a fault of ours.
    """


def one_line(text: str) -> str:
    """What another program says, as one line; where something is cut off, the line says so."""
    return shorten(text, MOST_CHARACTERS, placeholder=" ... (cut)")


def first_line(error: BaseException) -> str:
    """The first line of an error's message; the name of its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def listed(names: Sequence[str], most: int = 6) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def advice(error: Exception, usual: str) -> str:
    """What to do about a file that cannot be read: as usual, unless it may be sound all the same."""
    return OF_SOUND_FILES.get(error.errno or 0, usual) if isinstance(error, OSError) else usual
