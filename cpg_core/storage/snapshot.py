"""Where a stage stands between batches, on disk, so that a killed run goes on from there.

A snapshot is a tensor file and a JSON file that names its hash. The newest whole pair counts; a torn one is as good
as none. Nothing is synced: after a power cut the stage may begin anew, with the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cpg_core.config.schema import Strict
from cpg_core.model.layers import Layers
from cpg_core.storage.files import Damaged, read_json, read_tensors, write_json, write_tensors
from cpg_core.storage.records import Epoch


class Position(Strict):
    """Where training stands: `batch` batches of epoch `epoch` are done, with their sums (an empty tally is all 0)."""

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    tally: tuple[int, ...] = ()
    seen: int = 0
    epochs: tuple[Epoch, ...] = ()
    seconds: float = 0.0


SMALL_BYTES = 64 * 2**20
"""A state up to this size is saved after every epoch."""
BYTES_A_SECOND = 500e6
"""Taken for how fast a state is brought to disk, its hash included."""
LEAST_SHARE = 30
"""Training between two saves of a larger state takes so many times as long as a save does."""


def due(size: int, seconds: float) -> bool:
    """Whether to save a state of `size` bytes that was last saved, or begun with, `seconds` of training ago."""
    return size <= SMALL_BYTES or seconds >= LEAST_SHARE * size / BYTES_A_SECOND


class _Entry(Strict):
    key: str
    sha256: str
    position: Position


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of one stage in `folder`; those of another `key` do not count."""

    folder: Path
    key: str

    def save(self, position: Position, tensors: Callable[[], Layers]) -> None:
        """Keep this position and drop older ones."""
        stem = f"at-{position.epoch:04d}-{position.batch:06d}"
        file = self.folder / f"{stem}.safetensors"
        sha = write_tensors(file, tensors(), sync=False)
        entry = _Entry(key=self.key, sha256=sha, position=position)
        write_json(file.with_suffix(".json"), entry.model_dump(mode="json"), sync=False)
        for old in self.folder.glob("at-*"):
            if old.stem != stem:
                old.unlink()

    def newest(self, note: Callable[[str], None]) -> tuple[Position, Layers] | None:
        """The furthest whole snapshot, or None; tells why one that is there does not count."""
        for file in sorted(self.folder.glob("at-*.json"), reverse=True):
            try:
                entry = _Entry.model_validate(read_json(file))
                if entry.key == self.key:
                    return entry.position, read_tensors(file.with_suffix(".safetensors"), entry.sha256)
                why = "settings, data, code or the model before it changed"
            except (Damaged, ValidationError) as error:
                why = str(error)
            note(f"{self.folder.name}: begun anew, not from {file.stem}, since {why}")
        return None


class ReadOnly(Snapshots):
    """The same snapshots for a rank that does not lead: it goes on from them and leaves the writing to the leader."""

    def save(self, position: Position, tensors: Callable[[], Layers]) -> None:
        """Nothing."""
