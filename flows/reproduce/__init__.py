"""What `dvc repro` runs: the paper's tables from `params.yaml`, step by step (prepare, learn, goals, tables)."""
