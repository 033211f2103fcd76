"""Channels of a network: how they run through it (`flow`, `follow`), and the units that must live or die together."""
