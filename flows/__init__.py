"""The workflow around the algorithm: the command line, Prefect flows, MLflow tracking, DVC, and the paper's tables."""
