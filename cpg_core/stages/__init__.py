"""The stages of a task (Algorithm 1), and which is next."""
