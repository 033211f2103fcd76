"""Raw files -> task -> sequence -> batches."""
