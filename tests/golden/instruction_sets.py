"""The instruction sets that golden figures are kept for, each used in a process of its own.

Sums are added in another order with each of them; in a later task such a rounding turns a pick or an image, and from
there on the losses differ by percents. With the same set they agree on every processor that has it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

GOLDEN = Path(__file__).parent
TESTS, ROOT = GOLDEN.parent, GOLDEN.parents[1]
Figures = list[dict[str, Any]]


@dataclass(frozen=True)
class InstructionSet:
    """One that PyTorch and oneDNN can be told to use.

    Attributes:
        name: for PyTorch, and of the golden file.
        onednn: its name for oneDNN, which computes the convolutions.
        needs: what the processor must have, as `torch.cpu.get_capabilities` names it.
    """

    name: str
    onednn: str
    needs: tuple[str, ...]

    @property
    def file(self) -> Path:
        """Where its golden figures are."""
        return GOLDEN / f"{self.name}.json"

    @property
    def is_here(self) -> bool:
        """Whether this machine has it, whatever the variables of this process say."""
        found = torch.cpu.get_capabilities()
        return found["architecture"] == "x86_64" and all(found.get(need, False) for need in self.needs)

    def figures(self, **how: Any) -> Figures:  # noqa: ANN401  (handed on to tiny.spec)
        """What a tiny run learns with it.

        Raises:
            RuntimeError: the run failed, or PyTorch used another set.
        """
        variables = {
            "ATEN_CPU_CAPABILITY": self.name,
            "ONEDNN_MAX_CPU_ISA": self.onednn,
            "MKL_CBWR": "COMPATIBLE",  # matrix products: the same on processors of every maker
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}",
        }
        done = subprocess.run(
            [sys.executable, str(GOLDEN / "learn.py"), json.dumps(how)],
            env={**os.environ, **variables}, cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"the run with {self.name} failed:\n{done.stdout}{done.stderr}")
        learned = json.loads(done.stdout.splitlines()[-1])
        if learned["used"] != self.name:
            raise RuntimeError(f"PyTorch was told to use {self.name} and used {learned['used']}")
        found: Figures = learned["figures"]
        return found


DEFAULT = InstructionSet("default", "SSE41", ("sse4_1",))
"""Every x86 processor has it, so that its file is never outdated: the others are measured against it."""
AVX2 = InstructionSet("avx2", "AVX2", ("avx2", "fma3"))
AVX512 = InstructionSet("avx512", "AVX512_CORE", ("avx512_f", "avx512_bw", "avx512_vl", "avx512_dq", "fma3"))
SETS = (DEFAULT, AVX2, AVX512)
