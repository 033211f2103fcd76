"""CPG on one GPU: laws, step times, the paper's CPG row and independent models, within a time that is given.

    python benchmarks/gpu.py --minutes 9 --out FOLDER --data FOLDER     all parts, in order
    python benchmarks/gpu.py --minutes 5 --out FOLDER --data FOLDER --only c
    python benchmarks/gpu.py --device cpu --quick --out FOLDER          the same lines, tiny, on a processor
    python benchmarks/gpu.py --merge FOLDER ...                         result files into results/gpu/DEVICE.json

Parts: a, the laws on the device with a tiny network; b, steps against a plain module's; c, CPG avg of profile `paper`
with the goals of the paper's own fine-Avg row, judged as published on the test split; d, independent models. Each part
writes FOLDER/PART.json, c and d after each task. A part that fails leaves FOLDER/PART.error.txt, and the next begins.
What is learned lies under --root; the same command on the same machine goes on from there. Only the packages of
cpg_core are needed. docs/gpu.md says how to use it on a machine that nothing can be downloaded to.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from gpu_laws import check_laws, learn_and_die
from gpu_results import Results, merge
from gpu_sequence import learn_row
from gpu_setup import Setup
from gpu_steps import time_steps

from cpg_core.machine import device_of

SHARES = {"a": 2, "b": 1, "c": 6, "d": 1}
"""Of the time, among the parts that are asked for; what one leaves over goes to the next."""
PARTS: dict[str, Callable[[Setup, Results], None]] = {
    "a": check_laws,
    "b": time_steps,
    "c": lambda setup, results: learn_row(setup, results, "cpg"),
    "d": lambda setup, results: learn_row(setup, results, "scratch"),
}


def main() -> int:
    """Run it; 1 if a part failed."""
    options = parse()
    if options.merge:
        print(merge(options.merge, Path(__file__).parents[1] / "results/gpu"))
        return 0
    if options.die_in:
        learn_and_die(options.die_in, options.device, options.precision)
    began, failed = time.monotonic(), False
    if options.data is not None:
        os.environ["CPG_DATA"] = str(options.data.resolve())
    chosen = sorted(set(options.only or "abcd"))
    for place, part in enumerate(chosen, 1):
        share = sum(SHARES[name] for name in chosen[:place]) / sum(SHARES[name] for name in chosen)
        setup = Setup(
            device=device_of(options.device),
            precision=options.precision,
            quick=options.quick,
            real_data=options.data is not None,
            root=options.root,
            ends=math.inf if options.quick else began + 60 * options.minutes * share,
        )
        print(f"--- part {part}: {setup.device_name}, {time.monotonic() - began:.0f} s gone", flush=True)
        results = Results(options.out, part, setup)
        try:
            PARTS[part](setup, results)
        except Exception:
            failed = True
            results.fail(traceback.format_exc())
    print(f"--- done after {time.monotonic() - began:.0f} s", flush=True)
    return int(failed)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--out", type=Path, default=Path("work/gpu-results"), help="where result files go")
    parser.add_argument("--root", type=Path, default=Path("work/gpu"), help="where checkpoints go; fast storage helps")
    parser.add_argument("--data", type=Path, help="holds cifar100/train-*.parquet and test-*.parquet; none: digits-5")
    parser.add_argument("--only", help="parts, such as c or ab")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("float32", "tf32", "bfloat16"), default="tf32", help="of parts a, c, d")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that every line runs, however long it takes")
    parser.add_argument("--merge", type=Path, nargs="+", metavar="FOLDER", help="result folders, the newest last")
    parser.add_argument("--die-in", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only and not set(options.only) <= set(PARTS):
        parser.error(f"--only {options.only}: parts are {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
