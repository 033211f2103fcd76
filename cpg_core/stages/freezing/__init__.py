"""The freeze: a task's delta and record, and whether earlier tasks still give the bits of theirs."""
