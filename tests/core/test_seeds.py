"""Seeds made of words: fixed for ever, apart for different words, and without a trace outside of the block."""

from __future__ import annotations

import torch

from cpg_core.seeds import derive, seeded


def test_a_seed_never_changes_between_versions() -> None:
    """By hand: the first 16 hex digits of the words' SHA-256, joined by the unit separator, over 2."""
    assert derive(1, "fish", "pick_train", 3) == 4767237547756322324


def test_different_words_give_different_seeds() -> None:
    words = [(a, b, c) for a in range(10) for b in ("fish", "fis", "h") for c in range(10)]
    assert len({derive(*word) for word in words}) == len(words)
    assert derive("ab", "c") != derive("a", "bc")


def test_a_seed_fits_torch() -> None:
    assert all(0 <= derive(number) < 2**63 for number in range(100))


def test_the_block_is_seeded_and_the_generator_outside_goes_on_as_if_nothing_was() -> None:
    torch.manual_seed(5)
    expected = [torch.rand(1).item() for _ in range(2)]
    torch.manual_seed(5)
    found = [torch.rand(1).item()]
    with seeded("inside"):
        inside = torch.rand(1).item()
    found.append(torch.rand(1).item())
    with seeded("inside"):
        assert torch.rand(1).item() == inside
    assert found == expected
    assert inside not in expected
