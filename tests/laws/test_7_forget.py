"""Law 7: a process that is killed as it forgets a task, at any moment, has forgotten it wholly or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from core import tiny
from core.tiny import frozen_bytes

from cpg_core.recall.audit import audit
from cpg_core.recall.forget import Plan, carry_out, plan
from cpg_core.storage import files
from cpg_core.storage.run import Run
from cpg_core.storage.runs import names, open_run

STEPS = ("link", "rename", "replace", "unlink", "rmdir", "mkdir", "fsync")
"""Of the module os: all that changes a name or brings bytes to disk."""
WRITES = ("_write_bytes", "_sync")
KILLED = 9


def killed_at(count: int, planned: Plan) -> bool:
    """Forget in a process of its own that ends without a word before its step number `count`; whether it did end so."""
    child = os.fork()
    if child == 0:
        left = [count]

        def stop_before(do: Callable[..., object]) -> Callable[..., object]:
            def step(*words: object, **more: object) -> object:
                left[0] -= 1
                if left[0] == 0:
                    os._exit(KILLED)
                return do(*words, **more)

            return step

        try:
            for module, steps in ((os, STEPS), (files, WRITES)):
                for name in steps:
                    setattr(module, name, stop_before(getattr(module, name)))
            carry_out(planned)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


def test_a_kill_at_any_moment_leaves_all_or_nothing(tmp_path: Path, learned: Callable[..., Run]) -> None:
    whole = frozen_bytes(learned(tasks="1-2"))
    done = frozen_bytes(carry_out(plan(tiny.copy(learned(tasks="1-2"), tmp_path / "done"), "zero-one")))
    for content in (whole, done):
        content.pop("run.json")  # which says when
    outcomes, between, count = list[bool](), 0, 1
    while True:
        root = tmp_path / str(count)
        run = tiny.copy(learned(tasks="1-2"), root)
        killed = killed_at(count, plan(run, "zero-one"))
        assert names(root) == ["tiny"]
        between += len(list((root / "checkpoints").iterdir())) > 1 or not run.folder.exists()
        found = open_run(root, "tiny")
        content = frozen_bytes(found)
        content.pop("run.json")
        assert content in (whole, done), count
        forgotten = content == done
        assert [gone.name for gone in found.spec.forgotten] == ["zero-one"] * forgotten
        assert [path.name for path in (root / "checkpoints").iterdir()] == ["tiny"]
        assert not forgotten or not list(found.work.glob("*.safetensors"))
        outcomes.append(forgotten)
        if not killed:
            break
        count += 1
    assert outcomes == sorted(outcomes) and set(outcomes) == {False, True}
    assert between > 10 and all(finding.ok for finding in audit(found))
