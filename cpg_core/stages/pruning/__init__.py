"""How far a task is pruned, and the stages that prune and recover."""
