"""Several processes that share each batch."""
