"""Does anything that befalls a run change how it ends? Kills at random moments, then every other fault once.

    python benchmarks/faults.py --kills 100 --seed 1      about ten minutes
    python benchmarks/faults.py --quick                   a few kills and the faults that take no server

A sequence of three tiny tasks, in which every stage occurs, is killed (SIGKILL, the whole process group), started
again with the same command and killed again until it is finished; then it begins anew, until there are enough kills.
`differences` counts the files of `checkpoints/RUN` (but for seconds.json) that are not the bytes of an unbroken run,
`lost` what was finished before a kill and then was gone, or was done again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import pandas as pd
from faults_damage import damage
from faults_kills import campaign
from faults_other import changed, data, full_disk, signals, two_at_once
from faults_rows import Bench, Row, bench
from faults_sequence import WITH_PREFECT, starter
from faults_servers import mlflow_away, mlflow_database, prefect_away
from output import show, show_table

from cpg_core.storage.runs import open_run
from flows.environment import prepare
from flows.orchestration.server import server

QUICK_KILLS = 5
Fault = Callable[[Bench], Iterator[Row]]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="how many (default: 100)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="decides the moments (default: 1)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_KILLS} kills, all without Prefect")
    given = parser.parse_args()
    kills = QUICK_KILLS if given.quick else given.kills
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        plain = stack.enter_context(starter(folder / "logs"))
        prefect = None
        if not given.quick:
            prepare(folder)
            stack.enter_context(server(folder / ".prefect"))()
            url = os.environ["PREFECT_API_URL"]
            prefect = stack.enter_context(starter(folder / "prefect-logs", WITH_PREFECT, PREFECT_API_URL=url))
        tally = campaign(plain, prefect, folder, kills, given.seed)
        ready = bench(plain, folder, open_run(folder / "unbroken", "tiny"))
        faults: list[Fault] = [two_at_once, changed]
        if not given.quick:
            faults += [damage, full_disk, data, prefect_away, mlflow_away, mlflow_database]
        rows = list(chain(signals(ready, prefect), *(_tried(fault, ready) for fault in faults)))
    failed = sum(not row.ok for row in rows)
    figures: dict[str, object] = {
        "kills": tally.kills.total(),
        "rounds": tally.rounds,
        "differences": tally.differences.total(),
        "lost": tally.lost.total(),
        "other_faults": len(rows),
        "other_faults_not_ok": failed,
    }
    show_table("Other faults", pd.DataFrame([row.cells() for row in rows]))
    show(f"Kills, in {tally.rounds} rounds", pd.DataFrame(tally.rows()), figures)


def _tried(fault: Fault, ready: Bench) -> Iterator[Row]:
    """The rows of a fault; what cannot be carried out is not ok either."""
    try:
        yield from fault(ready)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        yield Row(fault.__name__, "-", "to be tried", f"could not be tried: {error}", ok=False)


if __name__ == "__main__":
    main()
