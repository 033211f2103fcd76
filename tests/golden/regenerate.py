"""Renew the golden figures of every instruction set that this machine has: `python tests/golden/regenerate.py`.

Do so in a change that is meant to alter what is learned (another rule, order of draws, default or split), and say in
its description which figures moved and why. A refactoring, a speed-up or a new torch that moves them by more than the
tolerances of tests/golden/figures.py has changed the algorithm: find out how before you regenerate.

Each file carries the hash of the code that its figures rest on. A set that the machine of such a change lacks keeps
the hash of the code before: its file is outdated, tests/core/test_golden.py skips it and says so, and this command
renews it on a machine that has the set. Files that are up to date are left as they are.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from golden.figures import HOW, agree
from golden.instruction_sets import DEFAULT, SETS, Figures, InstructionSet


@dataclass(frozen=True)
class Golden:
    """The golden figures of an instruction set, and the hash of the code that they rest on."""

    code_sha256: str
    figures: Figures


def read(instruction_set: InstructionSet) -> Golden:
    """What its file holds."""
    return Golden(**json.loads(instruction_set.file.read_text()))


def outdated(golden: Golden, default: Golden) -> bool:
    """Whether a change of what is learned renewed the default set's figures and not these."""
    return golden.code_sha256 != default.code_sha256


def renewed(before: dict[str, Golden], found: dict[str, Figures], code_sha256: str) -> dict[str, Golden]:
    """The files to write, by the name of their set: of those found, the ones that are outdated or do not agree."""
    default = before.get(DEFAULT.name)
    if default is not None and agree(found[DEFAULT.name], default.figures):
        code_sha256 = default.code_sha256
    new = {name: Golden(code_sha256, figures) for name, figures in found.items()}
    return {
        name: golden
        for name, golden in new.items()
        if name not in before or outdated(before[name], golden) or not agree(golden.figures, before[name].figures)
    }


def main() -> None:
    """Learn the tiny run with every set and write what is to be renewed."""
    from core.tiny import spec

    from cpg_core.stages.source_hash import code_of

    here = {each.name: each for each in SETS if each.is_here}
    if not here:
        raise SystemExit("golden figures are kept for x86-64 processors, and this is another")
    before = {each.name: read(each) for each in SETS if each.file.exists()}
    found = {name: each.figures(**HOW) for name, each in here.items()}
    learned = spec(**HOW)
    new = renewed(before, found, code_of(learned, learned.tasks[0].kind))
    for name, golden in new.items():
        here[name].file.write_text(json.dumps(vars(golden), indent=1) + "\n")
    for each in SETS:
        done = "renewed" if each.name in new else "as it was" if each.name in here else "not on this machine"
        print(f"{each.name}: {done}")


if __name__ == "__main__":
    main()
