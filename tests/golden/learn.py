"""Learn the tiny run in this process and print its figures: `python learn.py '{"tasks": "1-2"}'`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch
from core.tiny import learn, spec
from golden.figures import figures


def main() -> None:
    """The last line is JSON: the instruction set that PyTorch used, and the figures."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = figures(learn(Path(folder), spec(**json.loads(sys.argv[1]))))
    print(json.dumps({"used": torch.backends.cpu.get_cpu_capability().lower(), "figures": found}))


if __name__ == "__main__":
    main()
