"""The workflow around the algorithm: the command line, the Prefect flows, and MLflow tracking."""
