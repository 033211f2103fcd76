"""Tests of `flows`; a package named `flows` here would stand before the one that is tested."""
