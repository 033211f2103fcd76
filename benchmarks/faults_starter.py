"""Runs `cpg` in processes of their own and kills them: a child a request, forked after the imports, which take longest.

A request is a line of JSON on standard input, the answer a line on standard output: the exit code, negative for a
signal, and whether the clock sent it. A child leads a process group of its own, which is killed whole: from here after
some seconds or, to hit the moments between two operations on files, by the child's own audit hook.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

CHANGES = {"os.rename": 1, "os.link": 1, "os.remove": 0, "os.rmdir": 0, "os.mkdir": 0, "shutil.rmtree": 0}
"""Audit events that change a folder, and which argument is the path that they change."""

EVERY = "every"
"""The kind of all operations."""


def main() -> None:
    """Answer requests until standard input closes. Argument: modules to import first."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    for module in sys.argv[1].split(","):
        __import__(module)
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _child(request)
        code, by_clock = _ended(child, request.get("seconds"))
        print(json.dumps({"code": code, "by_clock": by_clock}), flush=True)


def _ended(child: int, seconds: float | None) -> tuple[int, bool]:
    """The exit code of a child, which is killed with all its processes after so many seconds; whether it was."""
    if seconds is not None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status), False
            time.sleep(0.002)
        os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seconds is not None


def _child(request: dict[str, Any]) -> None:
    """Be `cpg` with these arguments; never returns."""
    os.setsid()
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    code = 1
    try:
        exec(request["code"], {})
        if largest := request.get("largest_file_bytes"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        _watch(Path(request["root"]), request["ledger"], request.get("moment"))
        from flows.cli.app import main as cpg

        sys.argv = ["cpg", *request["arguments"]]
        cpg()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    # What atexit would do matters to nothing that is on disk: the lines above are all that is left to say.
    os._exit(code)


def _watch(root: Path, ledger: str, moment: dict[str, Any] | None) -> None:
    """Write down every file that is put in its place, and send the signal just before the moment asked for."""
    written = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    left = dict.fromkeys([moment["kind"]], moment["count"]) if moment else {}
    signal_number = moment.get("signal", signal.SIGKILL) if moment else signal.SIGKILL
    prefix = f"{root}/"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES:
            path = os.fsdecode(arguments[CHANGES[event]])
            inside_rmtree = event in ("os.remove", "os.rmdir") and arguments[1] != -1
        elif event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            path, inside_rmtree = arguments[0], False
        else:
            return
        if not inside_rmtree and not path.startswith(prefix):
            return
        kinds = ("removal",) if inside_rmtree or event == "shutil.rmtree" else kinds_of(path.removeprefix(prefix))
        for kind in left.keys() & {*kinds, EVERY}:
            left[kind] -= 1
            if left[kind] == 0:
                _strike(signal_number)
        if event == "os.rename":
            os.write(written, f"{path.removeprefix(prefix)}\n".encode())

    sys.addaudithook(hook)


def _strike(number: int) -> None:
    """Kill the process group, or send this process alone another signal."""
    if number == signal.SIGKILL:
        os.killpg(0, number)
    else:
        os.kill(os.getpid(), number)


def kinds_of(path: str) -> tuple[str, ...]:
    """Which kinds of file a path below the root names: `work/run/001-fish/02-check/.record.json.12.part` is a
    `work/record.json` and one `in check`; a snapshot is a `work/at.json`.
    """
    name = re.sub(r"^\.(.+)\.\d+\.part$", r"\1", path.rsplit("/", 1)[-1])
    stage = re.search(r"/\d\d-([a-z_]+)/", path)
    return (f"{path.split('/', 1)[0]}/{re.sub(r'^at-[0-9-]+', 'at', name)}", *((f"in {stage[1]}",) if stage else ()))


if __name__ == "__main__":
    main()
