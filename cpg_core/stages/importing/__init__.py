"""Task 1 from a weight file: imported, its head imprinted, its answers imitated."""
