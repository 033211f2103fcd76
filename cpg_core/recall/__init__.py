"""Frozen tasks: recalled on the current model, audited, measured, served, exported, converted, forgotten."""
