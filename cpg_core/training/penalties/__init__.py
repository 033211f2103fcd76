"""Terms that are added to the loss of a task, so that earlier ones are forgotten less."""
