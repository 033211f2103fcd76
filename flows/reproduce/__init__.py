"""What `dvc repro` runs, step by step: prepare, learn, goals, convert, tables, report."""
