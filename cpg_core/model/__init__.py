"""A task's network, the shared weights, and who owns each of them."""
