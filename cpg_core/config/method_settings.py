"""Which groups of settings only one method reads, so that a run of another method does not depend on them."""

from __future__ import annotations

from typing import Any

from cpg_core.config.defaults import without_old_defaults
from cpg_core.config.settings import Settings

READ_BY = {
    "one_shot": "packnet",
    "finetune": "finetune",
    "ewc": "ewc",
    "lwf": "lwf",
    "progressive": "progressive",
    "den": "den",
}
"""The method that reads a group; a group that is not named here is read by all."""
KNOWN = frozenset(("cpg", "pae", "piggyback", "scratch", "sequential", *READ_BY.values()))
"""The methods that read no other of these groups; one of somebody's own may read any."""

OF_SPEED = {"compute": {"cache_bytes"}}
"""Settings that decide how fast a run is and nothing else."""


def settings_of(method: str, settings: Settings) -> dict[str, Any]:
    """The settings that a run of `method` depends on, as JSON values.

    Without the groups that only other methods read, without newer settings at the value that was in effect before, and
    without what changes no bit of it.
    """
    others = {group: True for group, reader in READ_BY.items() if reader != method and method in KNOWN}
    said = settings.model_dump(mode="json", exclude={**others, **OF_SPEED})
    said["compute"]["workers"] = 0  # threads that decode ahead, in order; older keys have it
    return without_old_defaults(said)
