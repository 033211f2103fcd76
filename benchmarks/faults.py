"""Does anything that befalls a run change how it ends? Kills at random moments, then every other fault once.

    python benchmarks/faults.py --kills 100 --seed 1      about ten minutes
    python benchmarks/faults.py --only disk damage        these parts alone
    python benchmarks/faults.py --quick                   a few kills and the faults that take no server

A sequence of three tiny tasks, in which every stage occurs, is killed (SIGKILL, the whole process group), started
again with the same command and killed again until it is finished; then it begins anew, until there are enough kills.
`differences` counts the files of `checkpoints/RUN` (but for seconds.json) that are not the bytes of an unbroken run,
`lost` what was finished before a kill and then was gone, or was done again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pandas as pd
from faults_damage import damage
from faults_export import killed_exporting
from faults_forget import killed_forgetting
from faults_kills import Tally, campaign
from faults_other import changed, data, full_disk, signals, two_at_once
from faults_rows import Bench, Row, bench
from faults_sequence import WITH_PREFECT, Starter, starter, unbroken
from faults_servers import mlflow_away, mlflow_database, prefect_away
from output import show_table

from flows.environment import prepare
from flows.orchestration.server import server

Fault = Callable[[Bench], Iterator[Row]]
KILLS, SIGNALS = "kills", "signals"
FAULTS: dict[str, tuple[Fault, ...]] = {
    "twice": (two_at_once,),
    "changed": (changed,),
    "damage": (damage,),
    "forget": (killed_forgetting,),
    "export": (killed_exporting,),
    "disk": (full_disk,),
    "data": (data,),
    "servers": (prefect_away, mlflow_away, mlflow_database),
}
"""Each part and what it tries; besides, there are the kills, and the signals, which may come under Prefect."""

PARTS = (KILLS, SIGNALS, *FAULTS)
QUICK_PARTS, QUICK_KILLS = (KILLS, SIGNALS, "twice", "changed"), 5


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, metavar="N", help="how many (default: 100)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="decides the moments (default: 1)")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_KILLS} kills, all without Prefect")
    given = parser.parse_args()
    parts = given.only or (QUICK_PARTS if given.quick else PARTS)
    kills = given.kills or (QUICK_KILLS if given.quick else 100)
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        plain = stack.enter_context(starter(folder / "logs"))
        prefect = None
        if not given.quick and {KILLS, SIGNALS} & set(parts):
            prepare(folder)
            stack.enter_context(server(folder / ".prefect"))()
            url = os.environ["PREFECT_API_URL"]
            prefect = stack.enter_context(starter(folder / "prefect-logs", WITH_PREFECT, PREFECT_API_URL=url))
        tally = campaign(plain, prefect, folder, kills, given.seed) if KILLS in parts else None
        rows = list(_others(parts, plain, prefect, folder))
    _show(tally, rows)


def _others(parts: Collection[str], plain: Starter, prefect: Starter | None, folder: Path) -> Iterator[Row]:
    """The rows of every part but the kills."""
    faults = {SIGNALS: (partial(signals, prefect=prefect),), **FAULTS}
    chosen = [fault for part, tried in faults.items() if part in parts for fault in tried]
    if chosen:
        ready = bench(plain, folder, unbroken(plain, folder / "whole"))
        for fault in chosen:
            yield from _tried(fault, ready)


def _tried(fault: Fault, ready: Bench) -> Iterator[Row]:
    """The rows of a fault; what cannot be carried out is not ok either."""
    try:
        yield from fault(ready)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        name = getattr(fault, "__name__", SIGNALS)
        yield Row(name, "-", "to be tried", f"could not be tried: {error}", ok=False)


def _show(tally: Tally | None, rows: list[Row]) -> None:
    """Print what was tried; nothing is said of what was not."""
    figures: dict[str, object] = {}
    if tally is not None:
        figures |= {
            "kills": tally.kills.total(),
            "rounds": tally.rounds,
            "differences": tally.differences.total(),
            "lost": tally.lost.total(),
        }
        show_table(f"Kills, in {tally.rounds} rounds", pd.DataFrame(tally.rows()))
    if rows:
        figures |= {"other_faults": len(rows), "other_faults_not_ok": sum(not row.ok for row in rows)}
        show_table("Other faults", pd.DataFrame([row.cells() for row in rows]))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
