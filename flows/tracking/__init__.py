"""MLflow: results and served models."""
