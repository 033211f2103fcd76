"""Every random draw comes from a seed made of words, so any epoch can be replayed on its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(*words: int | str) -> int:
    """A 63-bit seed from words such as `(run seed, task, stage, epoch)`; the same words give the same seed."""
    text = "\x1f".join(str(word) for word in words)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def seeded(*words: int | str) -> Iterator[None]:
    """Torch's CPU generator seeded inside the block, and left as it was after it."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(*words))
        yield
