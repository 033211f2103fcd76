"""The training loop and what moves the weights."""
