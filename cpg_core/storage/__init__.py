"""What is on disk: files, records, deltas, runs."""
